-- What people and BI tools ask most, beside the tables of 00003: views of the totals,
-- and functions whose numbers are those of GET /stats. Views read the rollups through
-- current_* alone, in the order in which a rebuild locks them.

-- +goose Up

-- The errors of a log are few, and asked for by their time.
CREATE INDEX events_errors_idx ON events (occurred_at) WHERE event_type = 'agent.error';

CREATE VIEW analytics.agents AS
SELECT t.agent_id, f.first_seen_at, l.last_seen_at, t.sessions, t.engaged_sessions, t.messages, t.user_messages, t.agent_messages, t.errors
FROM (
    SELECT agent_id, sum(sessions)::bigint AS sessions, sum(sessions - bounced)::bigint AS engaged_sessions,
           sum(messages)::bigint AS messages, sum(user_messages)::bigint AS user_messages,
           sum(agent_messages)::bigint AS agent_messages, sum(errors)::bigint AS errors, min(starts_at) AS first_day
    FROM public.current_session_totals
    WHERE grain = 1440 AND NOT of_all
    GROUP BY agent_id
) t
LEFT JOIN LATERAL (
    SELECT s.started_at AS first_seen_at FROM public.current_sessions s
    WHERE s.agent_id = t.agent_id ORDER BY s.started_at LIMIT 1
) f ON true
LEFT JOIN LATERAL (
    SELECT s.last_activity_at AS last_seen_at FROM public.current_sessions s
    WHERE s.agent_id = t.agent_id ORDER BY s.started_at DESC LIMIT 1
) l ON true;
COMMENT ON VIEW analytics.agents IS 'A row per agent that has had a session.';
COMMENT ON COLUMN analytics.agents.agent_id IS 'The agent; empty for sessions without one.';
COMMENT ON COLUMN analytics.agents.first_seen_at IS 'started_at of its first session; null if none is left.';
COMMENT ON COLUMN analytics.agents.last_seen_at IS 'last_activity_at of the session that began last; null if none is left.';
COMMENT ON COLUMN analytics.agents.sessions IS 'Sessions, those included that went for their age.';
COMMENT ON COLUMN analytics.agents.engaged_sessions IS 'Sessions with a user message.';
COMMENT ON COLUMN analytics.agents.messages IS 'Messages of the sessions, of any role.';
COMMENT ON COLUMN analytics.agents.user_messages IS 'Messages of users.';
COMMENT ON COLUMN analytics.agents.agent_messages IS 'Messages of the agent.';
COMMENT ON COLUMN analytics.agents.errors IS 'agent.error events of the sessions.';

-- A UNION and not a JOIN, so that a condition on the time reaches both tables.
CREATE VIEW analytics.activity_hourly AS
SELECT agent_id, starts_at, sum(sessions)::bigint AS sessions, sum(joins)::bigint AS joins,
       sum(user_messages)::bigint AS user_messages, sum(agent_messages)::bigint AS agent_messages,
       sum(messages)::bigint AS messages, sum(errors)::bigint AS errors, sum(events)::bigint AS events
FROM (
    SELECT agent_id, starts_at, sessions, 0 AS joins, 0 AS user_messages, 0 AS agent_messages, 0 AS messages, 0 AS errors, 0 AS events
    FROM public.current_session_totals
    WHERE grain = 60 AND NOT of_all
    UNION ALL
    SELECT agent_id, starts_at, 0,
           CASE WHEN event_type = 'room.join' THEN events ELSE 0 END,
           CASE WHEN event_type = 'chat.push' AND role = 'user' THEN events ELSE 0 END,
           CASE WHEN event_type = 'chat.push' AND role = 'agent' THEN events ELSE 0 END,
           CASE WHEN event_type = 'chat.push' THEN events ELSE 0 END,
           CASE WHEN event_type = 'agent.error' THEN events ELSE 0 END,
           events
    FROM public.current_event_counts
    WHERE grain = 60
) u
GROUP BY agent_id, starts_at;
COMMENT ON VIEW analytics.activity_hourly IS 'What happened, per agent and UTC hour: events by the hour in which they occurred, whatever session they are of, and sessions by the hour in which they started. No row for an hour without any.';
COMMENT ON COLUMN analytics.activity_hourly.agent_id IS 'The agent; empty if absent.';
COMMENT ON COLUMN analytics.activity_hourly.starts_at IS 'Begin of the hour.';
COMMENT ON COLUMN analytics.activity_hourly.sessions IS 'Sessions that started.';
COMMENT ON COLUMN analytics.activity_hourly.joins IS 'room.join events.';
COMMENT ON COLUMN analytics.activity_hourly.user_messages IS 'chat.push events of users.';
COMMENT ON COLUMN analytics.activity_hourly.agent_messages IS 'chat.push events of the agent.';
COMMENT ON COLUMN analytics.activity_hourly.messages IS 'chat.push events of any role.';
COMMENT ON COLUMN analytics.activity_hourly.errors IS 'agent.error events.';
COMMENT ON COLUMN analytics.activity_hourly.events IS 'Events of any type.';

CREATE VIEW analytics.sessions_hourly AS
SELECT agent_id, starts_at, sessions, sessions - bounced AS engaged_sessions, bounced, engaged, continued, deep, joined,
       events, joins, messages, user_messages, agent_messages, user_chars, agent_chars, errors,
       turns, answered_turns, quick_answers, repeats, friction,
       round(duration_ms / 1000.0, 3) AS duration_s,
       round(active_ms / 1000.0, 3) AS active_s,
       round(response_ms / 1000.0, 3) AS response_s,
       round(engagement_tenths / 10.0, 1) AS engagement_sum,
       round(quality_tenths / 10.0, 1) AS quality_sum, judged AS quality_sessions,
       round(sentiment_thousandths / 1000.0, 3) AS sentiment_sum, felt AS sentiment_sessions,
       round(rating_thousandths / 1000.0, 3) AS rating_sum, rated AS rating_sessions,
       round(duration_ms / (1000.0 * sessions), 3) AS avg_duration_s,
       round(response_ms / nullif(1000.0 * answered_turns, 0), 3) AS avg_response_s,
       round(engagement_tenths / (10.0 * sessions), 3) AS avg_engagement,
       round(quality_tenths / nullif(10.0 * judged, 0), 3) AS avg_quality,
       round(sentiment_thousandths / nullif(1000.0 * felt, 0), 3) AS avg_sentiment,
       round(rating_thousandths / nullif(1000.0 * rated, 0), 3) AS avg_rating
FROM public.current_session_totals
WHERE grain = 60 AND NOT of_all;
COMMENT ON VIEW analytics.sessions_hourly IS 'The sessions that started, per agent and UTC hour, summed up: for dashboards over long times. Sums can be added; for an average over several rows divide one sum by another, such as sum(duration_s) / sum(sessions), for a mean of averages is wrong. No row for an hour without sessions. Rows outlive sessions that go for their age.';
COMMENT ON COLUMN analytics.sessions_hourly.agent_id IS 'The agent; empty for sessions without one.';
COMMENT ON COLUMN analytics.sessions_hourly.starts_at IS 'Begin of the hour.';
COMMENT ON COLUMN analytics.sessions_hourly.sessions IS 'Sessions that started in it; never 0.';
COMMENT ON COLUMN analytics.sessions_hourly.engaged_sessions IS 'Sessions with a user message: all tiers but bounced.';
COMMENT ON COLUMN analytics.sessions_hourly.bounced IS 'Sessions of the tier bounced: no user message.';
COMMENT ON COLUMN analytics.sessions_hourly.engaged IS 'Sessions of the tier engaged: one turn.';
COMMENT ON COLUMN analytics.sessions_hourly.continued IS 'Sessions of the tier continued: 2 or 3 turns.';
COMMENT ON COLUMN analytics.sessions_hourly.deep IS 'Sessions of the tier deep: 4 turns or more.';
COMMENT ON COLUMN analytics.sessions_hourly.joined IS 'Sessions with a room.join.';
COMMENT ON COLUMN analytics.sessions_hourly.events IS 'Events of these sessions, also those of later hours; so are all that follow.';
COMMENT ON COLUMN analytics.sessions_hourly.joins IS 'room.join events.';
COMMENT ON COLUMN analytics.sessions_hourly.messages IS 'Messages of any role.';
COMMENT ON COLUMN analytics.sessions_hourly.user_messages IS 'Messages of users.';
COMMENT ON COLUMN analytics.sessions_hourly.agent_messages IS 'Messages of the agent.';
COMMENT ON COLUMN analytics.sessions_hourly.user_chars IS 'Unicode code points of the users'' messages.';
COMMENT ON COLUMN analytics.sessions_hourly.agent_chars IS 'Unicode code points of the agent''s messages.';
COMMENT ON COLUMN analytics.sessions_hourly.errors IS 'agent.error events.';
COMMENT ON COLUMN analytics.sessions_hourly.turns IS 'Runs of neighbouring user messages.';
COMMENT ON COLUMN analytics.sessions_hourly.answered_turns IS 'Turns that an agent message follows.';
COMMENT ON COLUMN analytics.sessions_hourly.quick_answers IS 'Answered turns with a response within 3 s.';
COMMENT ON COLUMN analytics.sessions_hourly.repeats IS 'User messages that repeat an earlier one of their session.';
COMMENT ON COLUMN analytics.sessions_hourly.friction IS 'User messages with a frustration word or a sentiment of -0.5 or lower.';
COMMENT ON COLUMN analytics.sessions_hourly.duration_s IS 'Sum of the durations, in seconds.';
COMMENT ON COLUMN analytics.sessions_hourly.active_s IS 'Sum of the active times, in seconds.';
COMMENT ON COLUMN analytics.sessions_hourly.response_s IS 'Sum of the responses of the answered turns, in seconds.';
COMMENT ON COLUMN analytics.sessions_hourly.engagement_sum IS 'Sum of the engagement scores; each is 0 to 100.';
COMMENT ON COLUMN analytics.sessions_hourly.quality_sum IS 'Sum of the quality scores; each is 0 to 100.';
COMMENT ON COLUMN analytics.sessions_hourly.quality_sessions IS 'Sessions that have a quality score.';
COMMENT ON COLUMN analytics.sessions_hourly.sentiment_sum IS 'Sum of the sessions'' sentiments; each is -1 to 1.';
COMMENT ON COLUMN analytics.sessions_hourly.sentiment_sessions IS 'Sessions that have a sentiment.';
COMMENT ON COLUMN analytics.sessions_hourly.rating_sum IS 'Sum of the ratings, as told.';
COMMENT ON COLUMN analytics.sessions_hourly.rating_sessions IS 'Sessions that have a rating.';
COMMENT ON COLUMN analytics.sessions_hourly.avg_duration_s IS 'Mean duration in seconds.';
COMMENT ON COLUMN analytics.sessions_hourly.avg_response_s IS 'Mean response over the answered turns, in seconds; null if there are none.';
COMMENT ON COLUMN analytics.sessions_hourly.avg_engagement IS 'Mean engagement score, 0 to 100.';
COMMENT ON COLUMN analytics.sessions_hourly.avg_quality IS 'Mean quality score, 0 to 100; null if no session has one.';
COMMENT ON COLUMN analytics.sessions_hourly.avg_sentiment IS 'Mean of the sessions'' sentiments, -1 to 1; null if no session has one.';
COMMENT ON COLUMN analytics.sessions_hourly.avg_rating IS 'Mean rating, as told; null if no session has one.';

CREATE VIEW analytics.event_types AS
SELECT event_type, sum(events)::bigint AS events, min(starts_at) AS first_day, max(starts_at) AS last_day
FROM public.current_event_counts
WHERE grain = 1440
GROUP BY event_type;
COMMENT ON VIEW analytics.event_types IS 'A row per type of event: how many events of it count. What is superseded, or could not be taken, does not.';
COMMENT ON COLUMN analytics.event_types.event_type IS 'The type, its first 100 characters.';
COMMENT ON COLUMN analytics.event_types.events IS 'Events, those included that went for their age.';
COMMENT ON COLUMN analytics.event_types.first_day IS 'Begin of the UTC day of the first of them.';
COMMENT ON COLUMN analytics.event_types.last_day IS 'Begin of the UTC day of the last of them.';

CREATE VIEW analytics.errors AS
SELECT e.position, e.occurred_at, e.agent_id, e.session_id, e.error_code, e.error_severity, e.error_category, e.user_id
FROM public.events e
WHERE e.event_type = 'agent.error' AND e.erasure IS NULL
  AND NOT EXISTS (SELECT FROM public.current_superseded x
                  WHERE x.session_id = e.session_id AND x.agent_id = e.agent_id AND x.position = e.position);
COMMENT ON VIEW analytics.errors IS 'A row per agent.error that is not erased. payload of analytics.events has what else was told of it.';
COMMENT ON COLUMN analytics.errors.position IS 'Place in the log.';
COMMENT ON COLUMN analytics.errors.occurred_at IS 'When it happened, by the sender''s clock.';
COMMENT ON COLUMN analytics.errors.agent_id IS 'The agent; empty if absent.';
COMMENT ON COLUMN analytics.errors.session_id IS 'The sender''s session; empty if absent.';
COMMENT ON COLUMN analytics.errors.error_code IS 'Code, as told; empty if absent.';
COMMENT ON COLUMN analytics.errors.error_severity IS 'low, medium, high or critical, as told; empty if absent.';
COMMENT ON COLUMN analytics.errors.error_category IS 'audio, video, llm or network, as told; empty if absent.';
COMMENT ON COLUMN analytics.errors.user_id IS 'The visitor; empty if absent.';

CREATE VIEW analytics.errors_hourly AS
SELECT agent_id, starts_at, error_code, error_severity, error_category, sum(events)::bigint AS errors
FROM public.current_event_counts
WHERE grain = 60 AND event_type = 'agent.error'
GROUP BY agent_id, starts_at, error_code, error_severity, error_category;
COMMENT ON VIEW analytics.errors_hourly IS 'agent.error events, per agent, UTC hour and code: for dashboards over long times. What was erased counts without its code.';
COMMENT ON COLUMN analytics.errors_hourly.agent_id IS 'The agent; empty if absent.';
COMMENT ON COLUMN analytics.errors_hourly.starts_at IS 'Begin of the hour.';
COMMENT ON COLUMN analytics.errors_hourly.error_code IS 'Code, its first 100 characters; empty if absent.';
COMMENT ON COLUMN analytics.errors_hourly.error_severity IS 'low, medium, high or critical, as told; empty if absent.';
COMMENT ON COLUMN analytics.errors_hourly.error_category IS 'audio, video, llm or network, as told; empty if absent.';
COMMENT ON COLUMN analytics.errors_hourly.errors IS 'Errors; never 0.';

CREATE VIEW analytics.metrics AS
SELECT 'sessions'::text AS metric, 'count'::text AS unit, 'Sessions.'::text AS description
UNION ALL SELECT 'engaged_sessions', 'count', 'Sessions with a user message.'
UNION ALL SELECT 'bounce_rate', 'share, 0 to 1', 'Sessions without a user message, of all.'
UNION ALL SELECT 'bounced', 'count', 'Sessions of the tier bounced: no user message.'
UNION ALL SELECT 'engaged', 'count', 'Sessions of the tier engaged: one turn.'
UNION ALL SELECT 'continued', 'count', 'Sessions of the tier continued: 2 or 3 turns.'
UNION ALL SELECT 'deep', 'count', 'Sessions of the tier deep: 4 turns or more.'
UNION ALL SELECT 'messages', 'count', 'Messages, of any role.'
UNION ALL SELECT 'user_messages', 'count', 'Messages of the user.'
UNION ALL SELECT 'agent_messages', 'count', 'Messages of the agent.'
UNION ALL SELECT 'turns', 'count', 'Runs of neighbouring user messages.'
UNION ALL SELECT 'answered_turns', 'count', 'Turns that the agent answered.'
UNION ALL SELECT 'avg_duration_s', 'seconds', 'Mean duration_s of the sessions.'
UNION ALL SELECT 'avg_active_s', 'seconds', 'Mean active_s of the sessions.'
UNION ALL SELECT 'avg_messages', 'per session', 'Messages per session.'
UNION ALL SELECT 'avg_turns', 'per session', 'Turns per session.'
UNION ALL SELECT 'avg_response_s', 'seconds', 'Mean response time over the answered turns.'
UNION ALL SELECT 'answer_rate', 'share, 0 to 1', 'Answered turns, of all turns.'
UNION ALL SELECT 'quick_answer_rate', 'share, 0 to 1', 'Turns answered within 3 s, of the answered turns.'
UNION ALL SELECT 'repeat_rate', 'share, 0 to 1', 'User messages that repeat an earlier one of the session, of the user messages.'
UNION ALL SELECT 'friction_rate', 'share, 0 to 1', 'User messages with a frustration word or a sentiment of -0.5 or lower, of the user messages.'
UNION ALL SELECT 'avg_engagement', 'points, 0 to 100', 'Mean engagement_score of the sessions.'
UNION ALL SELECT 'avg_quality', 'points, 0 to 100', 'Mean quality_score of the sessions that have one.'
UNION ALL SELECT 'avg_sentiment', '-1 to 1', 'Mean sentiment of the sessions that have one.'
UNION ALL SELECT 'avg_rating', 'as told', 'Mean rating of the sessions that have one.'
UNION ALL SELECT 'errors', 'count', 'agent.error events of the sessions.'
UNION ALL SELECT 'error_rate', 'per session', 'Errors per session; may be greater than 1.'
UNION ALL SELECT 'p50_duration_s', 'seconds', 'Median duration_s of the sessions, within 1 %.'
UNION ALL SELECT 'p95_duration_s', 'seconds', '95th percentile of duration_s of the sessions, within 1 %.'
UNION ALL SELECT 'p50_response_s', 'seconds', 'Median avg_response_s of the sessions with an answered turn, within 1 %.'
UNION ALL SELECT 'p95_response_s', 'seconds', '95th percentile of avg_response_s of the sessions with an answered turn, within 1 %.';
COMMENT ON VIEW analytics.metrics IS 'The metrics that the functions timeseries, breakdown and stats know. Each is over the sessions that started within the time asked for. Averages, shares and percentiles are null where there is nothing to divide by.';
COMMENT ON COLUMN analytics.metrics.metric IS 'Its name.';
COMMENT ON COLUMN analytics.metrics.unit IS 'Its unit, and its range.';
COMMENT ON COLUMN analytics.metrics.description IS 'What it is.';

-- +goose StatementBegin
CREATE FUNCTION check_times(since timestamptz, until timestamptz) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF since IS NULL OR until IS NULL OR NOT isfinite(since) OR NOT isfinite(until) THEN
        RAISE EXCEPTION 'from and to must be times' USING ERRCODE = 'invalid_parameter_value';
    ELSIF until <= since THEN
        RAISE EXCEPTION 'to must be later than from' USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION check_times IS 'Refuses what is no time from one instant to a later one.';

-- The begins of the intervals that [since, until) meets on the clock and calendar of a
-- place, in order. Nowhere is local time off UTC by anything but whole quarter hours,
-- since 2015. What is set forward over midnight begins its day later; a midnight that
-- comes twice counts the first time. An interval does not hold all of Postgres's time, so
-- lengths are told from the ends.
-- +goose StatementBegin
CREATE FUNCTION interval_starts(since timestamptz, until timestamptz, every text, tz text) RETURNS timestamptz[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
    length interval;
    step   text := every;
    starts timestamptz[];
    quarter CONSTANT interval := '15 minutes';
    origin  CONSTANT timestamptz := '2015-01-01 00:00:00+00';
BEGIN
    PERFORM public.check_times(since, until);
    IF tz IS NULL OR tz !~ '^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$' THEN
        RAISE EXCEPTION 'tz must be the name of a time zone, such as Europe/Berlin' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF step = 'auto' THEN -- what comes closest to 50 intervals, by ratio
        SELECT v.name INTO step
        FROM (VALUES ('minute', 60), ('five_minutes', 300), ('quarter_hour', 900), ('hour', 3600), ('day', 86400), ('week', 604800),
                     ('month', 2628000)) v (name, seconds)
        ORDER BY abs(ln((extract(epoch FROM until) - extract(epoch FROM since)) / v.seconds / 50)), v.seconds LIMIT 1;
    END IF;
    length := CASE step WHEN 'minute' THEN '1 minute' WHEN 'five_minutes' THEN '5 minutes' WHEN 'quarter_hour' THEN '15 minutes'
        WHEN 'hour' THEN '1 hour' WHEN 'day' THEN '1 day' WHEN 'week' THEN '7 days' WHEN 'month' THEN '1 month' END;
    IF length IS NULL THEN
        RAISE EXCEPTION 'interval must be minute, five_minutes, quarter_hour, hour, day, week, month or auto'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF (extract(epoch FROM until) - extract(epoch FROM since)) / extract(epoch FROM length) > 10500 THEN
        RAISE EXCEPTION 'more than 10,000 intervals: ask for longer ones, or for less time' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    IF length <= quarter THEN
        PERFORM since AT TIME ZONE tz; -- it must be one all the same
        starts := ARRAY(SELECT generate_series(date_bin(length, since, origin), until - interval '1 us', length));
    ELSIF step = 'hour' THEN -- also where the clock is set by something else than hours
        starts := ARRAY(
            SELECT q FROM generate_series(date_bin(quarter, since, origin) - interval '1 hour', until - interval '1 us', quarter) q
            WHERE extract(minute FROM q AT TIME ZONE tz) = 0
               OR extract(minute FROM (q AT TIME ZONE tz) - ((q - quarter) AT TIME ZONE tz)) <> 15
            ORDER BY q);
    ELSE
        starts := ARRAY(
            SELECT DISTINCT (
                SELECT min(c) FROM generate_series((d AT TIME ZONE tz) - interval '3 hours', (d AT TIME ZONE tz) + interval '3 hours', quarter) c
                WHERE (c AT TIME ZONE tz) >= d) AS start
            FROM generate_series(date_trunc(step, since AT TIME ZONE tz) - length, until AT TIME ZONE tz, length) d
            ORDER BY start);
    END IF;
    starts := ARRAY(SELECT s FROM (SELECT s, lead(s) OVER (ORDER BY s) AS next FROM unnest(starts) s) n
                    WHERE s < until AND coalesce(n.next > since, true) ORDER BY s);
    IF cardinality(starts) > 10000 THEN
        RAISE EXCEPTION 'more than 10,000 intervals: ask for longer ones, or for less time' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN starts;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION interval_starts IS 'The begins of the intervals that a time meets on the clock and calendar of a place.';

-- As rapport.binOf.
CREATE FUNCTION histogram_bin(value bigint) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT (h.halved * 64 + (greatest(value, 0) >> h.halved))::smallint
        FROM (SELECT greatest(0, length(ltrim(greatest(value, 0)::bit(64)::text, '0')) - 7) AS halved) h);
COMMENT ON FUNCTION histogram_bin IS 'The bin of a value in the histograms of session_totals.';

-- As rapport.TotalsOf, of each session: a rating is rounded as the float that it is.
CREATE VIEW single_totals AS
SELECT s.agent_id, s.started_at, 1::bigint AS sessions,
       (s.engagement_tier = 'bounced')::integer::bigint AS bounced, (s.engagement_tier = 'engaged')::integer::bigint AS engaged,
       (s.engagement_tier = 'continued')::integer::bigint AS continued, (s.engagement_tier = 'deep')::integer::bigint AS deep,
       (s.join_count > 0)::integer::bigint AS joined, s.message_count AS messages,
       s.user_message_count AS user_messages, s.agent_message_count AS agent_messages, s.error_count AS errors,
       s.turn_count AS turns, s.answered_turn_count AS answered_turns, s.quick_answer_count AS quick_answers,
       s.repeat_count AS repeats, s.friction_count AS friction, s.duration_ms, s.active_us / 1000 AS active_ms,
       s.response_ms_total AS response_ms, s.engagement_tenths, coalesce(s.quality_tenths, 0) AS quality_tenths,
       (s.quality_tenths IS NOT NULL)::integer::bigint AS judged,
       coalesce(round(s.sentiment_sum / nullif(s.user_message_count, 0)::numeric), 0)::bigint AS sentiment_thousandths,
       (s.user_message_count > 0)::integer::bigint AS felt,
       coalesce((trunc(r.told) + CASE WHEN abs(r.told - trunc(r.told)) >= 0.5 THEN sign(r.told) ELSE 0 END)::bigint, 0)::bigint AS rating_thousandths,
       (r.told IS NOT NULL)::integer::bigint AS rated,
       ARRAY[histogram_bin(s.duration_ms)] AS duration_bins, '{1}'::bigint[] AS duration_counts,
       CASE WHEN s.answered_turn_count > 0
            THEN ARRAY[histogram_bin((2 * s.response_ms_total + s.answered_turn_count) / (2 * s.answered_turn_count))]
            ELSE '{}' END AS response_bins,
       CASE WHEN s.answered_turn_count > 0 THEN '{1}'::bigint[] ELSE '{}' END AS response_counts
FROM current_sessions s
CROSS JOIN LATERAL (SELECT CASE WHEN s.rating <> 'NaN' THEN least(greatest(s.rating, -1000000), 1000000) * 1000 END AS told) r;
COMMENT ON VIEW single_totals IS 'The totals of each session alone, for what is no whole quarter hour.';

-- Each bucket is made of the largest grains that fit into it, and of single sessions
-- at its ends, where these are within a quarter hour. OFFSET 0 has each piece looked
-- up in the index.
-- +goose StatementBegin
CREATE FUNCTION bucket_totals(begins timestamptz[], ends timestamptz[], agent text, each_agent boolean)
RETURNS TABLE (
    bucket integer, agent_id text, sessions bigint, bounced bigint, engaged bigint, continued bigint, deep bigint, joined bigint,
    messages bigint, user_messages bigint, agent_messages bigint, errors bigint, turns bigint, answered_turns bigint,
    quick_answers bigint, repeats bigint, friction bigint, duration_ms bigint, active_ms bigint, response_ms bigint,
    engagement_tenths bigint, quality_tenths bigint, judged bigint, sentiment_thousandths bigint, felt bigint,
    rating_thousandths bigint, rated bigint,
    duration_bins smallint[], duration_counts bigint[], response_bins smallint[], response_counts bigint[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    origin CONSTANT timestamptz := '2015-01-01 00:00:00+00';
BEGIN
    RETURN QUERY
    WITH piece AS (
        SELECT b.bucket, p.grain, p.since, p.until
        FROM unnest($1, $2) WITH ORDINALITY b (since, until, bucket)
        CROSS JOIN LATERAL (SELECT least(date_bin('15 min', b.since + interval '15 min -1 us', origin), b.until) AS begins) q
        CROSS JOIN LATERAL (SELECT greatest(date_bin('15 min', b.until, origin), q.begins) AS ends) r
        CROSS JOIN LATERAL (SELECT least(date_bin('1 hour', q.begins + interval '1 hour -1 us', origin), r.ends) AS begins) h
        CROSS JOIN LATERAL (SELECT greatest(date_bin('1 hour', r.ends, origin), h.begins) AS ends) i
        CROSS JOIN LATERAL (SELECT least(date_bin('1 day', h.begins + interval '1 day -1 us', origin), i.ends) AS begins) d
        CROSS JOIN LATERAL (SELECT greatest(date_bin('1 day', i.ends, origin), d.begins) AS ends) e
        CROSS JOIN LATERAL (VALUES
            (0, b.since, q.begins), (15, q.begins, h.begins), (60, h.begins, d.begins), (1440, d.begins, e.ends),
            (60, e.ends, i.ends), (15, i.ends, r.ends), (0, r.ends, b.until)) p (grain, since, until)
        WHERE p.since < p.until
    )
    SELECT p.bucket::integer, s.*
    FROM piece p CROSS JOIN LATERAL (
        SELECT w.agent_id, w.sessions, w.bounced, w.engaged, w.continued, w.deep, w.joined, w.messages, w.user_messages, w.agent_messages,
               w.errors, w.turns, w.answered_turns, w.quick_answers, w.repeats, w.friction, w.duration_ms, w.active_ms, w.response_ms,
               w.engagement_tenths, w.quality_tenths, w.judged, w.sentiment_thousandths, w.felt, w.rating_thousandths, w.rated,
               w.duration_bins, w.duration_counts, w.response_bins, w.response_counts
        FROM public.single_totals w
        WHERE w.started_at >= p.since AND w.started_at < p.until AND ($3 IS NULL OR w.agent_id = $3)
        OFFSET 0
    ) s
    WHERE p.grain = 0
    UNION ALL
    SELECT p.bucket::integer, s.*
    FROM piece p CROSS JOIN LATERAL (
        SELECT t.agent_id, t.sessions, t.bounced, t.engaged, t.continued, t.deep, t.joined, t.messages, t.user_messages, t.agent_messages,
               t.errors, t.turns, t.answered_turns, t.quick_answers, t.repeats, t.friction, t.duration_ms, t.active_ms, t.response_ms,
               t.engagement_tenths, t.quality_tenths, t.judged, t.sentiment_thousandths, t.felt, t.rating_thousandths, t.rated,
               t.duration_bins, t.duration_counts, t.response_bins, t.response_counts
        FROM public.current_session_totals t
        WHERE t.grain = p.grain AND t.of_all = ($3 IS NULL AND NOT $4) AND ($3 IS NULL OR t.agent_id = $3)
          AND t.starts_at >= p.since AND t.starts_at < p.until
        OFFSET 0
    ) s
    WHERE p.grain > 0;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION bucket_totals IS 'Rows of totals that together are those of the sessions that started within each bucket.';

-- What every metric is made of. As the API's: computed from the sums of all sessions,
-- and rounded once, half away from zero. keys are those of the buckets; without them
-- the key is the agent.
-- +goose StatementBegin
CREATE FUNCTION metric_values(wanted text[], begins timestamptz[], ends timestamptz[], keys text[], agent text)
RETURNS TABLE (key text, metric text, value numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
BEGIN
    IF EXISTS (SELECT FROM unnest($1) u (metric) WHERE u.metric IS NULL OR u.metric NOT IN (SELECT m.metric FROM analytics.metrics m)) THEN
        RAISE EXCEPTION 'metric must be one of those in analytics.metrics' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'SELECT * FROM analytics.metrics';
    END IF;
    RETURN QUERY
    SELECT s.key, s.metric, CASE WHEN s.decimals = 0 THEN s.num ELSE round(s.num / nullif(s.den, 0), s.decimals) END
    FROM (
        SELECT CASE WHEN $4 IS NULL THEN t.agent_id ELSE $4[t.bucket] END AS key, v.metric, v.decimals, sum(v.num) AS num, sum(v.den) AS den
        FROM public.bucket_totals($2, $3, $5, $4 IS NULL) t
        CROSS JOIN LATERAL (VALUES
            ('sessions', t.sessions, 1, 0), ('engaged_sessions', t.sessions - t.bounced, 1, 0), ('bounce_rate', t.bounced, t.sessions, 4),
            ('bounced', t.bounced, 1, 0), ('engaged', t.engaged, 1, 0), ('continued', t.continued, 1, 0), ('deep', t.deep, 1, 0),
            ('messages', t.messages, 1, 0), ('user_messages', t.user_messages, 1, 0), ('agent_messages', t.agent_messages, 1, 0),
            ('turns', t.turns, 1, 0), ('answered_turns', t.answered_turns, 1, 0),
            ('avg_duration_s', t.duration_ms, 1000 * t.sessions, 3), ('avg_active_s', t.active_ms, 1000 * t.sessions, 3),
            ('avg_messages', t.messages, t.sessions, 3), ('avg_turns', t.turns, t.sessions, 3),
            ('avg_response_s', t.response_ms, 1000 * t.answered_turns, 3), ('answer_rate', t.answered_turns, t.turns, 4),
            ('quick_answer_rate', t.quick_answers, t.answered_turns, 4), ('repeat_rate', t.repeats, t.user_messages, 4),
            ('friction_rate', t.friction, t.user_messages, 4), ('avg_engagement', t.engagement_tenths, 10 * t.sessions, 3),
            ('avg_quality', t.quality_tenths, 10 * t.judged, 3), ('avg_sentiment', t.sentiment_thousandths, 1000 * t.felt, 3),
            ('avg_rating', t.rating_thousandths, 1000 * t.rated, 3), ('errors', t.errors, 1, 0), ('error_rate', t.errors, t.sessions, 4)
        ) v (metric, num, den, decimals)
        WHERE v.metric = ANY($1)
        GROUP BY 1, 2, 3
    ) s;

    IF NOT $1 && ARRAY['p50_duration_s', 'p95_duration_s', 'p50_response_s', 'p95_response_s'] THEN
        RETURN;
    END IF;
    -- The least value that at least the part q of all values does not exceed: the
    -- middle of the bin where it lies.
    RETURN QUERY
    SELECT q.key, q.metric, round(((q.bin - 64 * q.halved) * 2::numeric ^ q.halved + trunc(2::numeric ^ q.halved / 2)) / 1000, 3)
    FROM (
        SELECT DISTINCT ON (h.key, w.metric) h.key, w.metric, h.bin, greatest(0, h.bin / 64 - 1) AS halved
        FROM (
            SELECT b.*, sum(b.n) OVER (PARTITION BY b.key, b.of ORDER BY b.bin) AS seen, sum(b.n) OVER (PARTITION BY b.key, b.of) AS total
            FROM (
                SELECT CASE WHEN $4 IS NULL THEN t.agent_id ELSE $4[t.bucket] END AS key, u.of, u.bin, sum(u.n) AS n
                FROM public.bucket_totals($2, $3, $5, $4 IS NULL) t
                CROSS JOIN LATERAL (
                    SELECT 'duration', d.bin, d.n FROM unnest(t.duration_bins, t.duration_counts) d (bin, n)
                    WHERE $1 && ARRAY['p50_duration_s', 'p95_duration_s']
                    UNION ALL
                    SELECT 'response', d.bin, d.n FROM unnest(t.response_bins, t.response_counts) d (bin, n)
                    WHERE $1 && ARRAY['p50_response_s', 'p95_response_s']
                ) u (of, bin, n)
                GROUP BY 1, 2, 3
            ) b
        ) h
        JOIN (VALUES ('p50_duration_s', 'duration', 0.5), ('p95_duration_s', 'duration', 0.95), ('p50_response_s', 'response', 0.5),
                     ('p95_response_s', 'response', 0.95)) w (metric, of, part) ON w.of = h.of
        WHERE w.metric = ANY($1) AND h.seen >= ceil(w.part * h.total)
        ORDER BY h.key, w.metric, h.bin
    ) q;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION metric_values IS 'Metrics of the sessions that started within buckets, per key or agent. What has none has no row.';

-- These run with the rights of their owner, for the totals are nobody else's: their
-- statements are fixed, and every name in them has its schema.
-- +goose StatementBegin
CREATE FUNCTION analytics.timeseries(
    metric text, "from" timestamptz, "to" timestamptz, "interval" text DEFAULT 'day', tz text DEFAULT 'UTC', agent_id text DEFAULT NULL)
RETURNS TABLE (bucket_start timestamptz, value numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    starts timestamptz[] := public.interval_starts($2, $3, $4, $5);
    begins timestamptz[] := ARRAY(SELECT greatest(s, $2) FROM unnest(starts) WITH ORDINALITY u (s, i) ORDER BY i);
    counts boolean := EXISTS (SELECT FROM analytics.metrics m WHERE m.metric = $1 AND m.unit = 'count');
BEGIN
    RETURN QUERY
    SELECT s.start, coalesce(v.value, CASE WHEN counts THEN 0 END)
    FROM unnest(starts) WITH ORDINALITY s (start, i)
    LEFT JOIN public.metric_values(ARRAY[$1], begins, begins[2:] || $3, ARRAY(SELECT i::text FROM generate_series(1, cardinality(starts)) i), $6) v
           ON v.key = s.i::text
    ORDER BY s.i;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION analytics.timeseries IS 'A metric over time: a row for each interval that the time meets, in order and without a gap, over the sessions that started in it. The numbers are those of GET /stats/timeseries. Where nothing happened, counts are 0 and averages null.
metric: one of analytics.metrics.
from: sessions that started then or later.
to: sessions that started before.
interval: minute, five_minutes, quarter_hour, hour, day, week, month, or auto for about 50 intervals; at most 10,000 of them. Weeks begin on Monday.
tz: the time zone on whose clock and calendar intervals begin, such as Europe/Berlin: a day may have 23 or 25 hours.
agent_id: sessions of this agent alone; null: of all.
bucket_start: begin of the interval; the first may begin before from, and then counts from there on.
value: the metric.';

-- +goose StatementBegin
CREATE FUNCTION analytics.stats("from" timestamptz, "to" timestamptz, agent_id text DEFAULT NULL)
RETURNS TABLE (metric text, value numeric, unit text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
BEGIN
    PERFORM public.check_times($1, $2);
    RETURN QUERY
    SELECT m.metric, coalesce(v.value, CASE WHEN m.unit = 'count' THEN 0 END), m.unit
    FROM (SELECT n.*, row_number() OVER () AS place FROM analytics.metrics n) m
    LEFT JOIN public.metric_values(ARRAY(SELECT n.metric FROM analytics.metrics n), ARRAY[$1], ARRAY[$2], '{all}', $3) v ON v.metric = m.metric
    ORDER BY m.place;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION analytics.stats IS 'Every metric over the sessions that started within a time, a row each. The numbers are those of GET /stats.
from: sessions that started then or later.
to: sessions that started before.
agent_id: sessions of this agent alone; null: of all.
metric: its name.
value: the metric; null where there is nothing to divide by.
unit: its unit.';

-- +goose StatementBegin
CREATE FUNCTION analytics.breakdown(
    metric text, by text, "from" timestamptz, "to" timestamptz, tz text DEFAULT 'UTC', agent_id text DEFAULT NULL)
RETURNS TABLE (key text, value numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    starts timestamptz[] := CASE $2 WHEN 'hour_of_day' THEN public.interval_starts($3, $4, 'hour', $5)
                                    WHEN 'weekday' THEN public.interval_starts($3, $4, 'day', $5) END;
    begins timestamptz[] := ARRAY(SELECT greatest(s, $3) FROM unnest(starts) WITH ORDINALITY u (s, i) ORDER BY i);
    counts boolean := EXISTS (SELECT FROM analytics.metrics m WHERE m.metric = $1 AND m.unit = 'count');
BEGIN
    IF $2 = 'agent' THEN
        PERFORM public.check_times($3, $4);
        RETURN QUERY
        SELECT a.key, a.value
        FROM (SELECT v.key, max(v.value) FILTER (WHERE v.metric = $1) AS value -- also of agents whose sessions have none
              FROM public.metric_values(ARRAY['sessions', $1], ARRAY[$3], ARRAY[$4], NULL, $6) v GROUP BY v.key) a
        ORDER BY a.value DESC NULLS LAST, a.key COLLATE "C";
    ELSIF $2 IN ('hour_of_day', 'weekday') THEN
        RETURN QUERY
        SELECT g.key, coalesce(v.value, CASE WHEN counts THEN 0 END)
        FROM (
            SELECT i, i::text AS key FROM generate_series(0, 23) i WHERE $2 = 'hour_of_day'
            UNION ALL
            SELECT i, (ARRAY['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'])[i]
            FROM generate_series(1, 7) i WHERE $2 = 'weekday'
        ) g
        LEFT JOIN public.metric_values(ARRAY[$1], begins, begins[2:] || $4, ARRAY(
            SELECT date_part(CASE $2 WHEN 'weekday' THEN 'isodow' ELSE 'hour' END, s AT TIME ZONE $5)::integer::text
            FROM unnest(starts) WITH ORDINALITY u (s, i) ORDER BY i), $6) v ON v.key = g.i::text
        ORDER BY g.i;
    ELSE
        RAISE EXCEPTION 'by must be agent, hour_of_day or weekday' USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION analytics.breakdown IS 'A metric by agent, or by when the sessions started: a row for each agent that had any, the greatest first, or for each hour of the day or weekday. The numbers are those of GET /stats/breakdown.
metric: one of analytics.metrics.
by: agent, hour_of_day or weekday.
from: sessions that started then or later.
to: sessions that started before; by hour_of_day, at most 10,000 hours later.
tz: the time zone on whose clock hours and days are, such as Europe/Berlin.
agent_id: sessions of this agent alone; null: of all.
key: the agent_id, the hour 0 to 23, or the weekday in English.
value: the metric; null where there is nothing to divide by.';

-- +goose StatementBegin
CREATE FUNCTION analytics.funnel("from" timestamptz, "to" timestamptz, agent_id text DEFAULT NULL)
RETURNS TABLE (step text, sessions bigint, share_of_first numeric, share_of_previous numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
BEGIN
    PERFORM public.check_times($1, $2);
    RETURN QUERY
    SELECT f.step, f.sessions, round(f.sessions / nullif(first_value(f.sessions) OVER w, 0)::numeric, 4),
           round(f.sessions / nullif(lag(f.sessions, 1, f.sessions) OVER w, 0)::numeric, 4)
    FROM (
        SELECT v.place, v.step, v.sessions::bigint
        FROM (SELECT coalesce(sum(t.sessions), 0) AS sessions, coalesce(sum(t.bounced), 0) AS bounced,
                     coalesce(sum(t.continued), 0) AS continued, coalesce(sum(t.deep), 0) AS deep
              FROM public.bucket_totals(ARRAY[$1], ARRAY[$2], $3, false) t) n
        CROSS JOIN LATERAL (VALUES (1, 'joined', n.sessions), (2, 'first_message', n.sessions - n.bounced),
            (3, 'second_turn', n.continued + n.deep), (4, 'deep', n.deep)) v (place, step, sessions)
    ) f
    WINDOW w AS (ORDER BY f.place)
    ORDER BY f.place;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION analytics.funnel IS 'How far the sessions got that started within a time: a row for each step, which includes the later ones. The numbers are those of GET /stats/funnel.
from: sessions that started then or later.
to: sessions that started before.
agent_id: sessions of this agent alone; null: of all.
step: joined (every session), first_message (a user message), second_turn (two turns or more), deep (four or more).
sessions: sessions that got there.
share_of_first: of those of the first step, 0 to 1; null if there are none.
share_of_previous: of those of the step before, 0 to 1; null if there are none.';

-- +goose Down
DROP FUNCTION analytics.funnel, analytics.breakdown, analytics.stats, analytics.timeseries;
DROP FUNCTION metric_values, bucket_totals;
DROP VIEW single_totals;
DROP FUNCTION histogram_bin, interval_starts, check_times;
DROP VIEW analytics.metrics, analytics.errors_hourly, analytics.errors, analytics.event_types, analytics.sessions_hourly, analytics.activity_hourly, analytics.agents;
DROP INDEX events_errors_idx;
