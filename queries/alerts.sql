-- Alerts on metrics, and how they have changed.

-- name: AlertList :many
SELECT * FROM alerts ORDER BY rule;

-- name: AlertKeep :exec
-- Those of other rules go.
DELETE FROM alerts WHERE rule <> ALL (@rules::text[]);

-- name: AlertDefine :exec
-- One that is there keeps its state.
INSERT INTO alerts (rule, description, severity, metric, filter, window_s, above, below, no_data)
VALUES (@rule, @description, @severity, @metric, @filter, @window_s, @above, @below, @no_data)
ON CONFLICT ON CONSTRAINT alerts_pkey DO UPDATE SET
    description = excluded.description, severity = excluded.severity, metric = excluded.metric, filter = excluded.filter,
    window_s = excluded.window_s, above = excluded.above, below = excluded.below, no_data = excluded.no_data
WHERE (alerts.description, alerts.severity, alerts.metric, alerts.filter, alerts.window_s, alerts.no_data)
      <> (excluded.description, excluded.severity, excluded.metric, excluded.filter, excluded.window_s, excluded.no_data)
   OR (alerts.above, alerts.below) IS DISTINCT FROM (excluded.above, excluded.below);

-- name: AlertJudge :exec
UPDATE alerts SET state = @state, value = @value, since = @since, evaluated_at = @evaluated_at WHERE rule = @rule;

-- name: AlertChangeInsert :exec
INSERT INTO alert_changes (rule, agent_id, state, value, at)
SELECT @rule, coalesce((SELECT a.filter ->> 'agent_id' FROM alerts a WHERE a.rule = @rule), ''), @state, @value, @at;

-- name: AlertChangeList :many
-- The newest first; before 0 begins. An empty rule is any; where agents are named, it was of one of them.
SELECT id, rule, state, value, at FROM alert_changes
WHERE (@rule::text = '' OR rule = @rule) AND (@before::bigint = 0 OR id < @before)
  AND (@every::boolean OR agent_id = ANY(@agents::text[]))
ORDER BY id DESC
LIMIT @max_rows;

-- name: AlertChangeDrop :exec
DELETE FROM alert_changes WHERE at < @before;
