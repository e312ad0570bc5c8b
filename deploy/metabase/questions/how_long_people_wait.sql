-- How long do people wait for an answer? Median and 95th percentile by week, over the last 90 days. Line chart.
SELECT m.bucket_start AS "week", m.value AS "median in s", p.value AS "95th percentile in s"
FROM analytics.timeseries('p50_response_s', now() - interval '90 days', now(), 'week') m
JOIN analytics.timeseries('p95_response_s', now() - interval '90 days', now(), 'week') p USING (bucket_start)
ORDER BY 1
