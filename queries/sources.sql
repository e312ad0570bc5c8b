-- Who may deliver.

-- name: SourceInsert :exec
INSERT INTO sources (name, kinds, ranges, expected_rate) VALUES (@name, @kinds, @ranges::cidr[], @expected_rate);

-- name: SourceLock :one
-- Its kinds of proof, until the end of the transaction.
SELECT kinds FROM sources WHERE name = @name FOR UPDATE;

-- name: SourceDelete :execrows
DELETE FROM sources WHERE name = @name;

-- name: SourceTallyDelete :exec
DELETE FROM source_tallies WHERE source = @source;

-- name: SourceSecretInsert :exec
INSERT INTO source_secrets (source, secret, token_sha256) VALUES (@source, @secret, @token_sha256);

-- name: SourceSecretRetire :execrows
-- Has the secrets or the tokens of a source end, where they don't end earlier anyway.
UPDATE source_secrets SET ends_at = clock_timestamp() + @overlap::interval
WHERE source = @source AND (token_sha256 IS NOT NULL) = @tokens::boolean
  AND (ends_at IS NULL OR ends_at > clock_timestamp() + @overlap::interval);

-- name: SourceSecretDeleteEnded :execrows
DELETE FROM source_secrets WHERE source = @source AND ends_at <= clock_timestamp();

-- name: SourceSecretDeleteEnding :execrows
DELETE FROM source_secrets WHERE source = @source AND ends_at IS NOT NULL;

-- name: SourceList :many
-- Each with what is accepted now, the oldest first: in one statement, so that none
-- is seen halfway through a change.
SELECT s.name, s.kinds, s.ranges, s.expected_rate, s.created_at,
    p.secret, p.token_sha256, p.created_at AS proof_created_at, p.ends_at
FROM sources s JOIN source_secrets p ON p.source = s.name
WHERE p.ends_at IS NULL OR p.ends_at > clock_timestamp()
ORDER BY s.name, p.id;

-- name: SourceTallyAdd :exec
-- A source that was removed in the meantime has none.
INSERT INTO source_tallies AS t (source, proven, over_rate, proven_at, over_rate_at)
SELECT @source::text, @proven::bigint, @over_rate::bigint, @proven_at::timestamptz, sqlc.narg(over_rate_at)::timestamptz
WHERE @source::text = 'default' OR EXISTS (SELECT FROM sources WHERE name = @source::text)
ON CONFLICT (source) DO UPDATE SET
    proven = t.proven + excluded.proven, over_rate = t.over_rate + excluded.over_rate,
    proven_at = greatest(t.proven_at, excluded.proven_at), over_rate_at = greatest(t.over_rate_at, excluded.over_rate_at);

-- name: SourceTallyList :many
SELECT source, proven, over_rate, proven_at, over_rate_at FROM source_tallies ORDER BY source;
