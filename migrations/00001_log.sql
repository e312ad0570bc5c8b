-- The event log: what arrived, in the order in which it was kept.

-- +goose Up

CREATE TABLE events (
    position       bigint      NOT NULL,
    occurred_at    timestamptz NOT NULL,
    received_at    timestamptz NOT NULL,
    participants   integer,
    undated        boolean     NOT NULL,
    event_type     text        NOT NULL,
    agent_id       text        COLLATE "C" NOT NULL,
    session_id     text        COLLATE "C" NOT NULL,
    user_id        text        COLLATE "C" NOT NULL,
    role           text        NOT NULL,
    message        text        NOT NULL,
    message_type   text        NOT NULL,
    language       text        NOT NULL,
    room_name      text        NOT NULL,
    error_code     text        NOT NULL,
    error_severity text        NOT NULL,
    error_category text        NOT NULL,
    end_reason     text        NOT NULL,
    rating         double precision,
    fingerprint    bytea       NOT NULL,
    headers        json        NOT NULL,
    payload        json,
    payload_raw    bytea,
    -- A retry carries the same time, so it meets its twin under the same key.
    CONSTRAINT events_pkey PRIMARY KEY (session_id, occurred_at, fingerprint),
    CONSTRAINT events_one_payload CHECK ((payload IS NULL) <> (payload_raw IS NULL))
) PARTITION BY RANGE (occurred_at);

CREATE INDEX events_position_idx ON events (position);

-- Deliveries without a time of their own are compared by when they came.
CREATE INDEX events_undated_idx ON events (fingerprint, occurred_at) WHERE undated;

COMMENT ON TABLE events IS 'The event log, append-only. Partitioned by the UTC month of occurred_at.';
COMMENT ON COLUMN events.position IS 'Place in the log, from 1, in commit order and without a gap: who has read head H has every event up to H.';
COMMENT ON COLUMN events.occurred_at IS 'When it happened, by the sender''s clock; received_at if the delivery carried no time.';
COMMENT ON COLUMN events.received_at IS 'When it was received, by the server''s clock.';
COMMENT ON COLUMN events.participants IS 'Participants of the room as told; may include the agent and its avatar.';
COMMENT ON COLUMN events.undated IS 'The delivery carried no time of its own.';
COMMENT ON COLUMN events.event_type IS 'room.join, chat.push, session.end, agent.error, or any other type as the sender named it.';
COMMENT ON COLUMN events.agent_id IS 'The agent; empty if absent.';
COMMENT ON COLUMN events.session_id IS 'The sender''s session; empty if absent: the event is then part of no session.';
COMMENT ON COLUMN events.user_id IS 'The visitor; empty if absent.';
COMMENT ON COLUMN events.role IS 'user, agent (also for assistant, bot and avatar), or any other role in lower case.';
COMMENT ON COLUMN events.message IS 'Text of a message; U+FFFD stands for what Postgres cannot hold.';
COMMENT ON COLUMN events.message_type IS 'text, audio or image; text if a message names none.';
COMMENT ON COLUMN events.language IS 'Language of a message, as told.';
COMMENT ON COLUMN events.room_name IS 'Name of the room, as told.';
COMMENT ON COLUMN events.error_code IS 'Code of an agent.error.';
COMMENT ON COLUMN events.error_severity IS 'Severity of an agent.error: low, medium, high or critical.';
COMMENT ON COLUMN events.error_category IS 'Category of an agent.error: audio, video, llm or network.';
COMMENT ON COLUMN events.end_reason IS 'Reason of a session.end, as told.';
COMMENT ON COLUMN events.rating IS 'The visitor''s satisfaction, as told by a session.end.';
COMMENT ON COLUMN events.fingerprint IS 'SHA-256 of what makes two deliveries the same event.';
COMMENT ON COLUMN events.headers IS 'Received headers worth keeping, never proofs.';
COMMENT ON COLUMN events.payload IS 'The body as it came, to the byte; null where it is not valid UTF-8.';
COMMENT ON COLUMN events.payload_raw IS 'The body as it came where it is not valid UTF-8.';

-- As rapport.Compare orders the events of one instant. SQL, so that it is inlined.
CREATE FUNCTION event_rank(event_type text, role text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN event_type = 'room.join' THEN 0
    WHEN event_type = 'chat.push' AND role = 'user' THEN 1
    WHEN event_type = 'chat.push' THEN 2
    WHEN event_type = 'session.end' THEN 4
    ELSE 3
END;
COMMENT ON FUNCTION event_rank IS 'Orders the events of one instant: a join, user messages, other messages, other events, a session.end.';

CREATE TABLE log_head (
    singleton   boolean     NOT NULL DEFAULT true,
    position    bigint      NOT NULL,
    received_at timestamptz NOT NULL,
    CONSTRAINT log_head_pkey PRIMARY KEY (singleton),
    CONSTRAINT log_head_single CHECK (singleton)
);
COMMENT ON TABLE log_head IS 'One row: the lock under which positions are given out.';
COMMENT ON COLUMN log_head.singleton IS 'Always true.';
COMMENT ON COLUMN log_head.position IS 'Position of the last event; 0 if the log is empty.';
COMMENT ON COLUMN log_head.received_at IS 'Newest received_at of the log.';
INSERT INTO log_head (position, received_at) VALUES (0, '2015-01-01 00:00:00+00');

-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the event log is append-only: % of % refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION refuse_change IS 'Guards the log where one role owns and serves it.';

CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A partition is made beside the table and then attached: that waits for no
-- reader, and no reader for it. The caller sets a short lock_timeout.
-- +goose StatementBegin
CREATE FUNCTION create_events_month(month date) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    name  text := 'events_' || to_char(first, 'YYYY_MM');
BEGIN
    IF to_regclass(format('public.%I', name)) IS NOT NULL THEN
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
COMMENT ON FUNCTION create_events_month IS 'Makes the partition of events for a UTC month, if it is missing.';

-- The whole append is one call, so that its lock is taken only after all of its
-- data has arrived: a server that is frozen while it sends holds nothing. Each
-- statement of the function has a snapshot of its own, taken after the lock.
-- The subqueries of ARRAY() keep the order of the arrays: nothing in them sorts,
-- hashes or runs in parallel.
-- -1, NaN and the empty string stand for NULL in participants, rating and the
-- two payloads; newest is the greatest received_at.
-- +goose StatementBegin
CREATE FUNCTION append_events(
    occurred_at timestamptz[], received_at timestamptz[], participants integer[], undated boolean[],
    event_type text[], agent_id text[], session_id text[], user_id text[], role text[], message text[],
    message_type text[], language text[], room_name text[], error_code text[], error_severity text[],
    error_category text[], end_reason text[], rating double precision[], fingerprint bytea[],
    headers text[], payload text[], payload_raw bytea[], newest timestamptz,
    OUT positions bigint[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    head  bigint;
    twins bigint[];
    added bigint;
BEGIN
    SELECT l.position INTO STRICT head FROM public.log_head l FOR UPDATE;

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

    positions := ARRAY(
        SELECT coalesce(-t.twin, head + count(*) FILTER (WHERE t.twin IS NULL) OVER (ROWS UNBOUNDED PRECEDING))
        FROM (SELECT unnest(twins) AS twin) t);

    INSERT INTO public.events (
        position, occurred_at, received_at, participants, undated, event_type, agent_id, session_id,
        user_id, role, message, message_type, language, room_name, error_code, error_severity,
        error_category, end_reason, rating, fingerprint, headers, payload, payload_raw)
    SELECT
        b.position, b.occurred_at, b.received_at, nullif(b.participants, -1), b.undated, b.event_type, b.agent_id,
        b.session_id, b.user_id, b.role, b.message, b.message_type, b.language, b.room_name, b.error_code,
        b.error_severity, b.error_category, b.end_reason, nullif(b.rating, 'NaN'), b.fingerprint,
        b.headers::json, nullif(b.payload, '')::json, nullif(b.payload_raw, '')
    FROM (
        SELECT unnest(positions) AS position, unnest($1) AS occurred_at, unnest($2) AS received_at,
               unnest($3) AS participants, unnest($4) AS undated, unnest($5) AS event_type,
               unnest($6) AS agent_id, unnest($7) AS session_id, unnest($8) AS user_id, unnest($9) AS role,
               unnest($10) AS message, unnest($11) AS message_type, unnest($12) AS language, unnest($13) AS room_name,
               unnest($14) AS error_code, unnest($15) AS error_severity, unnest($16) AS error_category,
               unnest($17) AS end_reason, unnest($18) AS rating, unnest($19) AS fingerprint, unnest($20) AS headers,
               unnest($21) AS payload, unnest($22) AS payload_raw
    ) b
    WHERE b.position > 0;
    GET DIAGNOSTICS added = ROW_COUNT;

    IF added > 0 THEN
        UPDATE public.log_head l SET position = head + added,
            received_at = greatest(l.received_at, $23);
    END IF;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION append_events IS 'Appends a batch to the log. Returns for each event its position; negated, that of its twin if it was there already. Events of one batch must be distinct.';

CREATE TABLE quarantine (
    id            bigint      GENERATED ALWAYS AS IDENTITY,
    body_sha256   bytea       NOT NULL,
    body          bytea       NOT NULL,
    reason        text        NOT NULL,
    headers       json        NOT NULL,
    seen_count    bigint      NOT NULL DEFAULT 1,
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    CONSTRAINT quarantine_pkey PRIMARY KEY (id),
    CONSTRAINT quarantine_body_once UNIQUE (body_sha256)
);
COMMENT ON TABLE quarantine IS 'Deliveries that were authentic but are no event, once per body.';
COMMENT ON COLUMN quarantine.id IS 'Number of the entry.';
COMMENT ON COLUMN quarantine.body_sha256 IS 'SHA-256 of the body.';
COMMENT ON COLUMN quarantine.body IS 'The body, to the byte.';
COMMENT ON COLUMN quarantine.reason IS 'Why it could not be decoded, when it was last seen.';
COMMENT ON COLUMN quarantine.headers IS 'Received headers worth keeping, never proofs.';
COMMENT ON COLUMN quarantine.seen_count IS 'How often the body came.';
COMMENT ON COLUMN quarantine.first_seen_at IS 'When it came first.';
COMMENT ON COLUMN quarantine.last_seen_at IS 'When it came last.';

-- +goose Down
DROP TABLE quarantine;
DROP FUNCTION append_events;
DROP FUNCTION create_events_month;
DROP TABLE events;
DROP FUNCTION event_rank;
DROP FUNCTION refuse_change;
DROP TABLE log_head;
