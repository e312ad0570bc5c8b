-- Sums over sessions and counts of events by quarter hours, hours and days of UTC, so
-- that a question costs the same however long the log is. There is no way down: the
-- totals outlive the sessions that they were made of.

-- +goose Up

-- A row is written again whenever one of its sessions changes; no index has what
-- changes, and pages have room for the next version.
CREATE TABLE session_totals (
    grain                 smallint    NOT NULL,
    of_all                boolean     NOT NULL,
    agent_id              text        COLLATE "C" NOT NULL,
    starts_at             timestamptz NOT NULL,
    sessions              bigint      NOT NULL,
    bounced               bigint      NOT NULL,
    engaged               bigint      NOT NULL,
    continued             bigint      NOT NULL,
    deep                  bigint      NOT NULL,
    joined                bigint      NOT NULL,
    events                bigint      NOT NULL,
    joins                 bigint      NOT NULL,
    messages              bigint      NOT NULL,
    user_messages         bigint      NOT NULL,
    agent_messages        bigint      NOT NULL,
    user_chars            bigint      NOT NULL,
    agent_chars           bigint      NOT NULL,
    errors                bigint      NOT NULL,
    turns                 bigint      NOT NULL,
    answered_turns        bigint      NOT NULL,
    quick_answers         bigint      NOT NULL,
    repeats               bigint      NOT NULL,
    friction              bigint      NOT NULL,
    duration_ms           bigint      NOT NULL,
    active_ms             bigint      NOT NULL,
    response_ms           bigint      NOT NULL,
    engagement_tenths     bigint      NOT NULL,
    quality_tenths        bigint      NOT NULL,
    judged                bigint      NOT NULL,
    sentiment_thousandths bigint      NOT NULL,
    felt                  bigint      NOT NULL,
    rating_thousandths    bigint      NOT NULL,
    rated                 bigint      NOT NULL,
    duration_bins         smallint[]  NOT NULL,
    duration_counts       bigint[]    NOT NULL,
    response_bins         smallint[]  NOT NULL,
    response_counts       bigint[]    NOT NULL,
    CONSTRAINT session_totals_pkey PRIMARY KEY (grain, of_all, agent_id, starts_at),
    CONSTRAINT session_totals_grain CHECK (grain IN (15, 60, 1440)),
    CONSTRAINT session_totals_all CHECK (NOT of_all OR agent_id = '')
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX session_totals_starts_at_idx ON session_totals (grain, of_all, starts_at);
COMMENT ON TABLE session_totals IS 'Sums over the sessions that started within a quarter hour, an hour or a day of UTC: of each agent, and of all together. No row where there are none. They outlive sessions that go for their age.';
COMMENT ON COLUMN session_totals.grain IS 'Minutes that the row is of: 15, 60 or 1440. Each grain has all sessions.';
COMMENT ON COLUMN session_totals.of_all IS 'The row is of all agents together; agent_id is empty then.';
COMMENT ON COLUMN session_totals.agent_id IS 'The agent; empty for sessions without one, and where of_all is true.';
COMMENT ON COLUMN session_totals.starts_at IS 'Begin of the quarter hour, hour or day.';
COMMENT ON COLUMN session_totals.sessions IS 'Sessions.';
COMMENT ON COLUMN session_totals.bounced IS 'Sessions without a user message.';
COMMENT ON COLUMN session_totals.engaged IS 'Sessions with one turn.';
COMMENT ON COLUMN session_totals.continued IS 'Sessions with 2 or 3 turns.';
COMMENT ON COLUMN session_totals.deep IS 'Sessions with 4 turns or more.';
COMMENT ON COLUMN session_totals.joined IS 'Sessions with a room.join.';
COMMENT ON COLUMN session_totals.events IS 'Events of the sessions.';
COMMENT ON COLUMN session_totals.joins IS 'room.join events.';
COMMENT ON COLUMN session_totals.messages IS 'chat.push events.';
COMMENT ON COLUMN session_totals.user_messages IS 'Messages of users.';
COMMENT ON COLUMN session_totals.agent_messages IS 'Messages of agents.';
COMMENT ON COLUMN session_totals.user_chars IS 'Unicode code points of the users'' messages.';
COMMENT ON COLUMN session_totals.agent_chars IS 'Unicode code points of the agents'' messages.';
COMMENT ON COLUMN session_totals.errors IS 'agent.error events.';
COMMENT ON COLUMN session_totals.turns IS 'Turns.';
COMMENT ON COLUMN session_totals.answered_turns IS 'Turns that were answered.';
COMMENT ON COLUMN session_totals.quick_answers IS 'Answered turns with a quick response.';
COMMENT ON COLUMN session_totals.repeats IS 'User messages that repeat an earlier one of their session.';
COMMENT ON COLUMN session_totals.friction IS 'User messages with friction.';
COMMENT ON COLUMN session_totals.duration_ms IS 'Sum of the durations in milliseconds.';
COMMENT ON COLUMN session_totals.active_ms IS 'Sum of the active times in milliseconds.';
COMMENT ON COLUMN session_totals.response_ms IS 'Sum of the responses of the answered turns in milliseconds.';
COMMENT ON COLUMN session_totals.engagement_tenths IS 'Sum of the engagement scores in tenths.';
COMMENT ON COLUMN session_totals.quality_tenths IS 'Sum of the quality scores in tenths, over the sessions that have one.';
COMMENT ON COLUMN session_totals.judged IS 'Sessions that have a quality score.';
COMMENT ON COLUMN session_totals.sentiment_thousandths IS 'Sum of the sessions'' sentiments in thousandths, over those that have one.';
COMMENT ON COLUMN session_totals.felt IS 'Sessions that have a sentiment.';
COMMENT ON COLUMN session_totals.rating_thousandths IS 'Sum of the ratings in thousandths, over the sessions that have one; each at most 1,000,000 of either sign.';
COMMENT ON COLUMN session_totals.rated IS 'Sessions that have a rating.';
COMMENT ON COLUMN session_totals.duration_bins IS 'Histogram of the durations in milliseconds: its bins that are not empty, in order. The value in the middle of a bin b is, with s = greatest(0, b/64 - 1), (b - 64·s)·2^s + 2^s/2 in integers.';
COMMENT ON COLUMN session_totals.duration_counts IS 'How many sessions each of duration_bins has.';
COMMENT ON COLUMN session_totals.response_bins IS 'Histogram of the sessions'' mean responses in milliseconds, as duration_bins.';
COMMENT ON COLUMN session_totals.response_counts IS 'How many sessions each of response_bins has.';

CREATE TABLE event_counts (
    grain          smallint    NOT NULL,
    starts_at      timestamptz NOT NULL,
    agent_id       text        COLLATE "C" NOT NULL,
    event_type     text        COLLATE "C" NOT NULL,
    role           text        COLLATE "C" NOT NULL,
    error_code     text        COLLATE "C" NOT NULL,
    error_severity text        COLLATE "C" NOT NULL,
    error_category text        COLLATE "C" NOT NULL,
    events         bigint      NOT NULL,
    CONSTRAINT event_counts_pkey PRIMARY KEY (grain, starts_at, agent_id, event_type, role, error_code, error_severity, error_category),
    CONSTRAINT event_counts_grain CHECK (grain IN (15, 60, 1440))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE event_counts IS 'How many events occurred within a quarter hour, an hour or a day of UTC: those of the log as far as the sessions follow it, but for dead letters and what is in superseded. They outlive events that go for their age. Texts are cut after 100 characters.';
COMMENT ON COLUMN event_counts.grain IS 'Minutes that the row is of: 15, 60 or 1440. Each grain has all events.';
COMMENT ON COLUMN event_counts.starts_at IS 'Begin of the quarter hour, hour or day.';
COMMENT ON COLUMN event_counts.agent_id IS 'The agent; empty if absent.';
COMMENT ON COLUMN event_counts.event_type IS 'The type.';
COMMENT ON COLUMN event_counts.role IS 'The role; empty for what is no message.';
COMMENT ON COLUMN event_counts.error_code IS 'Code of an agent.error.';
COMMENT ON COLUMN event_counts.error_severity IS 'Severity of an agent.error.';
COMMENT ON COLUMN event_counts.error_category IS 'Category of an agent.error.';
COMMENT ON COLUMN event_counts.events IS 'How many events; never 0.';

-- For the views of analytics, as current_sessions is. Who reads several of these four
-- reads them in this order: current_sessions, current_superseded,
-- current_session_totals, current_event_counts.
CREATE VIEW current_session_totals AS SELECT * FROM session_totals;
COMMENT ON VIEW current_session_totals IS 'The table session_totals, for the views of analytics. They read current_sessions and current_superseded before it.';
CREATE VIEW current_event_counts AS SELECT * FROM event_counts;
COMMENT ON VIEW current_event_counts IS 'The table event_counts, for the views of analytics. They read the other three before it.';

-- What was there before these tables is counted by the follower, month by month,
-- before it goes on.
ALTER TABLE followers ADD COLUMN to_count date;
COMMENT ON COLUMN followers.to_count IS 'Sessions and events from this UTC month on are not in session_totals and event_counts yet; null if all are, and for other followers than sessions.';
UPDATE followers SET to_count = '2015-01-01' WHERE name = 'sessions' AND position > 0;
-- An older server that still runs would not count: it stands still, for it does not
-- know these settings.
UPDATE followers SET made_with = left(made_with, -1) || ',"Totals":true}' WHERE name = 'sessions' AND made_with <> '';

CREATE TABLE moved_counts (
    month       date   NOT NULL,
    transaction bigint NOT NULL,
    CONSTRAINT moved_counts_pkey PRIMARY KEY (month)
);
COMMENT ON TABLE moved_counts IS 'By which transaction event_counts of a month were changed last because events became stubs: a rebuild that has counted the month before counts it again.';
COMMENT ON COLUMN moved_counts.month IS 'First day of the UTC month.';
COMMENT ON COLUMN moved_counts.transaction IS 'Number of the transaction.';

-- As store.countKeyOf cuts them: an index entry has its limit.
CREATE FUNCTION count_text(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN left(value, 100);
COMMENT ON FUNCTION count_text IS 'A text as event_counts has it.';

CREATE FUNCTION grain_start(grain smallint, at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN date_bin(grain * interval '1 minute', at, '2015-01-01 00:00:00+00');
COMMENT ON FUNCTION grain_start IS 'Begin of the quarter hour, hour or day of UTC.';

-- A stub has lost some of what it is counted by, so its count moves with it, in the
-- same transaction: nothing of what was erased stays. Most stubs have lost nothing of
-- that kind. What the follower has not counted yet, it counts as a stub.
-- +goose StatementBegin
CREATE FUNCTION move_count() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    minutes smallint;
BEGIN
    -- A rebuild may be ahead of the follower.
    INSERT INTO public.moved_counts AS m (month, transaction)
    VALUES (date_trunc('month', OLD.occurred_at)::date, pg_current_xact_id()::text::bigint)
    ON CONFLICT ON CONSTRAINT moved_counts_pkey DO UPDATE SET transaction = excluded.transaction
    WHERE m.transaction <> excluded.transaction;
    PERFORM FROM public.followers f WHERE f.name = 'sessions' AND f.position >= OLD.position;
    IF NOT FOUND
       OR EXISTS (SELECT FROM public.superseded x
                  WHERE x.session_id = OLD.session_id AND x.agent_id = OLD.agent_id AND x.position = OLD.position)
       OR EXISTS (SELECT FROM public.dead_letters d WHERE d.follower = 'sessions' AND d.position = OLD.position) THEN
        RETURN NULL;
    END IF;
    FOREACH minutes IN ARRAY '{15,60,1440}'::smallint[] LOOP
        UPDATE public.event_counts c SET events = c.events - 1
        WHERE c.grain = minutes AND c.starts_at = public.grain_start(minutes, OLD.occurred_at) AND c.agent_id = OLD.agent_id
          AND c.event_type = public.count_text(OLD.event_type) AND c.role = public.count_text(OLD.role)
          AND c.error_code = public.count_text(OLD.error_code) AND c.error_severity = public.count_text(OLD.error_severity)
          AND c.error_category = public.count_text(OLD.error_category);
        DELETE FROM public.event_counts c
        WHERE c.grain = minutes AND c.starts_at = public.grain_start(minutes, OLD.occurred_at) AND c.agent_id = OLD.agent_id
          AND c.event_type = public.count_text(OLD.event_type) AND c.role = public.count_text(OLD.role)
          AND c.error_code = public.count_text(OLD.error_code) AND c.error_severity = public.count_text(OLD.error_severity)
          AND c.error_category = public.count_text(OLD.error_category) AND c.events = 0;
        INSERT INTO public.event_counts AS c (
            grain, starts_at, agent_id, event_type, role, error_code, error_severity, error_category, events)
        VALUES (minutes, public.grain_start(minutes, OLD.occurred_at), NEW.agent_id, public.count_text(NEW.event_type),
            public.count_text(NEW.role), public.count_text(NEW.error_code), public.count_text(NEW.error_severity),
            public.count_text(NEW.error_category), 1)
        ON CONFLICT ON CONSTRAINT event_counts_pkey DO UPDATE SET events = c.events + 1;
    END LOOP;
    RETURN NULL;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION move_count IS 'Moves the count of an event that has become a stub.';

CREATE TRIGGER events_counts_move AFTER UPDATE ON events FOR EACH ROW
WHEN ((OLD.role, OLD.error_code, OLD.error_severity, OLD.error_category)
      IS DISTINCT FROM (NEW.role, NEW.error_code, NEW.error_severity, NEW.error_category))
EXECUTE FUNCTION move_count();

-- Codes of errors are among the values that the planner knows.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION stale_statistics() RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(DISTINCT s.tablename::text ORDER BY s.tablename::text), '{}')
    FROM pg_stats s
    WHERE s.schemaname = 'public'
      AND (s.tablename IN ('events', 'sessions', 'session_texts', 'dead_letters', 'quarantine', 'superseded', 'event_counts')
        OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = 'public.events'::regclass
                   AND i.inhrelid = to_regclass(format('public.%I', s.tablename))));
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION analyze_events_month(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ANALYZE public.%I', 'events_' || to_char($1, 'YYYY_MM'));
    ANALYZE public.events, public.event_counts;
END $$;
-- +goose StatementEnd
