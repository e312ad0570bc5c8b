-- What `rapport verify` looks at besides the rows that it streams (store/verifystream.go).
-- A row that must be there is asked for as a list: that it is missing is a finding.

-- name: VerifyHead :many
SELECT position, received_at, duplicates, erased, erased_until, frozen_before, expired FROM log_head;

-- name: VerifyFollower :many
SELECT position, made_with, to_count FROM followers WHERE name = @name;

-- name: VerifyTally :many
SELECT received, pruned, replayed, erased FROM quarantine_tally;

-- name: VerifyQuarantine :one
SELECT count(*) AS entries, coalesce(sum(seen_count), 0)::bigint AS seen FROM quarantine;

-- name: VerifyQuarantineWrong :many
-- Entries that can't be what was written.
SELECT id, (sha256(body) <> body_sha256)::boolean AS other_body,
       (seen_count < 1)::boolean AS never_seen, (first_seen_at > last_seen_at)::boolean AS seen_backwards
FROM quarantine
WHERE sha256(body) <> body_sha256 OR seen_count < 1 OR first_seen_at > last_seen_at
ORDER BY id;

-- name: VerifyDeadLetters :many
SELECT follower, position, agent_id, session_id, event_type FROM dead_letters ORDER BY follower, position;

-- name: VerifyDeadLettersLost :many
-- Those whose event the log does not have.
SELECT d.follower, d.position FROM dead_letters d
WHERE NOT EXISTS (SELECT FROM events e WHERE e.position = d.position)
ORDER BY d.follower, d.position;

-- name: VerifySuperseded :many
SELECT agent_id, session_id, position FROM superseded ORDER BY position;

-- name: VerifySpools :many
SELECT id, drained_to FROM spools ORDER BY id;

-- name: VerifySessionSums :one
SELECT count(*) AS sessions, coalesce(sum(event_count), 0)::bigint AS events FROM sessions;

-- name: VerifyTombstones :many
SELECT agent_id, session_id, whole, erased_until, erasure FROM tombstones;

-- name: VerifyErasures :many
SELECT id, (finished_at IS NOT NULL)::boolean AS finished FROM erasures;

-- name: VerifyPartitions :many
SELECT c.oid::bigint AS id, c.relname::text AS name
FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'events'::regclass;
