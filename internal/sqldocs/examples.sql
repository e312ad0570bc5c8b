-- Which avatars keep people talking, this month
SELECT agent_id, sum(sessions) AS sessions, round(sum(engagement_sum) / sum(sessions), 1) AS engagement,
       round(sum(duration_s) / sum(sessions)) AS mean_duration_s
FROM analytics.sessions_hourly
WHERE starts_at >= date_trunc('month', now())
GROUP BY agent_id
HAVING sum(sessions) >= 10
ORDER BY engagement DESC;

-- Sessions a day for four weeks, on Berlin's calendar
SELECT bucket_start, value AS sessions
FROM analytics.timeseries('sessions', now() - interval '28 days', now(), 'day', 'Europe/Berlin');

-- One agent's quality by the hour, beside its error rate
SELECT q.bucket_start, q.value AS quality, e.value AS errors_per_session
FROM analytics.timeseries('avg_quality', now() - interval '2 days', now(), 'hour', 'UTC', 'agent-7') q
JOIN analytics.timeseries('error_rate', now() - interval '2 days', now(), 'hour', 'UTC', 'agent-7') e USING (bucket_start)
ORDER BY q.bucket_start;

-- Every metric of the last 30 days
SELECT metric, value, unit FROM analytics.stats(now() - interval '30 days', now());

-- How far sessions get
SELECT step, sessions, share_of_first FROM analytics.funnel(now() - interval '30 days', now());

-- When people come
SELECT key AS hour, value AS sessions
FROM analytics.breakdown('sessions', 'hour_of_day', now() - interval '30 days', now(), 'America/New_York');

-- The agents with the slowest answers
SELECT key AS agent_id, value AS p95_response_s
FROM analytics.breakdown('p95_response_s', 'agent', now() - interval '30 days', now())
LIMIT 10;

-- Messages an hour since yesterday
SELECT starts_at, sum(user_messages) AS by_users, sum(agent_messages) AS by_agents
FROM analytics.activity_hourly
WHERE starts_at >= now() - interval '1 day'
GROUP BY starts_at
ORDER BY starts_at;

-- What goes wrong, and for how many
SELECT error_code, error_severity, count(*) AS errors, count(DISTINCT session_id) AS sessions
FROM analytics.errors
WHERE occurred_at >= now() - interval '7 days'
GROUP BY error_code, error_severity
ORDER BY errors DESC;

-- Long sessions that went badly: candidates to read
SELECT agent_id, session_id, started_at, turn_count, quality_score, friction_count
FROM analytics.sessions
WHERE started_at >= now() - interval '7 days' AND engagement_tier = 'deep' AND quality_score < 50
ORDER BY friction_count DESC
LIMIT 20;

-- A transcript
SELECT occurred_at, role, text
FROM analytics.messages
WHERE session_id = '8d947f06-2c36-4d98-aafe-b232da2433ff' AND agent_id = 'A80HVD8577'
ORDER BY occurred_at, role = 'agent', position;

-- Visitors who came back
SELECT user_id, count(*) AS sessions, min(started_at) AS first_at, max(started_at) AS last_at
FROM analytics.sessions
WHERE user_id <> '' AND started_at >= now() - interval '30 days'
GROUP BY user_id
HAVING count(*) > 1
ORDER BY sessions DESC
LIMIT 20;

-- Which types of event arrive
SELECT event_type, events, last_day FROM analytics.event_types ORDER BY events DESC;

-- A member of the sender's that has no column of its own
SELECT occurred_at, payload #>> '{user,location,country}' AS country
FROM analytics.events
WHERE event_type = 'room.join' AND occurred_at >= now() - interval '1 day';
