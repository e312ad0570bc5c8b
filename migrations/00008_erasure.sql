-- What is erased, and stays out. There is no way down: it would forget what must
-- not come back.

-- +goose Up

-- A stub is what remains of an event whose content is gone: its place, its times,
-- its type and role, and whose conversation it was of.
ALTER TABLE events ADD COLUMN erasure bigint;
COMMENT ON COLUMN events.erasure IS 'Null for a whole event. A stub has the erasure that its content went with, 0 if it went for its age; so has the event that announces an erasure.';

ALTER TABLE log_head ADD COLUMN erased       bigint      NOT NULL DEFAULT 0;
ALTER TABLE log_head ADD COLUMN erased_until timestamptz NOT NULL DEFAULT '2015-01-01 00:00:00+00';
ALTER TABLE log_head ADD COLUMN generation   bigint      NOT NULL DEFAULT 0;
COMMENT ON COLUMN log_head.erased IS 'How many deliveries were let go, since they belong to what was erased.';
COMMENT ON COLUMN log_head.erased_until IS 'No stub and no tombstone is of a later time: who comes later need not look for one. 2015, if there are none.';
COMMENT ON COLUMN log_head.generation IS 'How often events have become stubs: whoever has kept events in memory forgets them when it changes.';

ALTER TABLE sessions ADD COLUMN erased_at timestamptz;
COMMENT ON COLUMN sessions.erased_at IS 'When its events were erased: since then its numbers are frozen, and its names are gone. Null for any other.';

ALTER TABLE quarantine_tally ADD COLUMN erased bigint NOT NULL DEFAULT 0;
COMMENT ON TABLE quarantine_tally IS 'One row: received is the sum of seen_count over the quarantine, plus pruned, plus replayed, plus erased.';
COMMENT ON COLUMN quarantine_tally.erased IS 'Those of them that were erased.';

COMMENT ON TABLE superseded IS 'Events that count nowhere: healed messages of which a delivery is in the log, and erased ones that were dead letters.';

-- A bare hash of "yes" can be guessed; one with a key that nobody can read can't.
CREATE TABLE erasure_key (
    singleton boolean NOT NULL DEFAULT true,
    key       bytea   NOT NULL,
    CONSTRAINT erasure_key_pkey PRIMARY KEY (singleton),
    CONSTRAINT erasure_key_single CHECK (singleton),
    CONSTRAINT erasure_key_length CHECK (octet_length(key) = 32)
);
COMMENT ON TABLE erasure_key IS 'One row: the key of the fingerprints of stubs. Only the owner''s functions read it.';
COMMENT ON COLUMN erasure_key.singleton IS 'Always true.';
COMMENT ON COLUMN erasure_key.key IS '256 random bits, never changed.';
INSERT INTO erasure_key (key)
SELECT sha256(convert_to(string_agg(gen_random_uuid()::text, ''), 'UTF8')) FROM generate_series(1, 4);

CREATE TABLE erasures (
    id            bigint      GENERATED ALWAYS AS IDENTITY,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at   timestamptz,
    requested_by  text        NOT NULL,
    kind          text        NOT NULL,
    subject       text        NOT NULL,
    agent_id      text        COLLATE "C" NOT NULL,
    reason        text        NOT NULL,
    conversations bigint      NOT NULL DEFAULT 0,
    events        bigint      NOT NULL DEFAULT 0,
    sessions      bigint      NOT NULL DEFAULT 0,
    dead_letters  bigint      NOT NULL DEFAULT 0,
    quarantined   bigint      NOT NULL DEFAULT 0,
    CONSTRAINT erasures_pkey PRIMARY KEY (id),
    CONSTRAINT erasures_kind_known CHECK (kind IN ('session', 'user', 'agent'))
);
COMMENT ON TABLE erasures IS 'Who had what erased, when, and how much it was.';
COMMENT ON COLUMN erasures.id IS 'Number of the erasure.';
COMMENT ON COLUMN erasures.at IS 'When it began.';
COMMENT ON COLUMN erasures.finished_at IS 'When it was done; null if it is under way, or was interrupted: to ask for it again goes on.';
COMMENT ON COLUMN erasures.requested_by IS 'Who: key:<name> over HTTP, cli:<user of the machine> from the command line.';
COMMENT ON COLUMN erasures.kind IS 'session, user or agent.';
COMMENT ON COLUMN erasures.subject IS 'The session_id or the agent_id; of a user only a keyed hash.';
COMMENT ON COLUMN erasures.agent_id IS 'The agent, where it was of one agent alone; else empty.';
COMMENT ON COLUMN erasures.reason IS 'As it was given.';
COMMENT ON COLUMN erasures.conversations IS 'Conversations of which events were erased.';
COMMENT ON COLUMN erasures.events IS 'Events that became stubs.';
COMMENT ON COLUMN erasures.sessions IS 'Sessions that were frozen.';
COMMENT ON COLUMN erasures.dead_letters IS 'Dead letters that were deleted.';
COMMENT ON COLUMN erasures.quarantined IS 'Bodies of the quarantine that were deleted.';

CREATE TABLE tombstones (
    agent_id     text        COLLATE "C" NOT NULL,
    session_id   text        COLLATE "C" NOT NULL,
    whole        boolean     NOT NULL,
    erased_until timestamptz NOT NULL,
    erasure      bigint      NOT NULL,
    generation   bigint      NOT NULL,
    CONSTRAINT tombstones_pkey PRIMARY KEY (session_id, agent_id, whole)
);
CREATE INDEX tombstones_generation_idx ON tombstones (generation);
COMMENT ON TABLE tombstones IS 'What was erased, and stays out whoever brings it.';
COMMENT ON COLUMN tombstones.agent_id IS 'The agent; empty where whole means every agent.';
COMMENT ON COLUMN tombstones.session_id IS 'The session; empty where whole means every session.';
COMMENT ON COLUMN tombstones.whole IS 'Every conversation of the session_id, or of the agent_id, and not just the one of both.';
COMMENT ON COLUMN tombstones.erased_until IS 'Its events up to this occurred_at are gone; later ones are welcome.';
COMMENT ON COLUMN tombstones.erasure IS 'The last erasure that it was part of.';
COMMENT ON COLUMN tombstones.generation IS 'The log_head.generation that it came with.';

-- Who may not read the key may not call it.
CREATE FUNCTION stub_fingerprint(fingerprint bytea) RETURNS bytea LANGUAGE sql STABLE
RETURN (SELECT sha256(k.key || fingerprint) FROM erasure_key k);
COMMENT ON FUNCTION stub_fingerprint IS 'What a stub has in the place of its fingerprint: a twin is recognised by it, and its text can''t be guessed from it.';

CREATE FUNCTION subject_hash(subject text) RETURNS text LANGUAGE sql STABLE
RETURN (SELECT encode(sha256(k.key || convert_to('subject:' || subject, 'UTF8')), 'hex') FROM erasure_key k);
COMMENT ON FUNCTION subject_hash IS 'Names somebody without telling who it is.';

-- The one change that an event can undergo is to become a stub, and that only in a
-- transaction that says so. Whoever says it need only touch the row: the trigger
-- makes the stub, always the same one.
-- +goose StatementBegin
CREATE FUNCTION guard_event() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted bigint;
BEGIN
    IF TG_OP <> 'UPDATE' OR coalesce(current_setting('rapport.stub', true), '') <> 'on' THEN
        RAISE EXCEPTION 'the event log is append-only: % of % refused', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    wanted := coalesce(NEW.erasure, 0);
    NEW := OLD;
    NEW.erasure := wanted;
    IF OLD.erasure IS NOT NULL THEN
        RETURN NEW; -- there is nothing left to take from it
    END IF;
    NEW.user_id := '';
    NEW.role := CASE WHEN OLD.role IN ('user', 'agent') THEN OLD.role ELSE '' END;
    NEW.message := '';
    NEW.message_type := '';
    NEW.language := '';
    NEW.room_name := '';
    NEW.error_code := '';
    NEW.error_severity := '';
    NEW.error_category := '';
    NEW.end_reason := '';
    NEW.rating := NULL;
    NEW.fingerprint := public.stub_fingerprint(OLD.fingerprint);
    NEW.headers := '{}';
    NEW.payload := '{"erased":true}';
    NEW.payload_raw := NULL;
    NEW.healed_from := CASE WHEN OLD.healed_from = '' THEN '' ELSE 'erased' END;
    RETURN NEW;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION guard_event IS 'Keeps the log append-only, but that an event may become a stub where the setting rapport.stub is on.';

DROP TRIGGER events_append_only ON events;
CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION guard_event();

-- +goose StatementBegin
CREATE FUNCTION unfinished_erasure(kind text, subject text, agent_id text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(max(r.id), 0) FROM public.erasures r
    WHERE r.finished_at IS NULL AND r.kind = $1 AND r.agent_id = $3
      AND r.subject = CASE WHEN $1 = 'user' THEN public.subject_hash($2) ELSE $2 END;
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION unfinished_erasure IS 'The erasure of somebody that was interrupted, 0 if there is none.';

-- +goose StatementBegin
CREATE FUNCTION was_erased(kind text, subject text, agent_id text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM public.erasures r WHERE r.kind = $1 AND r.agent_id = $3
      AND r.subject = CASE WHEN $1 = 'user' THEN public.subject_hash($2) ELSE $2 END);
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION was_erased IS 'Whether an erasure of somebody was ever begun: of an erased user nothing else is left that tells.';

-- An agent or a session as a whole is stopped at once: conversations of it that the
-- log does not know yet must not come in behind the erasure's back.
-- +goose StatementBegin
CREATE FUNCTION begin_erasure(kind text, subject text, agent_id text, reason text, requested_by text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number bigint := public.unfinished_erasure($1, $2, $3);
    until  timestamptz;
    gen    bigint;
BEGIN
    IF number = 0 THEN
        INSERT INTO public.erasures (requested_by, kind, subject, agent_id, reason)
        VALUES ($5, $1, CASE WHEN $1 = 'user' THEN public.subject_hash($2) ELSE $2 END, $3, $4)
        RETURNING id INTO number;
    END IF;
    IF $1 = 'agent' OR $1 = 'session' AND $3 = '' THEN
        SELECT l.generation + 1 INTO STRICT gen FROM public.log_head l FOR UPDATE;
        INSERT INTO public.tombstones AS t (agent_id, session_id, whole, erased_until, erasure, generation)
        VALUES (CASE WHEN $1 = 'agent' THEN $2 ELSE '' END, CASE WHEN $1 = 'agent' THEN '' ELSE $2 END, true,
                clock_timestamp(), number, gen)
        ON CONFLICT ON CONSTRAINT tombstones_pkey DO UPDATE SET
            erased_until = greatest(t.erased_until, excluded.erased_until), erasure = excluded.erasure, generation = excluded.generation
        RETURNING t.erased_until INTO until;
        UPDATE public.log_head l SET generation = gen, erased_until = greatest(l.erased_until, until);
    END IF;
    RETURN number;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION begin_erasure IS 'Records an erasure, and returns its number; that of the same one, if it was interrupted.';

-- +goose StatementBegin
CREATE FUNCTION hold_log() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT l.position FROM public.log_head l FOR UPDATE;
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION hold_log IS 'Keeps everybody from appending until the transaction ends, and returns the last position.';

-- Erases conversations, and events of none at their positions, in the caller's
-- transaction. Nobody folds meanwhile, and nobody appends. Should an event of theirs
-- not be folded yet, nothing is done, and "behind" is the position to wait for.
-- The order of the locks is the follower's row, the log.
-- +goose StatementBegin
CREATE FUNCTION erase_batch(erasure bigint, agent_ids text[], session_ids text[], positions bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    moment   timestamptz := date_trunc('microseconds', clock_timestamp());
    head     bigint;
    gen      bigint;
    followed bigint;
    until    timestamptz;
    told     json;
    stubs    bigint := 0;
    loose    bigint := 0;
    talks    bigint := 0;
    frozen   bigint := 0;
    letters  bigint := 0;
    more     bigint := 0;
BEGIN
    PERFORM public.create_events_month((moment AT TIME ZONE 'UTC')::date);
    SELECT f.position INTO STRICT followed FROM public.followers f WHERE f.name = 'sessions' FOR UPDATE;
    SELECT l.position, l.generation + 1 INTO STRICT head, gen FROM public.log_head l FOR UPDATE;
    moment := greatest(moment, date_trunc('microseconds', clock_timestamp()));

    PERFORM FROM public.events e
    JOIN (SELECT unnest($2) AS agent_id, unnest($3) AS session_id) k ON k.session_id = e.session_id AND k.agent_id = e.agent_id
    WHERE e.position > followed AND e.position <= head AND e.event_type NOT IN ('test', 'ping') AND e.erasure IS NULL
    LIMIT 1;
    IF FOUND THEN
        RETURN jsonb_build_object('behind', head);
    END IF;

    PERFORM set_config('rapport.stub', 'on', true);
    WITH touched AS (
        UPDATE public.events e SET erasure = $1
        FROM (SELECT unnest($2) AS agent_id, unnest($3) AS session_id) k
        WHERE e.session_id = k.session_id AND e.agent_id = k.agent_id AND e.erasure IS NULL
        RETURNING e.agent_id, e.session_id
    )
    SELECT count(*), count(DISTINCT (t.agent_id, t.session_id)) INTO stubs, talks FROM touched t;
    WITH touched AS (
        UPDATE public.events e SET erasure = $1
        WHERE e.position = ANY($4) AND e.session_id = '' AND e.erasure IS NULL
        RETURNING e.occurred_at
    )
    SELECT count(*), greatest(moment, max(t.occurred_at)) INTO loose, until FROM touched t;
    PERFORM set_config('rapport.stub', 'off', true);

    -- What was no part of a session's numbers is none of them for ever.
    INSERT INTO public.superseded (agent_id, session_id, position)
    SELECT d.agent_id, d.session_id, d.position FROM public.dead_letters d
    JOIN (SELECT unnest($2) AS agent_id, unnest($3) AS session_id) k ON k.session_id = d.session_id AND k.agent_id = d.agent_id
    WHERE d.follower = 'sessions'
    ON CONFLICT DO NOTHING;
    DELETE FROM public.dead_letters d USING (SELECT unnest($2) AS agent_id, unnest($3) AS session_id) k
    WHERE d.session_id = k.session_id AND d.agent_id = k.agent_id;
    GET DIAGNOSTICS letters = ROW_COUNT;
    DELETE FROM public.dead_letters d WHERE d.position = ANY($4);
    GET DIAGNOSTICS more = ROW_COUNT;

    UPDATE public.sessions s SET erased_at = moment, user_id = '', room_name = '',
        end_reason = CASE WHEN s.end_count > 0 THEN 'ended' ELSE '' END
    FROM (SELECT unnest($2) AS agent_id, unnest($3) AS session_id) k
    WHERE s.session_id = k.session_id AND s.agent_id = k.agent_id AND s.erased_at IS NULL;
    GET DIAGNOSTICS frozen = ROW_COUNT;
    DELETE FROM public.session_texts t USING (SELECT unnest($2) AS agent_id, unnest($3) AS session_id) k
    WHERE t.session_id = k.session_id AND t.agent_id = k.agent_id;

    INSERT INTO public.tombstones AS t (agent_id, session_id, whole, erased_until, erasure, generation)
    SELECT k.agent_id, k.session_id, false, greatest(moment, (
               SELECT max(e.occurred_at) FROM public.events e WHERE e.session_id = k.session_id AND e.agent_id = k.agent_id)), $1, gen
    FROM (SELECT unnest($2) AS agent_id, unnest($3) AS session_id) k
    ON CONFLICT ON CONSTRAINT tombstones_pkey DO UPDATE SET
        erased_until = greatest(t.erased_until, excluded.erased_until), erasure = excluded.erasure, generation = excluded.generation;
    SELECT greatest(until, max(t.erased_until)),
           json_build_object('erasure', $1, 'conversations', coalesce(json_agg(json_build_object(
               'agent_id', t.agent_id, 'session_id', t.session_id, 'erased_until',
               to_char(t.erased_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
               ORDER BY t.session_id, t.agent_id), '[]'), 'positions', to_json($4))
    INTO until, told
    FROM public.tombstones t
    JOIN (SELECT unnest($2) AS agent_id, unnest($3) AS session_id) k
      ON k.session_id = t.session_id AND k.agent_id = t.agent_id AND NOT t.whole;

    -- The announcement. What makes it one is the column erasure, which no delivery sets.
    INSERT INTO public.events (
        position, occurred_at, received_at, undated, event_type, agent_id, session_id, user_id, role, message, message_type,
        language, room_name, error_code, error_severity, error_category, end_reason, fingerprint, headers, payload, erasure)
    VALUES (head + 1, moment, moment, false, 'rapport.erased',
        coalesce((SELECT min(a.id) FROM unnest($2) a (id) HAVING count(DISTINCT a.id) = 1), ''), '', '', '', '', '',
        '', '', '', '', '', '', sha256(convert_to((head + 1)::text || told::text, 'UTF8')), '{}', told, $1);
    UPDATE public.log_head l SET position = head + 1, generation = gen,
        received_at = greatest(l.received_at, moment), erased_until = greatest(l.erased_until, until);
    UPDATE public.erasures r SET conversations = r.conversations + talks, events = r.events + stubs + loose,
        sessions = r.sessions + frozen, dead_letters = r.dead_letters + letters + more
    WHERE r.id = $1;
    PERFORM pg_notify('rapport_log', ''), pg_notify('rapport_rollups', '');
    RETURN jsonb_build_object('position', head + 1, 'conversations', talks, 'events', stubs + loose, 'sessions', frozen,
        'dead_letters', letters + more);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION erase_batch IS 'Turns the events of conversations into stubs, freezes their sessions, and announces it in the log.';

-- +goose StatementBegin
CREATE FUNCTION finish_erasure(erasure bigint, quarantined bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.erasures r SET finished_at = clock_timestamp(), quarantined = r.quarantined + $2 WHERE r.id = $1;
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION finish_erasure IS 'Notes the end of an erasure.';

-- The planner's statistics have the common values of each column, and some others:
-- texts and names among them. They are gathered anew, of what is left.
-- +goose StatementBegin
CREATE FUNCTION stale_statistics() RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(DISTINCT s.tablename::text ORDER BY s.tablename::text), '{}')
    FROM pg_stats s
    WHERE s.schemaname = 'public'
      AND (s.tablename IN ('events', 'sessions', 'session_texts', 'dead_letters', 'quarantine', 'superseded')
        OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = 'public.events'::regclass
                   AND i.inhrelid = to_regclass(format('public.%I', s.tablename))));
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION stale_statistics IS 'The tables of whose texts and names the planner may know some.';

-- +goose StatementBegin
CREATE FUNCTION forget_statistics(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF $1 = ANY (public.stale_statistics()) THEN
        EXECUTE format('ANALYZE public.%I', $1);
    END IF;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION forget_statistics IS 'Has the planner forget the values that it knows of a table.';

CREATE OR REPLACE VIEW current_sessions AS SELECT * FROM sessions;

CREATE OR REPLACE VIEW analytics.sessions AS
SELECT agent_id, session_id, started_at, last_activity_at, closes_at,
       CASE WHEN closes_at <= now() THEN 'closed' ELSE 'open' END AS status,
       CASE WHEN closes_at > now() THEN NULL WHEN end_count > 0 THEN end_reason ELSE 'idle' END AS end_reason,
       round(duration_ms / 1000.0, 3) AS duration_s,
       round((active_us / 1000) / 1000.0, 3) AS active_s,
       event_count, join_count, message_count, error_count, user_message_count, agent_message_count,
       user_char_count, agent_char_count, turn_count, answered_turn_count,
       CASE WHEN answered_turn_count > 0 THEN response_ms_total END AS response_ms_total,
       CASE WHEN answered_turn_count > 0 THEN response_ms_max END AS response_ms_max,
       CASE WHEN answered_turn_count > 0 THEN first_response_ms END AS first_response_ms,
       CASE WHEN answered_turn_count > 0
            THEN round(response_ms_total / (answered_turn_count * 1000.0), 3) END AS avg_response_s,
       quick_answer_count, repeat_count, friction_count,
       CASE WHEN user_message_count > 0
            THEN round(sentiment_sum / (user_message_count * 1000.0), 3) END AS sentiment,
       peak_participants, room_name, user_id, rating, engagement_tier,
       round(engagement_tenths / 10.0, 1) AS engagement_score,
       round(quality_tenths / 10.0, 1) AS quality_score,
       score_version, first_position, last_position, erased_at
FROM public.current_sessions;
COMMENT ON COLUMN analytics.sessions.erased_at IS 'When what was said was erased: the numbers stay as they were then. Null for any other.';

CREATE OR REPLACE VIEW analytics.events AS
SELECT position, occurred_at, received_at, undated, event_type, agent_id, session_id, user_id, role, message,
       message_type, language, participants, room_name, error_code, error_severity, error_category, end_reason,
       rating, fingerprint, payload, payload_raw, healed_from, erasure
FROM public.events;
COMMENT ON COLUMN analytics.events.erasure IS 'Null for a whole event. A stub, whose content is gone, has the number of the erasure, 0 if it went for its age; so has the rapport.erased that announces it.';

CREATE OR REPLACE VIEW analytics.messages AS
SELECT e.position, e.agent_id, e.session_id, s.started_at, e.occurred_at, e.role, e.message AS text,
       char_length(e.message) AS char_count, e.message_type, e.language, e.user_id
FROM public.events e
LEFT JOIN LATERAL (
    SELECT w.started_at, w.last_event_at FROM public.current_sessions w
    WHERE w.session_id = e.session_id AND w.agent_id = e.agent_id AND w.started_at <= e.occurred_at
    ORDER BY w.started_at DESC LIMIT 1
) s ON s.last_event_at >= e.occurred_at
WHERE e.event_type = 'chat.push' AND e.erasure IS NULL
  AND (e.healed_from = '' OR NOT EXISTS (
      SELECT FROM public.current_superseded x WHERE x.session_id = e.session_id AND x.agent_id = e.agent_id AND x.position = e.position));
COMMENT ON VIEW analytics.messages IS 'A row per message that is not erased; healed ones only while no delivery of them is there.';
