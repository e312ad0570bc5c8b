-- Deliveries that could not be decoded.

-- Every statement that changes quarantine_tally takes its row before any row of the
-- quarantine, so that servers at work at once can't lock each other out.

-- name: QuarantineUpsert :one
WITH tally AS (
    INSERT INTO quarantine_tally (received, pruned, replayed) VALUES (1, 0, 0)
    ON CONFLICT ON CONSTRAINT quarantine_tally_pkey DO UPDATE SET received = quarantine_tally.received + 1
    RETURNING singleton
)
INSERT INTO quarantine (body_sha256, body, reason, headers, first_seen_at, last_seen_at)
SELECT @body_sha256::bytea, @body::bytea, @reason::text, @headers::json, @seen_at::timestamptz, @seen_at FROM tally
ON CONFLICT ON CONSTRAINT quarantine_body_once DO UPDATE SET
    reason = excluded.reason,
    headers = excluded.headers,
    seen_count = quarantine.seen_count + 1,
    first_seen_at = least(quarantine.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(quarantine.last_seen_at, excluded.last_seen_at)
RETURNING id;

-- name: QuarantineList :many
-- A page, the newest first; before_id 0 begins.
SELECT id, body, reason, headers, seen_count, first_seen_at, last_seen_at
FROM quarantine
WHERE @before_id::bigint = 0 OR id < @before_id
ORDER BY id DESC
LIMIT @max_rows;

-- name: QuarantineGetMany :many
SELECT id, body, reason, headers, seen_count, first_seen_at, last_seen_at
FROM quarantine
WHERE id = ANY(@ids::bigint[])
ORDER BY id;

-- name: QuarantineDeleteMany :one
-- What has been replayed. A row is found only together with the tally's, which is
-- locked by then.
WITH tally AS (
    SELECT singleton FROM quarantine_tally FOR UPDATE
), gone AS (
    DELETE FROM quarantine q USING tally WHERE q.id = ANY(@ids::bigint[]) RETURNING q.seen_count
)
UPDATE quarantine_tally t SET replayed = t.replayed + g.seen
FROM (SELECT count(*) AS entries, coalesce(sum(seen_count), 0)::bigint AS seen FROM gone) g
RETURNING g.entries;

-- name: QuarantinePrune :one
-- What is too old, and the oldest beyond the bytes that may be kept; a row costs
-- about 512 bytes besides its body.
WITH tally AS (
    SELECT singleton FROM quarantine_tally FOR UPDATE
), gone AS (
    DELETE FROM quarantine q
    USING tally, (
        SELECT id, last_seen_at, sum(octet_length(body) + 512) OVER (ORDER BY last_seen_at DESC, id DESC) AS bytes
        FROM quarantine
    ) k
    WHERE q.id = k.id AND (k.last_seen_at < @oldest::timestamptz OR k.bytes > @max_bytes::bigint)
    RETURNING q.seen_count
)
UPDATE quarantine_tally t SET pruned = t.pruned + g.seen
FROM (SELECT count(*) AS entries, coalesce(sum(seen_count), 0)::bigint AS seen FROM gone) g
RETURNING g.entries;

-- name: QuarantineErase :one
-- What mentions somebody who is erased. The row of the tally is locked first, as ever.
WITH tally AS (
    SELECT singleton FROM quarantine_tally FOR UPDATE
), gone AS (
    DELETE FROM quarantine q USING tally WHERE q.id = ANY(@ids::bigint[]) RETURNING q.seen_count
)
UPDATE quarantine_tally t SET erased = t.erased + g.seen
FROM (SELECT count(*) AS entries, coalesce(sum(seen_count), 0)::bigint AS seen FROM gone) g
RETURNING g.entries;

-- name: QuarantineBodies :many
-- In the order of their ids, some at a time.
SELECT id, body, reason, headers FROM quarantine WHERE id > @after ORDER BY id LIMIT @max_rows;

-- name: QuarantineStats :one
SELECT count(*) AS entries, coalesce(sum(octet_length(body)), 0)::bigint AS bytes
FROM quarantine;
