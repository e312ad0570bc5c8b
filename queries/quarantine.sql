-- Deliveries that could not be decoded.

-- name: QuarantineUpsert :one
INSERT INTO quarantine (body_sha256, body, reason, headers, first_seen_at, last_seen_at)
VALUES (@body_sha256, @body, @reason, @headers, @seen_at, @seen_at)
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

-- name: QuarantineDeleteMany :execrows
DELETE FROM quarantine WHERE id = ANY(@ids::bigint[]);

-- name: QuarantinePrune :execrows
-- What is too old, and the oldest beyond the bytes that may be kept; a row costs
-- about 512 bytes besides its body.
DELETE FROM quarantine
WHERE id IN (
    SELECT k.id
    FROM (SELECT q.id, q.last_seen_at,
                 sum(octet_length(q.body) + 512) OVER (ORDER BY q.last_seen_at DESC, q.id DESC) AS bytes
          FROM quarantine q) k
    WHERE k.last_seen_at < @oldest::timestamptz OR k.bytes > @max_bytes::bigint);

-- name: QuarantineStats :one
SELECT count(*) AS entries, coalesce(sum(octet_length(body)), 0)::bigint AS bytes
FROM quarantine;
