-- Who may read and steer over HTTP. There is no way down: it would lose which keys
-- were revoked.

-- +goose Up
CREATE TABLE keys (
    id           bigint      GENERATED ALWAYS AS IDENTITY,
    name         text        COLLATE "C" NOT NULL,
    prefix       text        NOT NULL,
    hash         bytea       NOT NULL,
    scopes       text[]      NOT NULL,
    agents       text[]      NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT keys_pkey PRIMARY KEY (id),
    CONSTRAINT keys_hash_once UNIQUE (hash),
    CONSTRAINT keys_hash_sha256 CHECK (octet_length(hash) = 32),
    CONSTRAINT keys_scopes_known CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'sql', 'live', 'admin']),
    -- SQL and administration reach everybody's data.
    CONSTRAINT keys_agents_limited CHECK (cardinality(agents) = 0 OR NOT scopes && ARRAY['sql', 'admin'])
);
COMMENT ON TABLE keys IS 'API keys. The key itself is nowhere: it was shown once.';
COMMENT ON COLUMN keys.id IS 'Number of the key.';
COMMENT ON COLUMN keys.name IS 'What people call it; unique among those that are not revoked.';
COMMENT ON COLUMN keys.prefix IS 'How the key begins, to recognise it by.';
COMMENT ON COLUMN keys.hash IS 'SHA-256 of the key, which has 256 random bits.';
COMMENT ON COLUMN keys.scopes IS 'What it may: read, sql, live, admin.';
COMMENT ON COLUMN keys.agents IS 'Whose data it sees; empty: everybody''s.';
COMMENT ON COLUMN keys.created_at IS 'When it was made, by the clock of the database.';
COMMENT ON COLUMN keys.expires_at IS 'From when on it is not valid; null: never.';
COMMENT ON COLUMN keys.last_used_at IS 'When it was used last, to about a minute; null: never.';
COMMENT ON COLUMN keys.revoked_at IS 'When it was revoked; null: it is not.';

CREATE UNIQUE INDEX keys_name_once ON keys (name) WHERE revoked_at IS NULL;

CREATE TABLE signin_secret (
    singleton boolean NOT NULL DEFAULT true,
    secret    bytea   NOT NULL,
    CONSTRAINT signin_secret_pkey PRIMARY KEY (singleton),
    CONSTRAINT signin_secret_single CHECK (singleton),
    CONSTRAINT signin_secret_length CHECK (octet_length(secret) = 32)
);
COMMENT ON TABLE signin_secret IS 'One row: what the cookies of signed-in browsers are sealed with, by all servers. Delete it and insert another to sign everybody out.';
COMMENT ON COLUMN signin_secret.singleton IS 'Always true.';
COMMENT ON COLUMN signin_secret.secret IS 'A key of 256 bits for AES-GCM. Without a cookie it opens nothing.';

-- Each UUID has 122 bits of a strong generator.
INSERT INTO signin_secret (secret)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
