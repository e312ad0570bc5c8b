-- How far the spools have been drained.

-- name: SpoolMove :execrows
-- No row: it was drained as far already.
INSERT INTO spools (id, drained_to, updated_at) VALUES (@id, @drained_to, now())
ON CONFLICT ON CONSTRAINT spools_pkey DO UPDATE SET drained_to = excluded.drained_to, updated_at = now()
WHERE spools.drained_to < excluded.drained_to;

-- name: QuarantineHas :one
SELECT EXISTS (SELECT FROM quarantine WHERE body_sha256 = @body_sha256);
