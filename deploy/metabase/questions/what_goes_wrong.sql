-- What goes wrong? Errors of the last 30 days by code. Table.
SELECT error_code AS "code", error_category AS "category", count(*) AS "errors", count(DISTINCT session_id) AS "sessions"
FROM analytics.errors
WHERE occurred_at >= now() - interval '30 days'
GROUP BY 1, 2
ORDER BY 3 DESC
