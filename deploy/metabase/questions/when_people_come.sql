-- When do people come? Sessions by hour of the day, UTC, over the last 30 days. Bar chart.
SELECT key::integer AS "hour", value AS "sessions"
FROM analytics.breakdown('sessions', 'hour_of_day', now() - interval '30 days', now(), 'UTC')
ORDER BY 1
