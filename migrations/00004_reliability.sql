-- What it takes that no delivery is lost, and to prove it. There is no way down:
-- it would lose what was healed, and what was put aside.

-- +goose Up

-- What was fetched from the sender's own record, because no delivery of it came.
ALTER TABLE events ADD COLUMN healed_from text NOT NULL DEFAULT '';
COMMENT ON COLUMN events.healed_from IS 'Where a healed message was read in the sender''s own record; empty for what was delivered.';

ALTER TABLE log_head ADD COLUMN duplicates bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN log_head.duplicates IS 'How many deliveries were recognised as events of the log. What is tried again, since the answer to its commit was lost, counts too.';

DROP FUNCTION append_events;

-- The whole append is one call, so that its lock is taken only after all of its
-- data has arrived: a server that is frozen while it sends holds nothing. Each
-- statement of the function has a snapshot of its own, taken after the lock.
-- The subqueries of ARRAY() keep the order of the arrays: nothing in them sorts,
-- hashes or runs in parallel.
-- -1, NaN and the empty string stand for NULL in participants, rating and the
-- two payloads; repeats are the duplicates that were recognised within the batch,
-- and are not among the events.
-- +goose StatementBegin
CREATE FUNCTION append_events(
    occurred_at timestamptz[], received_at timestamptz[], participants integer[], undated boolean[],
    event_type text[], agent_id text[], session_id text[], user_id text[], role text[], message text[],
    message_type text[], language text[], room_name text[], error_code text[], error_severity text[],
    error_category text[], end_reason text[], rating double precision[], fingerprint bytea[],
    headers text[], payload text[], payload_raw bytea[], healed_from text[], repeats bigint,
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
        duplicates = l.duplicates + cardinality(positions) - added + $24,
        received_at = greatest(l.received_at, (
            SELECT max(b.received_at) FROM (SELECT unnest(positions) AS position, unnest($2) AS received_at) b
            WHERE b.position > 0));
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION append_events IS 'Appends a batch to the log. Returns for each event its position; negated, that of its twin if it was there already. Events of one batch must be distinct.';

ALTER TABLE sessions ADD COLUMN healed_until timestamptz;
COMMENT ON COLUMN sessions.healed_until IS 'Last occurred_at of the healed messages within a second of its events, whether they count or not.';

CREATE TABLE dead_letters (
    follower   text        NOT NULL,
    position   bigint      NOT NULL,
    agent_id   text        COLLATE "C" NOT NULL,
    session_id text        COLLATE "C" NOT NULL,
    event_type text        NOT NULL,
    reason     text        NOT NULL,
    attempts   integer     NOT NULL,
    failed_at  timestamptz NOT NULL,
    retry      boolean     NOT NULL DEFAULT false,
    CONSTRAINT dead_letters_pkey PRIMARY KEY (follower, position)
);
CREATE INDEX dead_letters_session_idx ON dead_letters (session_id, agent_id);
COMMENT ON TABLE dead_letters IS 'Events that a follower could not take, put aside so that the others go on. They are in the log all the same.';
COMMENT ON COLUMN dead_letters.follower IS 'The follower.';
COMMENT ON COLUMN dead_letters.position IS 'The event''s place in the log.';
COMMENT ON COLUMN dead_letters.agent_id IS 'The event''s agent.';
COMMENT ON COLUMN dead_letters.session_id IS 'The event''s session.';
COMMENT ON COLUMN dead_letters.event_type IS 'The event''s type.';
COMMENT ON COLUMN dead_letters.reason IS 'Why it could not be taken, the last time.';
COMMENT ON COLUMN dead_letters.attempts IS 'How often it was tried.';
COMMENT ON COLUMN dead_letters.failed_at IS 'When it failed last.';
COMMENT ON COLUMN dead_letters.retry IS 'It is to be tried again.';

CREATE TABLE spools (
    id         text        NOT NULL,
    drained_to bigint      NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT spools_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE spools IS 'How far the spool of each server has been drained into the log.';
COMMENT ON COLUMN spools.id IS 'The spool''s own name.';
COMMENT ON COLUMN spools.drained_to IS 'Every record of the spool up to this number, from 1, is in the log or in the quarantine.';
COMMENT ON COLUMN spools.updated_at IS 'When it was drained last.';

CREATE TABLE quarantine_tally (
    singleton boolean NOT NULL DEFAULT true,
    received  bigint  NOT NULL,
    pruned    bigint  NOT NULL,
    replayed  bigint  NOT NULL,
    CONSTRAINT quarantine_tally_pkey PRIMARY KEY (singleton),
    CONSTRAINT quarantine_tally_single CHECK (singleton)
);
COMMENT ON TABLE quarantine_tally IS 'One row: received is the sum of seen_count over the quarantine, plus pruned, plus replayed.';
COMMENT ON COLUMN quarantine_tally.singleton IS 'Always true.';
COMMENT ON COLUMN quarantine_tally.received IS 'Deliveries that were put into the quarantine.';
COMMENT ON COLUMN quarantine_tally.pruned IS 'Those of them that were dropped for age or size.';
COMMENT ON COLUMN quarantine_tally.replayed IS 'Those of them that were replayed into the log.';
INSERT INTO quarantine_tally (received, pruned, replayed) SELECT coalesce(sum(seen_count), 0), 0, 0 FROM quarantine;

CREATE OR REPLACE VIEW analytics.events AS
SELECT position, occurred_at, received_at, undated, event_type, agent_id, session_id, user_id, role, message,
       message_type, language, participants, room_name, error_code, error_severity, error_category, end_reason,
       rating, fingerprint, payload, payload_raw, healed_from
FROM public.events;
COMMENT ON COLUMN analytics.events.healed_from IS 'Where a healed message was read in the sender''s own record; empty for what was delivered.';

-- Views are bound to a table, not to its name, and a rebuild replaces the tables. So
-- it has these to bind anew, and not the views of analytics: whoever reads those
-- locks current_sessions first of all, as the rebuild does. In any other order,
-- readers and the rebuild could wait for each other.
CREATE VIEW current_sessions AS SELECT * FROM sessions;
COMMENT ON VIEW current_sessions IS 'The table sessions, for the views of analytics. Who adds a column to that replaces this.';

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
       score_version, first_position, last_position
FROM public.current_sessions;

-- What the session projection knows of healed messages, for those who list messages.
CREATE TABLE superseded (
    agent_id   text   COLLATE "C" NOT NULL,
    session_id text   COLLATE "C" NOT NULL,
    position   bigint NOT NULL,
    CONSTRAINT superseded_pkey PRIMARY KEY (session_id, agent_id, position)
);
COMMENT ON TABLE superseded IS 'Healed messages that count nowhere, since a delivery of them is in the log.';
COMMENT ON COLUMN superseded.agent_id IS 'The message''s agent.';
COMMENT ON COLUMN superseded.session_id IS 'The message''s session.';
COMMENT ON COLUMN superseded.position IS 'The message''s place in the log.';
CREATE VIEW current_superseded AS SELECT * FROM superseded;
COMMENT ON VIEW current_superseded IS 'The table superseded, for the views of analytics. They read current_sessions before it.';

CREATE OR REPLACE VIEW analytics.messages AS
SELECT e.position, e.agent_id, e.session_id, s.started_at, e.occurred_at, e.role, e.message AS text,
       char_length(e.message) AS char_count, e.message_type, e.language, e.user_id
FROM public.events e
LEFT JOIN LATERAL (
    SELECT w.started_at, w.last_event_at FROM public.current_sessions w
    WHERE w.session_id = e.session_id AND w.agent_id = e.agent_id AND w.started_at <= e.occurred_at
    ORDER BY w.started_at DESC LIMIT 1
) s ON s.last_event_at >= e.occurred_at
WHERE e.event_type = 'chat.push'
  AND (e.healed_from = '' OR NOT EXISTS (
      SELECT FROM public.current_superseded x WHERE x.session_id = e.session_id AND x.agent_id = e.agent_id AND x.position = e.position));
COMMENT ON VIEW analytics.messages IS 'A row per message; healed ones only while no delivery of them is there.';
