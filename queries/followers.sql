-- Checkpoints of the followers of the log.

-- name: FollowerLock :one
-- No row: another process has it.
SELECT position FROM followers WHERE name = @name FOR UPDATE SKIP LOCKED;

-- name: FollowerMove :exec
UPDATE followers SET position = @position, updated_at = now() WHERE name = @name;

-- name: FollowerMakeWith :execrows
-- No row: something was made with other settings already.
UPDATE followers SET made_with = @settings
WHERE name = @name AND (position = 0 OR made_with = @settings);

-- name: FollowerPosition :one
SELECT position FROM followers WHERE name = @name;

-- name: FollowerLag :one
-- Events not yet followed, and since when the oldest of them waits.
SELECT f.position, h.position AS head,
       coalesce((SELECT e.received_at FROM events e
                 WHERE f.position < h.position AND e.position = f.position + 1), now())::timestamptz AS waits_since
FROM followers f, log_head h
WHERE f.name = @name;

-- name: KeepAlive :exec
-- Tells the others, and idle_in_transaction_session_timeout, that this
-- transaction is at work.
SELECT 1;

-- name: FrozenTerminate :many
-- Ends transactions of ours that wait for their client: it is frozen or gone.
-- They hold locks that everybody else waits for.
SELECT a.pid, pg_terminate_backend(a.pid) AS ended
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database() AND a.usename = current_user AND a.application_name = 'rapport'
  AND a.pid <> pg_backend_pid() AND a.wait_event_type = 'Client'
  AND a.xact_start < clock_timestamp() - @older_than::interval
  AND a.state_change < clock_timestamp() - @older_than::interval;
