-- API keys.

-- name: KeyRetireExpired :exec
-- An expired key makes room for another of its name.
UPDATE keys SET revoked_at = clock_timestamp()
WHERE name = @name AND revoked_at IS NULL AND expires_at <= clock_timestamp();

-- name: KeyInsert :execrows
-- No row: there is a key of this name.
INSERT INTO keys (name, prefix, hash, scopes, agents, expires_at)
VALUES (@name, @prefix, @hash, @scopes, @agents, @expires_at)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING;

-- name: KeyRevoke :execrows
UPDATE keys SET revoked_at = clock_timestamp() WHERE name = @name AND revoked_at IS NULL;

-- name: KeyList :many
-- All there ever were, by name; those of one name in the order of their making.
SELECT id, name, prefix, scopes, agents, created_at, expires_at, last_used_at, revoked_at FROM keys ORDER BY name, id;

-- name: KeyListStanding :many
-- Those that are not revoked, expired ones included.
SELECT id, name, hash, scopes, agents, expires_at FROM keys WHERE revoked_at IS NULL;

-- name: KeyTouchMany :exec
UPDATE keys k SET last_used_at = greatest(k.last_used_at, u.used_at)
FROM (SELECT unnest(@ids::bigint[]) AS id, unnest(@used_ats::timestamptz[]) AS used_at) u
WHERE k.id = u.id;

-- name: SigninSecretGet :one
SELECT secret FROM signin_secret;
