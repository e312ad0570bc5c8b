-- Errors of the last 90 days.
SELECT occurred_at AS "at", agent_id AS "agent", session_id AS "session", error_code AS "code", error_severity AS "severity",
       error_category AS "category"
FROM analytics.errors
WHERE occurred_at >= now() - interval '90 days'
