-- Streams: what happens is passed on, in the order of the log.

-- +goose Up

CREATE TABLE streams (
    name        text        COLLATE "C" NOT NULL,
    destination text        NOT NULL,
    position    bigint      NOT NULL,
    sent        bigint      NOT NULL DEFAULT 0,
    omitted     bigint      NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    moved_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT streams_pkey PRIMARY KEY (name),
    CONSTRAINT streams_name_form CHECK (name ~ '^[a-z0-9-]{1,40}$'),
    CONSTRAINT streams_position_valid CHECK (position >= 0)
);
COMMENT ON TABLE streams IS 'How far each stream has come. Which process sends is decided by an advisory lock, see store.HoldStream; retention waits for no stream.';
COMMENT ON COLUMN streams.name IS 'The stream.';
COMMENT ON COLUMN streams.destination IS 'Where it was sent to last, without secrets.';
COMMENT ON COLUMN streams.position IS 'Everything up to this position has been acknowledged, or was not asked for.';
COMMENT ON COLUMN streams.sent IS 'How many events were acknowledged; what was sent twice counts once.';
COMMENT ON COLUMN streams.omitted IS 'How many of them were too large, so that they went without their content.';
COMMENT ON COLUMN streams.created_at IS 'When it was begun.';
COMMENT ON COLUMN streams.moved_at IS 'When the position moved last.';

CREATE TABLE stream_omissions (
    stream     text        COLLATE "C" NOT NULL,
    position   bigint      NOT NULL,
    bytes      bigint      NOT NULL,
    omitted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stream_omissions_pkey PRIMARY KEY (stream, position),
    CONSTRAINT stream_omissions_stream_fkey FOREIGN KEY (stream) REFERENCES streams (name) ON DELETE CASCADE
);
COMMENT ON TABLE stream_omissions IS 'Events that were too large for the destination: it was told of them, without their content, which is in the log. The last 10,000 of each stream.';
COMMENT ON COLUMN stream_omissions.stream IS 'The stream.';
COMMENT ON COLUMN stream_omissions.position IS 'The event''s place in the log.';
COMMENT ON COLUMN stream_omissions.bytes IS 'How large the event was, as JSON.';
COMMENT ON COLUMN stream_omissions.omitted_at IS 'When the destination was told.';

-- +goose Down
DROP TABLE stream_omissions, streams;
