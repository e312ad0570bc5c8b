-- Agents by day (UTC): sums that can be added up, for a year.
SELECT date_trunc('day', starts_at, 'UTC') AS "day", agent_id AS "agent", sum(sessions) AS "sessions",
       sum(engaged_sessions) AS "engaged sessions", sum(deep) AS "deep sessions", sum(messages) AS "messages",
       sum(duration_s) AS "sum of durations in s", sum(engagement_sum) AS "sum of engagement",
       sum(quality_sum) AS "sum of quality", sum(quality_sessions) AS "sessions with a quality", sum(errors) AS "errors"
FROM analytics.sessions_hourly
WHERE starts_at >= now() - interval '1 year'
GROUP BY 1, 2
