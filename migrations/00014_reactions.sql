-- What the rules remember from one step of their follower to the next, and the alerts.

-- +goose Up

INSERT INTO followers (name) VALUES ('reaction');

CREATE TABLE reaction_state (
    singleton boolean     NOT NULL DEFAULT true,
    begun     boolean     NOT NULL DEFAULT false,
    began_at  timestamptz,
    closed_to timestamptz,
    looked_at timestamptz,
    steps     bigint      NOT NULL DEFAULT 0,
    CONSTRAINT reaction_state_pkey PRIMARY KEY (singleton),
    CONSTRAINT reaction_state_single CHECK (singleton)
);
COMMENT ON TABLE reaction_state IS 'One row: how far the rules are, besides their position in followers, whose row is its lock.';
COMMENT ON COLUMN reaction_state.singleton IS 'Always true.';
COMMENT ON COLUMN reaction_state.begun IS 'There were rules at some time: the position is one that they came to.';
COMMENT ON COLUMN reaction_state.began_at IS 'Since when closed sessions are told. Null while no rule is on them.';
COMMENT ON COLUMN reaction_state.closed_to IS 'Sessions that closed up to then are told, but for those of due_conversations. Null while no rule is on them.';
COMMENT ON COLUMN reaction_state.looked_at IS 'When alerts were looked at last.';
COMMENT ON COLUMN reaction_state.steps IS 'How often anything that the rules remember was changed: whoever has kept some of it in memory forgets it unless it was the one.';
INSERT INTO reaction_state DEFAULT VALUES;

CREATE TABLE rule_counts (
    rule       text        COLLATE "C" NOT NULL,
    key        bytea       NOT NULL,
    at         timestamptz NOT NULL,
    position   bigint      NOT NULL,
    entries    integer     NOT NULL,
    expires_at timestamptz NOT NULL,
    agent_id   text        COLLATE "C" NOT NULL,
    session_id text        COLLATE "C" NOT NULL,
    CONSTRAINT rule_counts_pkey PRIMARY KEY (rule, key, at, position)
);
CREATE INDEX rule_counts_expires_at_idx ON rule_counts (expires_at);
CREATE INDEX rule_counts_session_idx ON rule_counts (agent_id, session_id);
COMMENT ON TABLE rule_counts IS 'What rules with a count have counted, as far back as their windows reach.';
COMMENT ON COLUMN rule_counts.rule IS 'The rule.';
COMMENT ON COLUMN rule_counts.key IS 'A hash of what it is counted by.';
COMMENT ON COLUMN rule_counts.at IS 'The receipt.';
COMMENT ON COLUMN rule_counts.position IS 'Log position of the event, or the last_position of the session.';
COMMENT ON COLUMN rule_counts.entries IS 'How often: what happens at one position may be counted more than once.';
COMMENT ON COLUMN rule_counts.expires_at IS 'From then on it counts no more.';
COMMENT ON COLUMN rule_counts.agent_id IS 'The agent that it is of, else empty.';
COMMENT ON COLUMN rule_counts.session_id IS 'The session that it is of, else empty.';

CREATE TABLE rule_throttles (
    rule       text        COLLATE "C" NOT NULL,
    key        bytea       NOT NULL,
    at         timestamptz NOT NULL,
    position   bigint      NOT NULL,
    expires_at timestamptz NOT NULL,
    agent_id   text        COLLATE "C" NOT NULL,
    session_id text        COLLATE "C" NOT NULL,
    CONSTRAINT rule_throttles_pkey PRIMARY KEY (rule, key)
);
CREATE INDEX rule_throttles_expires_at_idx ON rule_throttles (expires_at);
CREATE INDEX rule_throttles_session_idx ON rule_throttles (agent_id, session_id);
COMMENT ON TABLE rule_throttles IS 'When rules with a throttle were let last.';
COMMENT ON COLUMN rule_throttles.rule IS 'The rule.';
COMMENT ON COLUMN rule_throttles.key IS 'A hash of what it is throttled by.';
COMMENT ON COLUMN rule_throttles.at IS 'The newest receipt that it was let at.';
COMMENT ON COLUMN rule_throttles.position IS 'Log position of the event, or the last_position of the session.';
COMMENT ON COLUMN rule_throttles.expires_at IS 'From then on it holds nothing back.';
COMMENT ON COLUMN rule_throttles.agent_id IS 'The agent that it is of, else empty.';
COMMENT ON COLUMN rule_throttles.session_id IS 'The session that it is of, else empty.';

CREATE TABLE told_sessions (
    agent_id      text        COLLATE "C" NOT NULL,
    session_id    text        COLLATE "C" NOT NULL,
    started_at    timestamptz NOT NULL,
    last_position bigint      NOT NULL,
    told_at       timestamptz NOT NULL,
    CONSTRAINT told_sessions_pkey PRIMARY KEY (session_id, agent_id, started_at)
);
CREATE INDEX told_sessions_told_at_idx ON told_sessions (told_at);
COMMENT ON TABLE told_sessions IS 'The sessions that rules were told to be closed, as far back as that is remembered.';
COMMENT ON COLUMN told_sessions.agent_id IS 'The agent.';
COMMENT ON COLUMN told_sessions.session_id IS 'The session.';
COMMENT ON COLUMN told_sessions.started_at IS 'When it started, as it was told.';
COMMENT ON COLUMN told_sessions.last_position IS 'Its version, as it was told.';
COMMENT ON COLUMN told_sessions.told_at IS 'When it was told.';

CREATE TABLE due_conversations (
    agent_id    text        COLLATE "C" NOT NULL,
    session_id  text        COLLATE "C" NOT NULL,
    at          timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    position    bigint      NOT NULL,
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    CONSTRAINT due_conversations_pkey PRIMARY KEY (session_id, agent_id)
);
CREATE INDEX due_conversations_at_idx ON due_conversations (at);
COMMENT ON TABLE due_conversations IS 'Conversations of which something came to a session that was closed, or about to close: rules are told once nothing came for a while.';
COMMENT ON COLUMN due_conversations.agent_id IS 'The agent.';
COMMENT ON COLUMN due_conversations.session_id IS 'The session.';
COMMENT ON COLUMN due_conversations.at IS 'When to tell, unless more comes.';
COMMENT ON COLUMN due_conversations.received_at IS 'The newest receipt of what came.';
COMMENT ON COLUMN due_conversations.position IS 'The first position of what came.';
COMMENT ON COLUMN due_conversations.since IS 'The least occurred_at of what came.';
COMMENT ON COLUMN due_conversations.until IS 'The greatest occurred_at of what came.';

CREATE TABLE alerts (
    rule         text             COLLATE "C" NOT NULL,
    description  text             NOT NULL,
    severity     text             NOT NULL,
    metric       text             NOT NULL,
    filter       jsonb            NOT NULL,
    window_s     bigint           NOT NULL,
    above        double precision,
    below        double precision,
    no_data      text             NOT NULL,
    state        text             NOT NULL DEFAULT 'ok',
    value        double precision,
    since        timestamptz,
    evaluated_at timestamptz,
    CONSTRAINT alerts_pkey PRIMARY KEY (rule),
    CONSTRAINT alerts_state_known CHECK (state IN ('ok', 'firing', 'no_data'))
);
COMMENT ON TABLE alerts IS 'The rules on metrics that are in force, and how each stands.';
COMMENT ON COLUMN alerts.rule IS 'The rule.';
COMMENT ON COLUMN alerts.description IS 'Its description.';
COMMENT ON COLUMN alerts.severity IS 'low, medium, high or critical.';
COMMENT ON COLUMN alerts.metric IS 'The metric, as GET /stats names it.';
COMMENT ON COLUMN alerts.filter IS 'Which sessions it is of.';
COMMENT ON COLUMN alerts.window_s IS 'Over how many seconds it is computed.';
COMMENT ON COLUMN alerts.above IS 'It fires for more; null if for no more.';
COMMENT ON COLUMN alerts.below IS 'It fires for less; null if for no less.';
COMMENT ON COLUMN alerts.no_data IS 'What it means that the metric is null: ok, alert or keep.';
COMMENT ON COLUMN alerts.state IS 'firing; no_data, if it does not and the metric was null; else ok.';
COMMENT ON COLUMN alerts.value IS 'The metric at the last look; null without data.';
COMMENT ON COLUMN alerts.since IS 'When it began or ended to fire last; null if it never did.';
COMMENT ON COLUMN alerts.evaluated_at IS 'The last look; null before the first.';

CREATE TABLE alert_changes (
    id    bigint           GENERATED ALWAYS AS IDENTITY,
    rule  text             COLLATE "C" NOT NULL,
    agent_id text          COLLATE "C" NOT NULL DEFAULT '',
    state text             NOT NULL,
    value double precision,
    at    timestamptz      NOT NULL,
    CONSTRAINT alert_changes_pkey PRIMARY KEY (id),
    CONSTRAINT alert_changes_state_known CHECK (state IN ('firing', 'resolved'))
);
CREATE INDEX alert_changes_rule_idx ON alert_changes (rule, id);
COMMENT ON TABLE alert_changes IS 'When alerts began and ended to fire.';
COMMENT ON COLUMN alert_changes.id IS 'Its number.';
COMMENT ON COLUMN alert_changes.rule IS 'The rule, which may be in force no more.';
COMMENT ON COLUMN alert_changes.agent_id IS 'The agent whose sessions it was of; empty for several.';
COMMENT ON COLUMN alert_changes.state IS 'firing: it began; resolved: it ended.';
COMMENT ON COLUMN alert_changes.value IS 'The metric then; null without data.';
COMMENT ON COLUMN alert_changes.at IS 'When.';

-- The planner needs no values of these, and so keeps none that are erased.
ALTER TABLE rule_counts ALTER COLUMN agent_id SET STATISTICS 0, ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE rule_throttles ALTER COLUMN agent_id SET STATISTICS 0, ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE told_sessions ALTER COLUMN agent_id SET STATISTICS 0, ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE due_conversations ALTER COLUMN agent_id SET STATISTICS 0, ALTER COLUMN session_id SET STATISTICS 0;

-- As before, but that it waits for the sessions alone: where there are no rules, their
-- follower stands still for ever.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION move_horizon(events_before timestamptz, messages_before timestamptz, sessions_before timestamptz) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    followed bigint;
    head     bigint;
    wanted   public.retention;
    horizon  timestamptz;
    letters  bigint;
    frozen   bigint;
BEGIN
    IF $1 <> date_trunc('month', $1) OR $2 <> date_trunc('month', $2) OR $3 <> date_trunc('month', $3)
       OR greatest($1, $2, $3) > now() - interval '23 hours' THEN
        RAISE EXCEPTION 'the horizon must be the begin of a UTC month, and a day ago at least' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT public.keep_rebuilds_out() THEN
        RETURN '{"busy":true}';
    END IF;
    SELECT min(f.position) FILTER (WHERE f.name = 'sessions') INTO STRICT followed
    FROM (SELECT name, position FROM public.followers ORDER BY name FOR UPDATE) f;
    SELECT l.position INTO STRICT head FROM public.log_head l FOR UPDATE;
    SELECT * INTO STRICT wanted FROM public.retention FOR UPDATE;
    IF $1 <= wanted.events_before AND $2 <= wanted.messages_before AND $3 <= wanted.sessions_before THEN
        RETURN '{}';
    END IF;
    wanted.events_before := greatest(wanted.events_before, $1);
    wanted.messages_before := greatest(wanted.messages_before, $2);
    wanted.sessions_before := greatest(wanted.sessions_before, $3);
    horizon := greatest(wanted.events_before, wanted.messages_before);

    PERFORM FROM public.events e WHERE e.position > followed AND e.occurred_at < horizon LIMIT 1;
    IF FOUND THEN
        RETURN jsonb_build_object('behind', head);
    END IF;

    -- What is put aside there can't be taken again: it counts nowhere for ever.
    INSERT INTO public.superseded (agent_id, session_id, position)
    SELECT d.agent_id, d.session_id, d.position FROM public.dead_letters d
    JOIN public.events e ON e.position = d.position
    WHERE d.follower = 'sessions' AND e.occurred_at < horizon
    ON CONFLICT DO NOTHING;
    DELETE FROM public.dead_letters d USING public.events e
    WHERE e.position = d.position AND e.occurred_at < horizon;
    GET DIAGNOSTICS letters = ROW_COUNT;

    UPDATE public.log_head l SET frozen_before = horizon, erased_until = greatest(l.erased_until, horizon);
    UPDATE public.retention SET events_before = wanted.events_before, messages_before = wanted.messages_before,
        sessions_before = wanted.sessions_before;
    DELETE FROM public.frozen_spans;
    INSERT INTO public.frozen_spans (agent_id, session_id, frozen_until)
    SELECT s.agent_id, s.session_id, max(s.last_event_at) FROM public.sessions s
    WHERE s.started_at < horizon AND s.last_event_at >= horizon
    GROUP BY s.agent_id, s.session_id;
    GET DIAGNOSTICS frozen = ROW_COUNT;
    RETURN jsonb_build_object('events_before', wanted.events_before, 'messages_before', wanted.messages_before,
        'sessions_before', wanted.sessions_before, 'dead_letters', letters, 'across', frozen);
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION move_horizon(events_before timestamptz, messages_before timestamptz, sessions_before timestamptz) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    followed bigint;
    head     bigint;
    wanted   public.retention;
    horizon  timestamptz;
    letters  bigint;
    frozen   bigint;
BEGIN
    IF $1 <> date_trunc('month', $1) OR $2 <> date_trunc('month', $2) OR $3 <> date_trunc('month', $3)
       OR greatest($1, $2, $3) > now() - interval '23 hours' THEN
        RAISE EXCEPTION 'the horizon must be the begin of a UTC month, and a day ago at least' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT public.keep_rebuilds_out() THEN
        RETURN '{"busy":true}';
    END IF;
    SELECT min(f.position) FILTER (WHERE f.name <> 'search') INTO STRICT followed
    FROM (SELECT name, position FROM public.followers ORDER BY name FOR UPDATE) f;
    SELECT l.position INTO STRICT head FROM public.log_head l FOR UPDATE;
    SELECT * INTO STRICT wanted FROM public.retention FOR UPDATE;
    IF $1 <= wanted.events_before AND $2 <= wanted.messages_before AND $3 <= wanted.sessions_before THEN
        RETURN '{}';
    END IF;
    wanted.events_before := greatest(wanted.events_before, $1);
    wanted.messages_before := greatest(wanted.messages_before, $2);
    wanted.sessions_before := greatest(wanted.sessions_before, $3);
    horizon := greatest(wanted.events_before, wanted.messages_before);

    PERFORM FROM public.events e WHERE e.position > followed AND e.occurred_at < horizon LIMIT 1;
    IF FOUND THEN
        RETURN jsonb_build_object('behind', head);
    END IF;

    -- What is put aside there can't be taken again: it counts nowhere for ever.
    INSERT INTO public.superseded (agent_id, session_id, position)
    SELECT d.agent_id, d.session_id, d.position FROM public.dead_letters d
    JOIN public.events e ON e.position = d.position
    WHERE d.follower = 'sessions' AND e.occurred_at < horizon
    ON CONFLICT DO NOTHING;
    DELETE FROM public.dead_letters d USING public.events e
    WHERE e.position = d.position AND e.occurred_at < horizon;
    GET DIAGNOSTICS letters = ROW_COUNT;

    UPDATE public.log_head l SET frozen_before = horizon, erased_until = greatest(l.erased_until, horizon);
    UPDATE public.retention SET events_before = wanted.events_before, messages_before = wanted.messages_before,
        sessions_before = wanted.sessions_before;
    DELETE FROM public.frozen_spans;
    INSERT INTO public.frozen_spans (agent_id, session_id, frozen_until)
    SELECT s.agent_id, s.session_id, max(s.last_event_at) FROM public.sessions s
    WHERE s.started_at < horizon AND s.last_event_at >= horizon
    GROUP BY s.agent_id, s.session_id;
    GET DIAGNOSTICS frozen = ROW_COUNT;
    RETURN jsonb_build_object('events_before', wanted.events_before, 'messages_before', wanted.messages_before,
        'sessions_before', wanted.sessions_before, 'dead_letters', letters, 'across', frozen);
END $$;
-- +goose StatementEnd
DROP TABLE alert_changes, alerts, due_conversations, told_sessions, rule_throttles, rule_counts, reaction_state;
DELETE FROM followers WHERE name = 'reaction';
