-- Which agent keeps people talking? Mean engagement over the last 30 days, for agents with ten sessions or more. Bar chart.
SELECT agent_id AS "agent", round(sum(engagement_sum) / sum(sessions), 1) AS "engagement", sum(sessions) AS "sessions"
FROM analytics.sessions_hourly
WHERE starts_at >= now() - interval '30 days'
GROUP BY agent_id
HAVING sum(sessions) >= 10
ORDER BY 2 DESC
