-- Sessions: a row per session of the last year, in words that need no manual.
SELECT agent_id AS "agent", session_id AS "session", started_at AS "started", user_id AS "visitor", room_name AS "room",
       status, end_reason AS "end", engagement_tier AS "tier", duration_s AS "duration in s", turn_count AS "turns",
       user_message_count AS "messages of the visitor", agent_message_count AS "messages of the agent",
       avg_response_s AS "mean response in s", engagement_score AS "engagement", quality_score AS "quality", sentiment,
       rating, error_count AS "errors"
FROM analytics.sessions
WHERE started_at >= now() - interval '1 year'
