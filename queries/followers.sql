-- Checkpoints of the followers of the log.

-- name: FollowerLock :one
-- No row: another process has it. A stranger who only references the row (KEY SHARE)
-- is no hindrance. retry: some of its dead letters are to be tried again; ahead: some
-- are still to come; to_count: see followers.to_count.
SELECT f.position, f.made_with, f.to_count,
       EXISTS (SELECT FROM dead_letters d WHERE d.follower = f.name AND d.retry AND d.position <= f.position) AS retry,
       EXISTS (SELECT FROM dead_letters d WHERE d.follower = f.name AND d.position > f.position) AS ahead
FROM followers f WHERE f.name = @name FOR NO KEY UPDATE OF f SKIP LOCKED;

-- name: FollowerMove :exec
UPDATE followers SET position = @position, updated_at = now() WHERE name = @name;

-- name: FollowerMakeWith :execrows
-- No row: something was made with other settings already.
UPDATE followers SET made_with = @settings
WHERE name = @name AND (position = 0 OR made_with = @settings);

-- name: FollowerBind :exec
UPDATE followers SET made_with = @settings WHERE name = @name;

-- name: FollowerMadeWith :one
SELECT made_with FROM followers WHERE name = @name;

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

-- name: BlockerList :many
-- The strangers who keep us from working: who has locked rows of followers, and
-- for whom our connections wait. Those of our own role that have idled in their
-- transaction for too long are ended. Of other roles Postgres may hide the state,
-- which is then empty.
SELECT b.pid::integer AS pid, b.usename, b.application_name, b.state, b.idle_s,
       CASE WHEN b.is_own_role AND b.state LIKE 'idle in transaction%' AND b.idle_s > @idle_s::integer
            THEN pg_terminate_backend(b.pid) ELSE false END AS ended
FROM (
    SELECT a.pid, coalesce(a.usename, '')::text AS usename, coalesce(a.application_name, '')::text AS application_name,
           coalesce(a.state, '')::text AS state, coalesce(a.usename = current_user, false) AS is_own_role,
           coalesce(extract(epoch FROM clock_timestamp() - a.state_change), 0)::integer AS idle_s
    FROM pg_catalog.pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
      AND (a.pid IN (SELECT l.pid FROM pg_catalog.pg_locks l
                     WHERE l.relation = 'followers'::regclass AND l.granted AND l.mode <> 'AccessShareLock')
        OR a.pid IN (SELECT unnest(pg_blocking_pids(w.pid)) FROM pg_catalog.pg_stat_activity w
                     WHERE w.datname = current_database() AND w.usename = current_user
                       AND w.application_name = 'rapport' AND w.wait_event_type = 'Lock'))
) b
WHERE NOT (b.is_own_role AND b.application_name = 'rapport')
ORDER BY b.pid;
