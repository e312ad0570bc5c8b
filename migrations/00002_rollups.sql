-- What is folded from the log.

-- +goose Up

CREATE TABLE settings (
    singleton             boolean  NOT NULL DEFAULT true,
    idle_timeout_s        integer  NOT NULL,
    active_gap_cap_s      integer  NOT NULL,
    quick_answer_s        integer  NOT NULL,
    frustration_words     text[]   NOT NULL,
    frustration_sentiment integer  NOT NULL,
    score_version         integer  NOT NULL,
    CONSTRAINT settings_pkey PRIMARY KEY (singleton),
    CONSTRAINT settings_single CHECK (singleton),
    CONSTRAINT settings_idle_timeout_range CHECK (idle_timeout_s BETWEEN 1 AND 86400),
    CONSTRAINT settings_active_gap_cap_range CHECK (active_gap_cap_s BETWEEN 0 AND 86400),
    CONSTRAINT settings_quick_answer_range CHECK (quick_answer_s BETWEEN 0 AND 86400),
    CONSTRAINT settings_frustration_sentiment_range CHECK (frustration_sentiment BETWEEN -1000 AND 1000)
);
COMMENT ON TABLE settings IS 'One row: what can change a number of the rollups, the same for all processes.';
COMMENT ON COLUMN settings.singleton IS 'Always true.';
COMMENT ON COLUMN settings.idle_timeout_s IS 'A gap of more seconds cuts a session; it closes after as many.';
COMMENT ON COLUMN settings.active_gap_cap_s IS 'The most seconds that one gap adds to active_s.';
COMMENT ON COLUMN settings.quick_answer_s IS 'A response within as many seconds is a quick answer.';
COMMENT ON COLUMN settings.frustration_words IS 'A user message with one of them, as a whole word, is friction.';
COMMENT ON COLUMN settings.frustration_sentiment IS 'In thousandths; a user message of this sentiment or lower is friction.';
COMMENT ON COLUMN settings.score_version IS 'Version of the two scores.';

CREATE TABLE followers (
    name       text        NOT NULL,
    position   bigint      NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now(),
    made_with  text        NOT NULL DEFAULT '',
    CONSTRAINT followers_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE followers IS 'The checkpoint of each follower of the log; its row is the lock under which it works.';
COMMENT ON COLUMN followers.name IS 'The follower.';
COMMENT ON COLUMN followers.position IS 'Everything up to this position is in what the follower writes.';
COMMENT ON COLUMN followers.updated_at IS 'When the position moved last.';
COMMENT ON COLUMN followers.made_with IS 'The settings that what it writes is made with; empty before the first event.';
INSERT INTO followers (name) VALUES ('sessions');

CREATE TABLE sessions (
    agent_id             text        COLLATE "C" NOT NULL,
    session_id           text        COLLATE "C" NOT NULL,
    started_at           timestamptz NOT NULL,
    last_activity_at     timestamptz NOT NULL,
    last_event_at        timestamptz NOT NULL,
    closes_at            timestamptz NOT NULL,
    ended_at             timestamptz,
    end_reason           text        NOT NULL,
    event_count          bigint      NOT NULL,
    end_count            bigint      NOT NULL,
    join_count           bigint      NOT NULL,
    error_count          bigint      NOT NULL,
    message_count        bigint      NOT NULL,
    user_message_count   bigint      NOT NULL,
    agent_message_count  bigint      NOT NULL,
    user_char_count      bigint      NOT NULL,
    agent_char_count     bigint      NOT NULL,
    duration_ms          bigint      NOT NULL,
    active_us            bigint      NOT NULL,
    turn_count           bigint      NOT NULL,
    answered_turn_count  bigint      NOT NULL,
    quick_answer_count   bigint      NOT NULL,
    response_ms_total    bigint      NOT NULL,
    response_ms_max      bigint      NOT NULL,
    first_response_ms    bigint      NOT NULL,
    awaits_answer        boolean     NOT NULL,
    last_user_message_at timestamptz,
    repeat_count         bigint      NOT NULL,
    friction_count       bigint      NOT NULL,
    sentiment_sum        bigint      NOT NULL,
    peak_participants    integer     NOT NULL,
    room_name            text        NOT NULL,
    user_id              text        COLLATE "C" NOT NULL,
    rating               double precision,
    engagement_tier      text        NOT NULL,
    engagement_tenths    bigint      NOT NULL,
    quality_tenths       bigint,
    score_version        integer     NOT NULL,
    first_position       bigint      NOT NULL,
    last_position        bigint      NOT NULL,
    CONSTRAINT sessions_pkey PRIMARY KEY (session_id, agent_id, started_at)
);
CREATE INDEX sessions_started_at_idx ON sessions (started_at DESC, agent_id, session_id);
CREATE INDEX sessions_agent_idx ON sessions (agent_id, started_at DESC, session_id);
CREATE INDEX sessions_closes_at_idx ON sessions (closes_at);
COMMENT ON TABLE sessions IS 'A row per session: its numbers, and the state from which its next event is folded. Read analytics.sessions, which derives the rest.';
COMMENT ON COLUMN sessions.last_event_at IS 'Last occurred_at of all its events; last_activity_at passes over session.end.';
COMMENT ON COLUMN sessions.ended_at IS 'occurred_at of the first session.end.';
COMMENT ON COLUMN sessions.end_reason IS 'Reason of the first session.end; empty if there is none.';
COMMENT ON COLUMN sessions.end_count IS 'How many session.end it has.';
COMMENT ON COLUMN sessions.active_us IS 'active_s in microseconds.';
COMMENT ON COLUMN sessions.awaits_answer IS 'The last of the user and agent messages is a user''s.';
COMMENT ON COLUMN sessions.last_user_message_at IS 'occurred_at of the last user message.';
COMMENT ON COLUMN sessions.sentiment_sum IS 'Sum over the user messages, in thousandths.';
COMMENT ON COLUMN sessions.engagement_tenths IS 'engagement_score in tenths.';
COMMENT ON COLUMN sessions.quality_tenths IS 'quality_score in tenths.';

CREATE TABLE session_texts (
    agent_id   text        COLLATE "C" NOT NULL,
    session_id text        COLLATE "C" NOT NULL,
    started_at timestamptz NOT NULL,
    text_hash  bytea       NOT NULL,
    CONSTRAINT session_texts_pkey PRIMARY KEY (session_id, agent_id, started_at, text_hash)
);
COMMENT ON TABLE session_texts IS 'What the user of a session has said, normalized and hashed: what repetitions are counted by.';
COMMENT ON COLUMN session_texts.text_hash IS 'First 128 bits of the SHA-256 of the normalized text.';

-- +goose Down
DROP TABLE session_texts, sessions, followers, settings;
