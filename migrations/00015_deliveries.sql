-- What the rules have sent to destinations, or are about to. River carries it: its
-- tables are as its own migrations, of the line main up to version 8, would leave them,
-- which a test compares. The owner makes them here, since a server may not.

-- +goose Up

CREATE TABLE river_migration (
    line       text        NOT NULL,
    version    bigint      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT river_migration_pkey PRIMARY KEY (line, version),
    CONSTRAINT line_length CHECK (char_length(line) > 0 AND char_length(line) < 128),
    CONSTRAINT version_gte_1 CHECK (version >= 1)
);
COMMENT ON TABLE river_migration IS 'River''s own: the version of its tables, which a server looks at when it starts.';
INSERT INTO river_migration (line, version) SELECT 'main', generate_series(1, 8);

CREATE TYPE river_job_state AS ENUM (
    'available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'running', 'scheduled'
);

CREATE TABLE river_job (
    id            bigserial       NOT NULL,
    state         river_job_state NOT NULL DEFAULT 'available',
    attempt       smallint        NOT NULL DEFAULT 0,
    max_attempts  smallint        NOT NULL DEFAULT 25,
    attempted_at  timestamptz,
    created_at    timestamptz     NOT NULL DEFAULT now(),
    finalized_at  timestamptz,
    scheduled_at  timestamptz     NOT NULL DEFAULT now(),
    priority      smallint        NOT NULL DEFAULT 1,
    args          jsonb           NOT NULL,
    attempted_by  text[],
    errors        jsonb[],
    kind          text            NOT NULL,
    metadata      jsonb           NOT NULL DEFAULT '{}',
    queue         text            NOT NULL DEFAULT 'default',
    tags          varchar(255)[]  NOT NULL DEFAULT '{}',
    unique_key    bytea,
    unique_states bit(8),
    CONSTRAINT river_job_pkey PRIMARY KEY (id),
    CONSTRAINT finalized_or_finalized_at_null CHECK (
        (finalized_at IS NULL AND state NOT IN ('cancelled', 'completed', 'discarded'))
        OR (finalized_at IS NOT NULL AND state IN ('cancelled', 'completed', 'discarded'))),
    CONSTRAINT max_attempts_is_positive CHECK (max_attempts > 0),
    CONSTRAINT priority_in_range CHECK (priority >= 1 AND priority <= 4),
    CONSTRAINT queue_length CHECK (char_length(queue) > 0 AND char_length(queue) < 128),
    CONSTRAINT kind_length CHECK (char_length(kind) > 0 AND char_length(kind) < 128)
);
COMMENT ON TABLE river_job IS 'River''s own: its jobs. Those of the kind delivery have a row in deliveries, and nothing of anybody''s in them.';

-- +goose StatementBegin
CREATE FUNCTION river_job_state_in_bitmask(bitmask bit(8), state river_job_state) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE state
        WHEN 'available' THEN get_bit(bitmask, 7)
        WHEN 'cancelled' THEN get_bit(bitmask, 6)
        WHEN 'completed' THEN get_bit(bitmask, 5)
        WHEN 'discarded' THEN get_bit(bitmask, 4)
        WHEN 'pending' THEN get_bit(bitmask, 3)
        WHEN 'retryable' THEN get_bit(bitmask, 2)
        WHEN 'running' THEN get_bit(bitmask, 1)
        WHEN 'scheduled' THEN get_bit(bitmask, 0)
        ELSE 0
    END = 1;
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION river_job_state_in_bitmask IS 'River''s own: whether a job''s state is one in which it must be the only one of its kind.';

CREATE INDEX river_job_kind ON river_job (kind);
CREATE INDEX river_job_state_and_finalized_at_index ON river_job (state, finalized_at) WHERE finalized_at IS NOT NULL;
CREATE INDEX river_job_prioritized_fetching_index ON river_job (state, queue, priority, scheduled_at, id);
CREATE INDEX river_job_args_index ON river_job USING gin (args);
CREATE INDEX river_job_metadata_index ON river_job USING gin (metadata);
CREATE UNIQUE INDEX river_job_unique_idx ON river_job (unique_key)
    WHERE unique_key IS NOT NULL AND unique_states IS NOT NULL AND river_job_state_in_bitmask(unique_states, state);

CREATE UNLOGGED TABLE river_leader (
    elected_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    leader_id  text        NOT NULL,
    name       text        NOT NULL DEFAULT 'default',
    CONSTRAINT river_leader_pkey PRIMARY KEY (name),
    CONSTRAINT name_length CHECK (name = 'default'),
    CONSTRAINT leader_id_length CHECK (char_length(leader_id) > 0 AND char_length(leader_id) < 128)
);
COMMENT ON TABLE river_leader IS 'River''s own: which server looks after the jobs of all.';

CREATE TABLE river_queue (
    name       text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    metadata   jsonb       NOT NULL DEFAULT '{}',
    paused_at  timestamptz,
    updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT river_queue_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE river_queue IS 'River''s own: its queues, one for each destination.';

CREATE TABLE river_notification (
    id         bigserial   NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    payload    text        NOT NULL,
    topic      text        NOT NULL,
    CONSTRAINT river_notification_pkey PRIMARY KEY (id),
    CONSTRAINT topic_length CHECK (length(topic) > 0 AND length(topic) < 128)
);
CREATE INDEX river_notification_created_at_idx ON river_notification (created_at);
CREATE INDEX river_notification_topic_id_idx ON river_notification (topic, id);
COMMENT ON TABLE river_notification IS 'River''s own, for databases that can''t notify: always empty here.';

-- What is said in a delivery is here and not in the job's args, whose index would keep
-- some of it when the row is gone.
CREATE TABLE deliveries (
    job_id      bigint      NOT NULL,
    delivery_id text        NOT NULL,
    rule        text        NOT NULL,
    destination text        NOT NULL,
    position    bigint      NOT NULL,
    agent_id    text        COLLATE "C" NOT NULL,
    session_id  text        COLLATE "C" NOT NULL,
    enqueued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    body        bytea       NOT NULL,
    CONSTRAINT deliveries_pkey PRIMARY KEY (job_id),
    CONSTRAINT deliveries_job_fkey FOREIGN KEY (job_id) REFERENCES river_job (id) ON DELETE CASCADE
);
CREATE INDEX deliveries_session_idx ON deliveries (session_id, agent_id);
CREATE INDEX deliveries_agent_idx ON deliveries (agent_id);
CREATE INDEX deliveries_position_idx ON deliveries (position, job_id);
COMMENT ON TABLE deliveries IS 'What rules have to tell destinations: waiting, under way, dead, or done within the last day.';
COMMENT ON COLUMN deliveries.job_id IS 'The job that carries it; the delivery goes when the job goes.';
COMMENT ON COLUMN deliveries.delivery_id IS 'The webhook-id: the same at each attempt.';
COMMENT ON COLUMN deliveries.rule IS 'The rule that fired.';
COMMENT ON COLUMN deliveries.destination IS 'Name of the destination. Its address and secrets are in no table.';
COMMENT ON COLUMN deliveries.position IS 'Log position of the event that it tells of, or the last_position of the session; 0 if it is of none.';
COMMENT ON COLUMN deliveries.agent_id IS 'The agent that it tells of, else empty.';
COMMENT ON COLUMN deliveries.session_id IS 'The session that it tells of, else empty.';
COMMENT ON COLUMN deliveries.enqueued_at IS 'When the rule fired.';
COMMENT ON COLUMN deliveries.body IS 'What is told, in JSON: of it the destination''s template makes the request.';

-- The planner needs no values of these, and so keeps none that are erased.
ALTER TABLE deliveries ALTER COLUMN delivery_id SET STATISTICS 0, ALTER COLUMN agent_id SET STATISTICS 0,
    ALTER COLUMN session_id SET STATISTICS 0, ALTER COLUMN body SET STATISTICS 0;
ALTER TABLE river_job ALTER COLUMN args SET STATISTICS 0, ALTER COLUMN errors SET STATISTICS 0;

-- A step of the rules must not bring back what is erased meanwhile. Who takes several
-- of the locks takes this one first: it is the first of the followers by name.
-- +goose StatementBegin
CREATE FUNCTION hold_reaction() RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.followers f WHERE f.name = 'reaction' FOR UPDATE;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION hold_reaction IS 'Keeps the follower reaction from working until the transaction ends.';

-- +goose Down
DROP FUNCTION hold_reaction;
DROP TABLE deliveries, river_notification, river_queue, river_leader, river_job, river_migration;
DROP FUNCTION river_job_state_in_bitmask;
DROP TYPE river_job_state;
