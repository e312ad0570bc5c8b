-- What is too old goes, by the month (store/retain.go).

-- name: RetentionGet :one
-- and the database's clock.
SELECT events_before, messages_before, sessions_before, texts_before, dropped_sessions, dropped_counts,
       now()::timestamptz AS now
FROM retention;

-- name: HorizonMove :one
SELECT move_horizon(@events_before::timestamptz, @messages_before::timestamptz, @sessions_before::timestamptz)::jsonb AS moved;

-- name: EventsMonthList :many
-- The partitions of the log, by their names, and whether all their events are stubs.
SELECT c.relname::text AS name, greatest(c.reltuples, 0)::bigint AS about, (s.month IS NOT NULL)::boolean AS stubbed
FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
LEFT JOIN stubbed_months s ON c.relname = 'events_' || to_char(s.month, 'YYYY_MM')
WHERE i.inhparent = 'events'::regclass
ORDER BY c.relname;

-- name: EventsMonthCount :one
SELECT count(*) AS events, count(*) FILTER (WHERE erasure IS NULL) AS whole
FROM events WHERE occurred_at >= @since AND occurred_at < @until;

-- name: EventsMonthDrop :one
SELECT drop_events_month(@month::date)::jsonb AS dropped;

-- name: EventsStub :one
SELECT stub_events(@month::date, @after::bigint, @max_rows::integer)::jsonb AS stubbed;

-- name: EventsMonthAnalyze :exec
SELECT analyze_events_month(@month::date);

-- name: SessionDropCount :one
SELECT count(*) FROM sessions WHERE started_at < @before AND last_event_at < @before;

-- name: SessionDrop :one
SELECT drop_sessions(@max_rows::integer)::jsonb AS dropped;

-- name: SessionTextDrop :one
SELECT drop_session_texts(@max_sessions::integer)::bigint AS sessions;

-- name: DroppedMonthList :many
SELECT month, events, no_session, superseded, healed, announced, coalesce(first_position, 0)::bigint AS first_position,
       coalesce(last_position, 0)::bigint AS last_position, position_sum::text AS position_sum, newest_received_at
FROM dropped_months ORDER BY month;

-- name: StubbedMonthList :many
SELECT month FROM stubbed_months;

-- name: FrozenSpanList :many
SELECT agent_id, session_id, frozen_until FROM frozen_spans;

-- name: FrozenSpanOfMany :many
SELECT z.agent_id, z.session_id, z.frozen_until
FROM (SELECT unnest(@agent_ids::text[]) AS agent_id, unnest(@session_ids::text[]) AS session_id) k
JOIN frozen_spans z USING (session_id, agent_id);
