-- Sessions by day over the last 30 days. Line chart.
SELECT s.bucket_start AS "day", s.value AS "sessions", e.value AS "engaged sessions"
FROM analytics.timeseries('sessions', now() - interval '30 days', now(), 'day') s
JOIN analytics.timeseries('engaged_sessions', now() - interval '30 days', now(), 'day') e USING (bucket_start)
ORDER BY 1
