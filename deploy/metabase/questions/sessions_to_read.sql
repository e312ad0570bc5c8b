-- Which sessions should somebody read? Long ones of low quality, of the last 30 days. Table.
SELECT agent_id AS "agent", session_id AS "session", started_at AS "started", turn_count AS "turns", quality_score AS "quality",
       friction_count AS "friction", sentiment
FROM analytics.sessions
WHERE started_at >= now() - interval '30 days' AND turn_count >= 4
ORDER BY quality_score, friction_count DESC
LIMIT 50
