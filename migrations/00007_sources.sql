-- Who may deliver, besides the source of the environment. There is no way down: it
-- would lose the secrets.

-- +goose Up
CREATE TABLE sources (
    name          text             COLLATE "C" NOT NULL,
    kinds         text[]           NOT NULL,
    ranges        cidr[]           NOT NULL,
    expected_rate double precision NOT NULL,
    created_at    timestamptz      NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT sources_pkey PRIMARY KEY (name),
    CONSTRAINT sources_name CHECK (name ~ '^[a-z0-9-]{1,40}$' AND name <> 'default'),
    CONSTRAINT sources_kinds CHECK (cardinality(kinds) > 0 AND kinds <@ ARRAY['legacy', 'account', 'standard', 'token']),
    CONSTRAINT sources_expected_rate CHECK (expected_rate >= 0 AND expected_rate < 'Infinity')
);
COMMENT ON TABLE sources IS 'Webhook sources: who may deliver. The one that the server''s environment configures is not among them.';
COMMENT ON COLUMN sources.name IS 'Its name, also in POST /webhook/{source} and in metrics.';
COMMENT ON COLUMN sources.kinds IS 'The kinds of proof that are accepted of it: legacy, account, standard, token.';
COMMENT ON COLUMN sources.ranges IS 'The networks that it may deliver from; none: any.';
COMMENT ON COLUMN sources.expected_rate IS 'Deliveries per second above which they are counted and reported, and kept all the same; 0: none.';
COMMENT ON COLUMN sources.created_at IS 'When it was added.';

CREATE TABLE source_secrets (
    id           bigint      GENERATED ALWAYS AS IDENTITY,
    source       text        COLLATE "C" NOT NULL,
    secret       bytea,
    token_sha256 bytea,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at      timestamptz,
    CONSTRAINT source_secrets_pkey PRIMARY KEY (id),
    CONSTRAINT source_secrets_source_fkey FOREIGN KEY (source) REFERENCES sources (name) ON DELETE CASCADE,
    CONSTRAINT source_secrets_one CHECK (num_nonnulls(secret, token_sha256) = 1),
    CONSTRAINT source_secrets_secret CHECK (octet_length(secret) BETWEEN 1 AND 1024),
    CONSTRAINT source_secrets_token CHECK (octet_length(token_sha256) = 32)
);
CREATE INDEX source_secrets_source_idx ON source_secrets (source);
COMMENT ON TABLE source_secrets IS 'What deliveries of a source are proven with. Nobody but the server reads it.';
COMMENT ON COLUMN source_secrets.id IS 'Number of the secret or token.';
COMMENT ON COLUMN source_secrets.source IS 'The source.';
COMMENT ON COLUMN source_secrets.secret IS 'A secret that signs, as it is: to verify a signature takes the secret itself.';
COMMENT ON COLUMN source_secrets.token_sha256 IS 'The SHA-256 of a token.';
COMMENT ON COLUMN source_secrets.created_at IS 'When it was added.';
COMMENT ON COLUMN source_secrets.ends_at IS 'From when on it is not accepted any more, since another has replaced it; NULL: never.';

CREATE TABLE source_tallies (
    source       text        COLLATE "C" NOT NULL,
    proven       bigint      NOT NULL,
    over_rate    bigint      NOT NULL,
    proven_at    timestamptz NOT NULL,
    over_rate_at timestamptz,
    CONSTRAINT source_tallies_pkey PRIMARY KEY (source)
);
COMMENT ON TABLE source_tallies IS 'What came from each source, as all servers have told it: every few seconds, so that what a killed server had not told is missing.';
COMMENT ON COLUMN source_tallies.source IS 'The source; default is that of the environment.';
COMMENT ON COLUMN source_tallies.proven IS 'How many deliveries were proven to be its.';
COMMENT ON COLUMN source_tallies.over_rate IS 'How many of them came above its expected rate.';
COMMENT ON COLUMN source_tallies.proven_at IS 'When the last of them came.';
COMMENT ON COLUMN source_tallies.over_rate_at IS 'When the last came above the expected rate.';
