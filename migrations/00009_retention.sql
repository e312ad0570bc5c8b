-- What is too old goes, by the month. There is no way down: what is gone stays gone.

-- +goose Up

ALTER TABLE log_head ADD COLUMN frozen_before timestamptz NOT NULL DEFAULT '2015-01-01 00:00:00+00';
ALTER TABLE log_head ADD COLUMN expired       bigint      NOT NULL DEFAULT 0;
COMMENT ON COLUMN log_head.frozen_before IS 'The horizon: the log keeps no new event of an earlier time, and sessions that began earlier are frozen. 2015, if nothing has gone yet.';
COMMENT ON COLUMN log_head.expired IS 'How many deliveries were let go, since they were of a time before the horizon.';

CREATE TABLE retention (
    singleton        boolean     NOT NULL DEFAULT true,
    events_before    timestamptz NOT NULL DEFAULT '2015-01-01 00:00:00+00',
    messages_before  timestamptz NOT NULL DEFAULT '2015-01-01 00:00:00+00',
    sessions_before  timestamptz NOT NULL DEFAULT '2015-01-01 00:00:00+00',
    texts_before     timestamptz NOT NULL DEFAULT '2015-01-01 00:00:00+00',
    dropped_sessions bigint      NOT NULL DEFAULT 0,
    dropped_counts   bigint      NOT NULL DEFAULT 0,
    CONSTRAINT retention_pkey PRIMARY KEY (singleton),
    CONSTRAINT retention_single CHECK (singleton)
);
COMMENT ON TABLE retention IS 'One row: what has gone, or is about to. Its times are UTC months, and never go back.';
COMMENT ON COLUMN retention.singleton IS 'Always true.';
COMMENT ON COLUMN retention.events_before IS 'Events of earlier times are dropped.';
COMMENT ON COLUMN retention.messages_before IS 'Events of earlier times are stubs, or dropped.';
COMMENT ON COLUMN retention.sessions_before IS 'Sessions that ended earlier are deleted.';
COMMENT ON COLUMN retention.texts_before IS 'What was said in sessions that began earlier is deleted from session_texts: up to the horizon, or on the way there.';
COMMENT ON COLUMN retention.dropped_sessions IS 'How many sessions were deleted.';
COMMENT ON COLUMN retention.dropped_counts IS 'Sum of their event_count.';
INSERT INTO retention DEFAULT VALUES;

CREATE TABLE dropped_months (
    month              date        NOT NULL,
    dropped_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    events             bigint      NOT NULL,
    no_session         bigint      NOT NULL,
    superseded         bigint      NOT NULL,
    healed             bigint      NOT NULL,
    announced          bigint      NOT NULL,
    first_position     bigint,
    last_position      bigint,
    position_sum       numeric     NOT NULL,
    newest_received_at timestamptz,
    CONSTRAINT dropped_months_pkey PRIMARY KEY (month)
);
COMMENT ON TABLE dropped_months IS 'The months of events that are dropped, so that what is left of the log can still be proved to be complete.';
COMMENT ON COLUMN dropped_months.month IS 'First day of the UTC month of occurred_at.';
COMMENT ON COLUMN dropped_months.dropped_at IS 'When it was dropped.';
COMMENT ON COLUMN dropped_months.events IS 'How many events it had.';
COMMENT ON COLUMN dropped_months.no_session IS 'Those of them that belonged to no session.';
COMMENT ON COLUMN dropped_months.superseded IS 'Those of them that were in superseded.';
COMMENT ON COLUMN dropped_months.healed IS 'Those of them that were healed.';
COMMENT ON COLUMN dropped_months.announced IS 'Those of them that announced an erasure.';
COMMENT ON COLUMN dropped_months.first_position IS 'Least position; null if it had no events.';
COMMENT ON COLUMN dropped_months.last_position IS 'Greatest position; null if it had no events.';
COMMENT ON COLUMN dropped_months.position_sum IS 'Sum of the positions.';
COMMENT ON COLUMN dropped_months.newest_received_at IS 'Newest receipt; null if it had no events.';

CREATE TABLE stubbed_months (
    month      date        NOT NULL,
    stubbed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT stubbed_months_pkey PRIMARY KEY (month)
);
COMMENT ON TABLE stubbed_months IS 'The months whose events are all stubs.';
COMMENT ON COLUMN stubbed_months.month IS 'First day of the UTC month of occurred_at.';
COMMENT ON COLUMN stubbed_months.stubbed_at IS 'When the last of them became one.';

CREATE TABLE frozen_spans (
    agent_id     text        COLLATE "C" NOT NULL,
    session_id   text        COLLATE "C" NOT NULL,
    frozen_until timestamptz NOT NULL,
    CONSTRAINT frozen_spans_pkey PRIMARY KEY (session_id, agent_id)
);
COMMENT ON TABLE frozen_spans IS 'Conversations with a frozen session that ends behind the horizon. Hardly any.';
COMMENT ON COLUMN frozen_spans.agent_id IS 'The agent.';
COMMENT ON COLUMN frozen_spans.session_id IS 'The session.';
COMMENT ON COLUMN frozen_spans.frozen_until IS 'Last occurred_at of the frozen session: whatever comes later begins another one, and what comes late and is of an earlier time counts nowhere.';

COMMENT ON TABLE superseded IS 'Events that count nowhere: healed messages of which a delivery is in the log, dead letters that were erased or of a time before the horizon, and late events of frozen sessions.';

-- A month below the horizon is not made (again): nothing comes in there.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION create_events_month(month date) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    name  text := 'events_' || to_char(first, 'YYYY_MM');
BEGIN
    IF to_regclass(format('public.%I', name)) IS NOT NULL
       OR EXISTS (SELECT FROM public.log_head l WHERE first < (l.frozen_before AT TIME ZONE 'UTC')::date) THEN
        RETURN;
    END IF;
    -- What ATTACH takes anyway, so that two do not make the same month.
    LOCK TABLE public.events IN SHARE UPDATE EXCLUSIVE MODE;
    IF to_regclass(format('public.%I', name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.events INCLUDING ALL)', name);
    EXECUTE format('CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON public.%I
        FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change()', name);
    EXECUTE format('ALTER TABLE public.events ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
        name, first::text || ' 00:00:00+00', (first + interval '1 month')::date::text || ' 00:00:00+00');
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION create_events_month IS 'Makes the partition of events for a UTC month, if it is missing and not below the horizon.';

-- As before, and what was erased stays out: its position is 0. Only a batch with an
-- event that is old enough looks for tombstones and stubs. Nothing comes in below the
-- horizon either: of what is gone no twin is left to be found, and the sessions
-- there are frozen.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION append_events(
    occurred_at timestamptz[], received_at timestamptz[], participants integer[], undated boolean[],
    event_type text[], agent_id text[], session_id text[], user_id text[], role text[], message text[],
    message_type text[], language text[], room_name text[], error_code text[], error_severity text[],
    error_category text[], end_reason text[], rating double precision[], fingerprint bytea[],
    headers text[], payload text[], payload_raw bytea[], healed_from text[], repeats bigint,
    OUT positions bigint[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    head   bigint;
    graves timestamptz;
    twins  bigint[];
    added  bigint;
    gone   bigint := 0;
    since  timestamptz;
    late   bigint := 0;
BEGIN
    SELECT l.position, l.erased_until + interval '10 minutes', l.frozen_before INTO STRICT head, graves, since
    FROM public.log_head l FOR UPDATE;

    twins := ARRAY(
        SELECT coalesce(dated.position, near.position)
        FROM (
            SELECT unnest($1) AS occurred_at, unnest($4) AS undated, unnest($7) AS session_id, unnest($19) AS fingerprint
        ) b
        LEFT JOIN LATERAL (
            SELECT e.position FROM public.events e
            WHERE e.session_id = b.session_id AND e.occurred_at = b.occurred_at AND e.fingerprint = b.fingerprint
            LIMIT 1
        ) dated ON true
        LEFT JOIN LATERAL (
            SELECT e.position FROM public.events e
            WHERE b.undated AND e.undated AND e.fingerprint = b.fingerprint AND e.session_id = b.session_id
              AND e.occurred_at BETWEEN b.occurred_at - interval '10 minutes' AND b.occurred_at + interval '10 minutes'
            ORDER BY e.occurred_at
            LIMIT 1
        ) near ON true);

    -- A healed message has the whole seconds of the sender's record, cut or rounded; an
    -- event without a time is looked for ten minutes back.
    IF graves > '2015-02-01 00:00:00+00' AND graves >= (
        SELECT min(u.t + CASE WHEN u.undated THEN interval '0' ELSE interval '599 seconds' END) FROM unnest($1, $4) u (t, undated)) THEN
        twins := ARRAY(
            SELECT CASE
                WHEN EXISTS (SELECT FROM public.tombstones t WHERE t.session_id = b.session_id AND t.agent_id = b.agent_id
                             AND NOT t.whole AND b.since <= t.erased_until)
                  OR EXISTS (SELECT FROM public.tombstones t WHERE t.session_id = b.session_id AND t.agent_id = ''
                             AND t.whole AND b.since <= t.erased_until)
                  OR EXISTS (SELECT FROM public.tombstones t WHERE t.session_id = '' AND t.agent_id = b.agent_id
                             AND t.whole AND b.since <= t.erased_until) THEN 0
                ELSE coalesce(b.twin, dated.twin, near.twin) END
            FROM (
                SELECT u.*, u.occurred_at - CASE WHEN coalesce(u.healed_from, '') = '' THEN interval '0' ELSE interval '1 second' END AS since
                FROM (SELECT unnest(twins) AS twin, unnest($1) AS occurred_at, unnest($4) AS undated, unnest($6) AS agent_id,
                             unnest($7) AS session_id, unnest($19) AS fingerprint, unnest($23) AS healed_from) u
            ) b
            LEFT JOIN LATERAL (
                SELECT CASE WHEN e.erasure > 0 THEN 0 ELSE e.position END AS twin FROM public.events e
                WHERE b.twin IS NULL AND b.occurred_at <= graves AND e.erasure IS NOT NULL
                  AND e.session_id = b.session_id AND e.occurred_at = b.occurred_at
                  AND e.fingerprint = public.stub_fingerprint(b.fingerprint)
                LIMIT 1
            ) dated ON true
            LEFT JOIN LATERAL (
                SELECT CASE WHEN e.erasure > 0 THEN 0 ELSE e.position END AS twin FROM public.events e
                WHERE b.twin IS NULL AND b.undated AND b.occurred_at <= graves AND e.undated AND e.erasure IS NOT NULL
                  AND e.fingerprint = public.stub_fingerprint(b.fingerprint) AND e.session_id = b.session_id
                  AND e.occurred_at BETWEEN b.occurred_at - interval '10 minutes' AND b.occurred_at + interval '10 minutes'
                ORDER BY e.occurred_at
                LIMIT 1
            ) near ON true);
        gone := cardinality(array_positions(twins, 0::bigint));
    END IF;

    IF since + interval '1 second' > (SELECT min(u.t) FROM unnest($1) u (t)) THEN
        twins := ARRAY(
            SELECT CASE WHEN b.twin IS NULL AND b.occurred_at < since
                          + CASE WHEN coalesce(b.healed_from, '') = '' THEN interval '0' ELSE interval '1 second' END THEN 0
                   ELSE b.twin END
            FROM (SELECT unnest(twins) AS twin, unnest($1) AS occurred_at, unnest($23) AS healed_from) b);
        late := coalesce(cardinality(array_positions(twins, 0::bigint)), 0) - gone;
    END IF;

    positions := ARRAY(
        SELECT coalesce(-t.twin, head + count(*) FILTER (WHERE t.twin IS NULL) OVER (ROWS UNBOUNDED PRECEDING))
        FROM (SELECT unnest(twins) AS twin) t);

    INSERT INTO public.events (
        position, occurred_at, received_at, participants, undated, event_type, agent_id, session_id,
        user_id, role, message, message_type, language, room_name, error_code, error_severity,
        error_category, end_reason, rating, fingerprint, headers, payload, payload_raw, healed_from)
    SELECT
        b.position, b.occurred_at, b.received_at, nullif(b.participants, -1), b.undated, b.event_type, b.agent_id,
        b.session_id, coalesce(b.user_id, ''), b.role, b.message, coalesce(b.message_type, ''), coalesce(b.language, ''),
        coalesce(b.room_name, ''), coalesce(b.error_code, ''), coalesce(b.error_severity, ''),
        coalesce(b.error_category, ''), coalesce(b.end_reason, ''), nullif(b.rating, 'NaN'), b.fingerprint,
        b.headers::json, nullif(b.payload, '')::json, nullif(b.payload_raw, ''), coalesce(b.healed_from, '')
    FROM (
        SELECT unnest(positions) AS position, unnest($1) AS occurred_at, unnest($2) AS received_at,
               unnest($3) AS participants, unnest($4) AS undated, unnest($5) AS event_type,
               unnest($6) AS agent_id, unnest($7) AS session_id, unnest($8) AS user_id, unnest($9) AS role,
               unnest($10) AS message, unnest($11) AS message_type, unnest($12) AS language, unnest($13) AS room_name,
               unnest($14) AS error_code, unnest($15) AS error_severity, unnest($16) AS error_category,
               unnest($17) AS end_reason, unnest($18) AS rating, unnest($19) AS fingerprint, unnest($20) AS headers,
               unnest($21) AS payload, unnest($22) AS payload_raw, unnest($23) AS healed_from
    ) b
    WHERE b.position > 0;
    GET DIAGNOSTICS added = ROW_COUNT;

    UPDATE public.log_head l SET position = head + added,
        duplicates = l.duplicates + cardinality(positions) - added - gone - late + $24,
        erased = l.erased + gone, expired = l.expired + late,
        received_at = greatest(l.received_at, (
            SELECT max(b.received_at) FROM (SELECT unnest(positions) AS position, unnest($2) AS received_at) b
            WHERE b.position > 0));
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION append_events IS 'Appends a batch to the log. Returns for each event its position; negated, that of its twin if it was there already; 0 if it was erased, or is of a time before the horizon. Events of one batch must be distinct.';

-- A rebuild reads the log for as long as it takes, and must find all of it above one
-- horizon. It holds this lock, which is the one of store.BeginRebuild.
CREATE FUNCTION keep_rebuilds_out() RETURNS boolean LANGUAGE sql
RETURN pg_try_advisory_xact_lock(hashtextextended('rapport rebuild', 0));
COMMENT ON FUNCTION keep_rebuilds_out IS 'Keeps rebuilds from beginning until the transaction ends; false if one is under way.';

-- The horizon moves first, alone: what is below it can then go piece by piece, while
-- nobody folds or appends there any more. The order of the locks is the followers'
-- rows, the log.
-- +goose StatementBegin
CREATE FUNCTION move_horizon(events_before timestamptz, messages_before timestamptz, sessions_before timestamptz) RETURNS jsonb
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
    SELECT min(f.position) INTO STRICT followed
    FROM (SELECT position FROM public.followers ORDER BY name FOR UPDATE) f;
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
COMMENT ON FUNCTION move_horizon IS 'Moves the horizon, never back. Returns what it is now; {} if it has not moved, "behind" if events below it are not folded yet, "busy" during a rebuild.';

-- Dropping waits for whoever reads the log, and whoever comes meanwhile waits behind
-- it: the caller sets a short lock_timeout. All is counted before that. Appends are
-- stopped first, for they hold the log's head while they wait for events.
-- +goose StatementBegin
CREATE FUNCTION drop_events_month(month date) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    first date := date_trunc('month', $1)::date;
    name  text := 'events_' || to_char(first, 'YYYY_MM');
    gone  public.dropped_months;
BEGIN
    IF (first + interval '1 month') > (SELECT r.events_before FROM public.retention r) THEN
        RAISE EXCEPTION '% is not below the horizon', first USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT public.keep_rebuilds_out() THEN
        RETURN '{"busy":true}';
    END IF;
    IF to_regclass(format('public.%I', name)) IS NULL THEN
        RETURN '{}';
    END IF;
    EXECUTE format($q$
        SELECT %L::date, clock_timestamp(), count(*),
               count(*) FILTER (WHERE e.session_id = '' OR e.event_type IN ('test', 'ping')),
               count(*) FILTER (WHERE EXISTS (SELECT FROM public.superseded x WHERE x.session_id = e.session_id
                                              AND x.agent_id = e.agent_id AND x.position = e.position)),
               count(*) FILTER (WHERE e.healed_from <> ''),
               count(*) FILTER (WHERE e.erasure > 0 AND e.event_type = 'rapport.erased' AND e.payload::text <> '{"erased":true}'),
               min(e.position), max(e.position), coalesce(sum(e.position), 0), max(e.received_at)
        FROM public.%I e $q$, first, name) INTO STRICT gone;
    EXECUTE format('DELETE FROM public.superseded x USING public.%I e WHERE x.session_id = e.session_id
        AND x.agent_id = e.agent_id AND x.position = e.position', name);
    INSERT INTO public.dropped_months SELECT gone.*;
    DELETE FROM public.stubbed_months s WHERE s.month = first;
    PERFORM FROM public.log_head l FOR UPDATE;
    EXECUTE format('DROP TABLE public.%I', name);
    RETURN jsonb_build_object('events', gone.events, 'first_position', gone.first_position, 'last_position', gone.last_position);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION drop_events_month IS 'Drops the events of a month below the horizon, and records what they were. Returns {} if it is gone already, "busy" during a rebuild.';

-- Some at a time, so that no lock and no transaction lasts. Whether all are stubs is
-- known when none is found from position 0 on.
-- +goose StatementBegin
CREATE FUNCTION stub_events(month date, after bigint, max_rows integer) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    first date := date_trunc('month', $1)::date;
    name  text := 'events_' || to_char(first, 'YYYY_MM');
    stubs bigint;
    upto  bigint;
BEGIN
    IF (first + interval '1 month') > (SELECT r.messages_before FROM public.retention r) THEN
        RAISE EXCEPTION '% is not below the horizon', first USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM set_config('rapport.stub', 'on', true);
    EXECUTE format($q$
        WITH stubbed AS (
            UPDATE public.%1$I e SET erasure = 0
            WHERE e.erasure IS NULL AND e.position = ANY(ARRAY(
                SELECT n.position FROM public.%1$I n WHERE n.erasure IS NULL AND n.position > $1 ORDER BY n.position LIMIT $2))
            RETURNING e.position
        ) SELECT count(*), coalesce(max(position), $1) FROM stubbed $q$, name) INTO STRICT stubs, upto USING $2, $3;
    PERFORM set_config('rapport.stub', 'off', true);
    IF stubs = 0 AND $2 = 0 THEN
        INSERT INTO public.stubbed_months (month) VALUES (first) ON CONFLICT DO NOTHING;
    END IF;
    RETURN jsonb_build_object('stubs', stubs, 'position', upto);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION stub_events IS 'Makes stubs of the next events of a month below the horizon. Returns how many, and the position of the last.';

-- The planner's statistics have common values of each column, texts among them.
-- +goose StatementBegin
CREATE FUNCTION analyze_events_month(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ANALYZE public.%I', 'events_' || to_char($1, 'YYYY_MM'));
    ANALYZE public.events;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION analyze_events_month IS 'Has the planner forget the values that it knows of a month.';

-- +goose StatementBegin
CREATE FUNCTION drop_sessions(max_rows integer) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    horizon timestamptz;
    gone    bigint;
    counts  bigint;
BEGIN
    IF NOT public.keep_rebuilds_out() THEN
        RETURN '{"busy":true}';
    END IF;
    PERFORM FROM public.followers ORDER BY name FOR UPDATE;
    SELECT r.sessions_before INTO STRICT horizon FROM public.retention r FOR UPDATE;
    WITH old AS (
        SELECT s.session_id, s.agent_id, s.started_at FROM public.sessions s
        WHERE s.started_at < horizon AND s.last_event_at < horizon LIMIT $1
    ), texts AS (
        DELETE FROM public.session_texts t USING old o
        WHERE t.session_id = o.session_id AND t.agent_id = o.agent_id AND t.started_at = o.started_at
    ), dropped AS (
        DELETE FROM public.sessions s USING old o
        WHERE s.session_id = o.session_id AND s.agent_id = o.agent_id AND s.started_at = o.started_at
        RETURNING s.event_count
    )
    SELECT count(*), coalesce(sum(event_count), 0) INTO STRICT gone, counts FROM dropped;
    UPDATE public.retention r SET dropped_sessions = r.dropped_sessions + gone, dropped_counts = r.dropped_counts + counts
    WHERE gone > 0;
    RETURN jsonb_build_object('sessions', gone);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION drop_sessions IS 'Deletes some of the sessions below their horizon. Returns how many; "busy" during a rebuild.';

-- Frozen sessions are never folded again, so nobody asks what was said in them.
-- +goose StatementBegin
CREATE FUNCTION drop_session_texts(max_sessions integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    since   timestamptz;
    horizon timestamptz;
    last    timestamptz;
    found   bigint;
BEGIN
    SELECT r.texts_before, l.frozen_before INTO STRICT since, horizon FROM public.retention r, public.log_head l FOR UPDATE OF r;
    SELECT count(*), max(n.started_at) INTO STRICT found, last FROM (
        SELECT s.started_at FROM public.sessions s WHERE s.started_at >= since AND s.started_at < horizon
        ORDER BY s.started_at LIMIT $1) n;
    DELETE FROM public.session_texts t
    USING (SELECT * FROM public.sessions s WHERE s.started_at >= since AND s.started_at <= last) o
    WHERE t.session_id = o.session_id AND t.agent_id = o.agent_id AND t.started_at = o.started_at;
    UPDATE public.retention r
    SET texts_before = greatest(since, CASE WHEN found < $1 THEN horizon ELSE last + interval '1 us' END);
    RETURN found;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION drop_session_texts IS 'Deletes the texts of the next frozen sessions. Returns how many sessions that were.';
