-- Totals of sessions and counts of events (store/totals.go). What names the tables
-- without a schema means the fresh ones in a rebuild.

-- name: SessionTotalsGetMany :many
SELECT t.*
FROM (SELECT unnest(@grains::smallint[]) AS grain, unnest(@of_alls::boolean[]) AS of_all, unnest(@agent_ids::text[]) AS agent_id,
             unnest(@starts_ats::timestamptz[]) AS starts_at) k
JOIN session_totals t USING (grain, of_all, agent_id, starts_at);

-- name: SessionTotalsUpsertMany :exec
-- Each key once. The arrays of the histograms come as texts, for they differ in length.
INSERT INTO session_totals (
    grain, of_all, agent_id, starts_at, sessions, bounced, engaged, continued, deep, joined, events, joins, messages,
    user_messages, agent_messages, user_chars, agent_chars, errors, turns, answered_turns, quick_answers, repeats, friction,
    duration_ms, active_ms, response_ms, engagement_tenths, quality_tenths, judged, sentiment_thousandths, felt,
    rating_thousandths, rated, duration_bins, duration_counts, response_bins, response_counts)
SELECT
    unnest(@grains::smallint[]), unnest(@of_alls::boolean[]), unnest(@agent_ids::text[]), unnest(@starts_ats::timestamptz[]),
    unnest(@sessions::bigint[]), unnest(@bounced::bigint[]), unnest(@engaged::bigint[]), unnest(@continued::bigint[]),
    unnest(@deep::bigint[]), unnest(@joined::bigint[]), unnest(@events::bigint[]), unnest(@joins::bigint[]),
    unnest(@messages::bigint[]), unnest(@user_messages::bigint[]), unnest(@agent_messages::bigint[]),
    unnest(@user_chars::bigint[]), unnest(@agent_chars::bigint[]), unnest(@errors::bigint[]), unnest(@turns::bigint[]),
    unnest(@answered_turns::bigint[]), unnest(@quick_answers::bigint[]), unnest(@repeats::bigint[]),
    unnest(@friction::bigint[]), unnest(@duration_ms::bigint[]), unnest(@active_ms::bigint[]),
    unnest(@response_ms::bigint[]), unnest(@engagement_tenths::bigint[]), unnest(@quality_tenths::bigint[]),
    unnest(@judged::bigint[]), unnest(@sentiment_thousandths::bigint[]), unnest(@felt::bigint[]),
    unnest(@rating_thousandths::bigint[]), unnest(@rated::bigint[]), unnest(@duration_bins::text[])::smallint[],
    unnest(@duration_counts::text[])::bigint[], unnest(@response_bins::text[])::smallint[],
    unnest(@response_counts::text[])::bigint[]
ON CONFLICT ON CONSTRAINT session_totals_pkey DO UPDATE SET
    sessions = excluded.sessions, bounced = excluded.bounced, engaged = excluded.engaged, continued = excluded.continued,
    deep = excluded.deep, joined = excluded.joined, events = excluded.events, joins = excluded.joins,
    messages = excluded.messages, user_messages = excluded.user_messages, agent_messages = excluded.agent_messages,
    user_chars = excluded.user_chars, agent_chars = excluded.agent_chars, errors = excluded.errors, turns = excluded.turns,
    answered_turns = excluded.answered_turns, quick_answers = excluded.quick_answers, repeats = excluded.repeats,
    friction = excluded.friction, duration_ms = excluded.duration_ms, active_ms = excluded.active_ms,
    response_ms = excluded.response_ms, engagement_tenths = excluded.engagement_tenths,
    quality_tenths = excluded.quality_tenths, judged = excluded.judged,
    sentiment_thousandths = excluded.sentiment_thousandths, felt = excluded.felt,
    rating_thousandths = excluded.rating_thousandths, rated = excluded.rated, duration_bins = excluded.duration_bins,
    duration_counts = excluded.duration_counts, response_bins = excluded.response_bins,
    response_counts = excluded.response_counts;

-- name: SessionTotalsDeleteMany :exec
DELETE FROM session_totals t
USING (SELECT unnest(@grains::smallint[]) AS grain, unnest(@of_alls::boolean[]) AS of_all, unnest(@agent_ids::text[]) AS agent_id,
              unnest(@starts_ats::timestamptz[]) AS starts_at) k
WHERE t.grain = k.grain AND t.of_all = k.of_all AND t.agent_id = k.agent_id AND t.starts_at = k.starts_at;

-- name: SessionTotalsInsertMany :copyfrom
INSERT INTO session_totals (
    grain, of_all, agent_id, starts_at, sessions, bounced, engaged, continued, deep, joined, events, joins, messages,
    user_messages, agent_messages, user_chars, agent_chars, errors, turns, answered_turns, quick_answers, repeats, friction,
    duration_ms, active_ms, response_ms, engagement_tenths, quality_tenths, judged, sentiment_thousandths, felt,
    rating_thousandths, rated, duration_bins, duration_counts, response_bins, response_counts
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
    $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37
);

-- name: SessionTotalsDeleteSince :exec
DELETE FROM session_totals WHERE starts_at >= @since AND starts_at < @until;

-- name: SessionTotalsCarryOver :exec
-- Of sessions that may be gone.
INSERT INTO session_totals SELECT * FROM public.session_totals t WHERE t.starts_at < @before;

-- name: SessionNextStart :one
-- When the first session from a time on started; 9999 if there is none.
SELECT coalesce(min(started_at), '9999-01-01')::timestamptz AS started_at FROM sessions WHERE started_at >= @since;

-- name: SessionListStarted :many
SELECT * FROM sessions WHERE started_at >= @since AND started_at < @until;

-- name: EventCountAddMany :exec
-- Each key once.
INSERT INTO event_counts AS c (grain, starts_at, agent_id, event_type, role, error_code, error_severity, error_category, events)
SELECT unnest(@grains::smallint[]), unnest(@starts_ats::timestamptz[]), unnest(@agent_ids::text[]), unnest(@event_types::text[]),
       unnest(@roles::text[]), unnest(@error_codes::text[]), unnest(@error_severities::text[]), unnest(@error_categories::text[]),
       unnest(@events::bigint[])
ON CONFLICT ON CONSTRAINT event_counts_pkey DO UPDATE SET events = c.events + excluded.events;

-- name: EventCountDropEmpty :exec
DELETE FROM event_counts c
USING (SELECT unnest(@grains::smallint[]) AS grain, unnest(@starts_ats::timestamptz[]) AS starts_at, unnest(@agent_ids::text[]) AS agent_id) k
WHERE c.grain = k.grain AND c.starts_at = k.starts_at AND c.agent_id = k.agent_id AND c.events = 0;

-- name: EventListCounted :many
-- What events are counted by, at positions that are known.
SELECT occurred_at, agent_id, event_type, role, error_code, error_severity, error_category
FROM events WHERE position = ANY(@positions::bigint[]);

-- name: EventCountDeleteSince :exec
DELETE FROM event_counts WHERE starts_at >= @since AND starts_at < @until;

-- name: EventCountCarryOver :exec
-- Of events that may be gone.
INSERT INTO event_counts SELECT * FROM public.event_counts c WHERE c.starts_at >= @since AND c.starts_at < @until;

-- name: EventCountQuarters :exec
-- Of the log up to a position; aside are the dead letters.
INSERT INTO event_counts
SELECT 15, grain_start(15::smallint, e.occurred_at), e.agent_id, count_text(e.event_type), count_text(e.role), count_text(e.error_code),
       count_text(e.error_severity), count_text(e.error_category), count(*)
FROM events e
WHERE e.occurred_at >= @since AND e.occurred_at < @until AND e.position <= @up_to
  AND NOT e.position = ANY(@aside::bigint[])
  AND NOT EXISTS (SELECT FROM superseded x WHERE x.session_id = e.session_id AND x.agent_id = e.agent_id AND x.position = e.position)
GROUP BY 2, 3, 4, 5, 6, 7, 8;

-- name: EventCountSumUp :exec
-- Hours from quarters, days from hours.
INSERT INTO event_counts
SELECT @grain::smallint, grain_start(@grain::smallint, c.starts_at), c.agent_id, c.event_type, c.role, c.error_code, c.error_severity,
       c.error_category, sum(c.events)
FROM event_counts c
WHERE c.grain = @of_grain::smallint AND c.starts_at >= @since AND c.starts_at < @until
GROUP BY 2, 3, 4, 5, 6, 7, 8;

-- name: EventMonthNext :one
-- The UTC month of the first partition of the log from a time on; 9999 if there is none.
SELECT coalesce(min(to_timestamp(substr(c.relname, 8), 'YYYY_MM')), '9999-01-01')::timestamptz AS month
FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'events'::regclass AND c.relname ~ '^events_[0-9]{4}_[0-9]{2}$'
  AND to_timestamp(substr(c.relname, 8), 'YYYY_MM') >= @since::timestamptz;

-- name: MovedCountList :many
SELECT month, transaction FROM moved_counts;

-- name: FollowerToCount :one
-- Whether everything is counted that has been followed: see followers.to_count.
SELECT (to_count IS NULL)::boolean AS whole FROM followers WHERE name = @name;

-- name: FollowerCounted :exec
UPDATE followers SET to_count = @to_count WHERE name = @name;
