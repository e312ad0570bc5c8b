-- The words of messages, for GET /messages.

-- +goose Up

CREATE TABLE message_search (
    position    bigint      NOT NULL,
    occurred_at timestamptz NOT NULL,
    words       tsvector    NOT NULL,
    CONSTRAINT message_search_pkey PRIMARY KEY (position)
);
COMMENT ON TABLE message_search IS 'A row per message that is not erased, as far as the follower search has come.';
COMMENT ON COLUMN message_search.position IS 'The message''s place in the log.';
COMMENT ON COLUMN message_search.occurred_at IS 'The message''s occurred_at.';
COMMENT ON COLUMN message_search.words IS 'What search_words makes of its text, and the marks of search_marks.';

-- Else the planner would know words, also those that are erased.
ALTER TABLE message_search ALTER COLUMN words SET STATISTICS 0;

-- The follower empties the pending list after each step; until then it may hold one.
CREATE INDEX message_search_words_idx ON message_search USING gin (words) WITH (fastupdate = on, gin_pending_list_limit = 16384);

INSERT INTO followers (name) VALUES ('search');

-- A cut in the middle of a character would be none.
-- +goose StatementBegin
CREATE FUNCTION search_text(message text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    most  CONSTANT integer := 100000;
    bytes bytea;
    size  integer := most;
BEGIN
    IF octet_length(message) <= most THEN
        RETURN message;
    END IF;
    bytes := convert_to(message, 'UTF8');
    WHILE get_byte(bytes, size) & 192 = 128 LOOP
        size := size - 1;
    END LOOP;
    RETURN convert_from(substring(bytes FOR size), 'UTF8');
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION search_text IS 'The part of a text that is searched: its first 100 kB.';

-- No text may stop the follower. Postgres takes seconds for a few kilobytes that could
-- be the begin of an address or of a comment over and over: signs that make such things
-- are taken for blanks where nothing else parts the text, or where it is long. What it
-- refuses is shortened until it does not.
-- +goose StatementBegin
CREATE FUNCTION search_words(message text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    signs CONSTANT text := '!"#$%&''*+,-./:;<=>?@\^_`|~';
    part  text;
BEGIN
    IF octet_length(message) < 100 THEN
        RETURN to_tsvector('pg_catalog.simple', message);
    END IF;
    part := public.search_text(message);
    IF part ~ '[^[:space:]]{100}' THEN
        part := translate(part, signs, repeat(' ', char_length(signs)));
    ELSIF octet_length(part) > 2000 THEN
        part := translate(part, '<', ' ');
    END IF;
    IF octet_length(part) <= 10000 THEN
        RETURN to_tsvector('pg_catalog.simple', part);
    END IF;
    LOOP
        BEGIN
            RETURN to_tsvector('pg_catalog.simple', part);
        EXCEPTION WHEN program_limit_exceeded OR data_exception THEN
            part := left(part, char_length(part) / 2);
        END;
    END LOOP;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION search_words IS 'The words of a text, in lower case and in any language: what stands between blanks and punctuation.';

-- Marks are words that no text has: each begins with a control character. An id of
-- any length fits; a long one is hashed. (As the planner can put these functions into the
-- statements that call them, but for the hash, they cost little.)
-- +goose StatementBegin
CREATE FUNCTION search_hash(value text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN '#' || encode(substring(sha256(convert_to(value, 'UTF8')) FOR 16), 'hex');
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION search_hash IS 'What stands for a long value in a mark.';

CREATE FUNCTION search_mark(kind text, value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN chr(1) || kind || CASE WHEN octet_length(value) <= 16 THEN value ELSE search_hash(value) END;
COMMENT ON FUNCTION search_mark IS 'A word that marks what a message belongs to.';

-- e, f, g and h are blocks of 2^12, 2^16, 2^20 and 2^24 positions: a search looks into
-- the newest block first, and goes on to greater ones while it has found too little. So
-- it costs about the same for words that every message has, or hardly any.
CREATE FUNCTION search_marks(place bigint, occurred_at timestamptz, agent_id text, role text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY[
    search_mark('a', agent_id),
    search_mark('r', role),
    chr(1) || 'y' || extract(year FROM occurred_at AT TIME ZONE 'UTC')::text,
    chr(1) || 'm' || (extract(year FROM occurred_at AT TIME ZONE 'UTC') * 12 + extract(month FROM occurred_at AT TIME ZONE 'UTC') - 1)::text,
    chr(1) || 'd' || ((occurred_at AT TIME ZONE 'UTC')::date - date '1970-01-01')::text,
    chr(1) || 'e' || to_hex(place >> 12),
    chr(1) || 'f' || to_hex(place >> 16),
    chr(1) || 'g' || to_hex(place >> 20),
    chr(1) || 'h' || to_hex(place >> 24)
];
COMMENT ON FUNCTION search_marks IS 'The marks of a message: its agent, role, and the year, month, day (of UTC) and blocks of positions that it lies in.';

CREATE FUNCTION search_vector(place bigint, occurred_at timestamptz, agent_id text, role text, message text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN search_words(message) || array_to_tsvector(search_marks(place, occurred_at, agent_id, role));
COMMENT ON FUNCTION search_vector IS 'What message_search.words is for a message.';

-- +goose StatementBegin
CREATE FUNCTION search_any(marks text[]) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg('''' || replace(replace(m.mark, '\', '\\'), '''', '''''') || '''', '|')::tsquery FROM unnest(marks) m (mark);
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION search_any IS 'Asks for any of some marks; null if there are none.';

-- The plan is fixed: the index alone decides what is looked at. Three conditions, and
-- not one, so that the index passes over stretches that any one of them excludes. The
-- + 0 keeps the planner from the index on positions.
-- +goose StatementBegin
CREATE FUNCTION search_block(
    query tsquery, size integer, block bigint, agents text[], role text, times text[],
    since timestamptz, until timestamptz, up_to bigint, enough integer, max_rows integer,
    OUT seen bigint, OUT positions bigint[]
) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off SET enable_indexscan = off SET enable_indexonlyscan = off AS $$
DECLARE
    place tsquery := public.search_any(ARRAY[chr(1) || chr(98 + size / 4) || to_hex(block)]);
    scope tsquery := public.search_any(ARRAY(SELECT public.search_mark('a', a.id) FROM unnest(agents) a (id)));
    part  tsquery;
BEGIN
    FOREACH part IN ARRAY ARRAY[
        CASE WHEN role <> '' THEN public.search_any(ARRAY[public.search_mark('r', role)]) END,
        public.search_any(ARRAY(SELECT chr(1) || t.mark FROM unnest(times) t (mark)))
    ] LOOP
        scope := coalesce(scope && part, scope, part);
    END LOOP;
    scope := coalesce(scope, place);
    query := coalesce(query, place);
    WITH found AS MATERIALIZED (
        SELECT m.position FROM public.message_search m
        WHERE m.words @@ query AND m.words @@ place AND m.words @@ scope
          AND m.position + 0 <= up_to AND m.occurred_at >= since AND m.occurred_at < until
        LIMIT enough
    )
    SELECT count(*), coalesce((array_agg(f.position ORDER BY f.position DESC))[1:max_rows], '{}')
    INTO seen, positions FROM found f;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION search_block IS 'Searches the block''th block of 2^size positions, up to one of them. Tells how many messages it has seen, and the last positions of these: of enough there may be more, and others.';

-- Only an owner may empty the list.
-- +goose StatementBegin
CREATE FUNCTION settle_search() RETURNS void LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT gin_clean_pending_list('public.message_search_words_idx');
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION settle_search IS 'Moves what was written last into its place in the index, which is faster for many rows at once.';

-- A step of the follower must not bring back what is erased meanwhile. Who takes
-- several of the locks takes this one first, then the row of sessions, then the log.
-- +goose StatementBegin
CREATE FUNCTION hold_search() RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.followers f WHERE f.name = 'search' FOR UPDATE;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION hold_search IS 'Keeps the follower search from working until the transaction ends.';

-- +goose StatementBegin
CREATE FUNCTION forget_words() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM public.message_search s WHERE s.position = OLD.position;
    RETURN NULL;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION forget_words IS 'Deletes the words of a message that has become a stub.';

CREATE TRIGGER events_words_forget AFTER UPDATE ON events FOR EACH ROW
WHEN (OLD.erasure IS NULL AND NEW.erasure IS NOT NULL AND OLD.event_type = 'chat.push')
EXECUTE FUNCTION forget_words();

-- As before, but that nobody waits for the search, which takes nothing from below the
-- horizon any more.
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

-- +goose Down
DROP TRIGGER events_words_forget ON events;
DROP FUNCTION forget_words, hold_search, settle_search, search_block, search_any, search_vector, search_marks, search_mark,
    search_hash, search_words, search_text;
DELETE FROM followers WHERE name = 'search';
DROP TABLE message_search;
