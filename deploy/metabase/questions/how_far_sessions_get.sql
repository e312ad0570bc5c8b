-- How far do sessions get? The last 30 days. Funnel.
SELECT step, sessions FROM analytics.funnel(now() - interval '30 days', now())
