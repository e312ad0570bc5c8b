-- What rules have to tell destinations. Its jobs are River's: see 00015_deliveries.sql.

-- name: DeliveryInsertMany :exec
INSERT INTO deliveries (job_id, delivery_id, rule, destination, position, agent_id, session_id, body)
SELECT unnest(@job_ids::bigint[]), unnest(@delivery_ids::text[]), unnest(@rules::text[]), unnest(@destinations::text[]),
       unnest(@positions::bigint[]), unnest(@agent_ids::text[]), unnest(@session_ids::text[]), unnest(@bodies::bytea[]);

-- name: DeliveryGet :one
SELECT * FROM deliveries WHERE job_id = @job_id;

-- name: DeliveryTally :many
-- How many each destination has that wait or are under way, and that are dead.
SELECT d.destination, count(*) FILTER (WHERE j.finalized_at IS NULL) AS waiting,
       count(*) FILTER (WHERE j.state IN ('discarded', 'cancelled')) AS dead
FROM river_job j JOIN deliveries d ON d.job_id = j.id
WHERE j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled', 'discarded', 'cancelled')
GROUP BY d.destination ORDER BY d.destination;

-- name: DeadDeliveryList :many
-- A page, the newest events first; before_position -1 begins. Where agents are named,
-- it is of theirs.
SELECT d.job_id, d.delivery_id, d.rule, d.destination, d.position, d.agent_id, d.session_id, j.attempt, j.finalized_at,
       coalesce(j.errors[array_upper(j.errors, 1)] ->> 'error', '')::text AS error
FROM deliveries d JOIN river_job j ON j.id = d.job_id
WHERE j.state IN ('discarded', 'cancelled')
  AND (cardinality(@agents::text[]) = 0 OR d.agent_id = ANY(@agents))
  AND (@before_position::bigint = -1 OR (d.position, d.job_id) < (@before_position, @before_job::bigint))
ORDER BY d.position DESC, d.job_id DESC
LIMIT @max_rows;

-- name: DeadDeliveryRetryMany :many
-- They have some attempts more, the first at once.
UPDATE river_job j SET state = 'available', finalized_at = NULL, scheduled_at = now(),
    max_attempts = least(j.attempt + @more_attempts::integer, 32767),
    metadata = (j.metadata - 'cancel_attempted_at') || jsonb_build_object('tried_before', j.attempt)
FROM deliveries d
WHERE d.job_id = j.id AND j.state IN ('discarded', 'cancelled') AND j.attempt < 32767
  AND (@every::boolean OR j.id = ANY(@job_ids::bigint[]))
RETURNING j.id;

-- name: DeadDeliveryDeleteMany :many
DELETE FROM river_job j USING deliveries d
WHERE d.job_id = j.id AND j.state IN ('discarded', 'cancelled')
  AND (@every::boolean OR j.id = ANY(@job_ids::bigint[]))
RETURNING j.id;

-- name: ReactionAwait :exec
-- What an erasure holds, too.
SELECT FROM followers WHERE name = 'reaction' FOR UPDATE;

-- name: ReactionHold :exec
SELECT hold_reaction();

-- name: DeliveryEraseMany :execrows
-- Those that tell of conversations, or of events of none at their positions: also those
-- that are under way. Both are found by an index each: the log waits for it.
DELETE FROM river_job j
WHERE j.id IN (
    SELECT d.job_id
    FROM (SELECT unnest(@session_ids::text[]) AS session_id, unnest(@agent_ids::text[]) AS agent_id) c
    JOIN deliveries d ON d.session_id = c.session_id AND d.agent_id = c.agent_id
    UNION ALL
    SELECT d.job_id FROM deliveries d WHERE d.position = ANY(@positions::bigint[]) AND d.session_id = '');

-- name: DeliveryEraseOf :execrows
-- All that tell of a session_id (of an agent, if one is given), or of an agent.
DELETE FROM river_job j USING deliveries d
WHERE d.job_id = j.id AND (@session_id::text = '' OR d.session_id = @session_id) AND (@agent_id::text = '' OR d.agent_id = @agent_id)
  AND (@session_id <> '' OR @agent_id <> '');

-- name: DeliveryDropFrozen :execrows
-- Those that tell of what is below the horizon.
DELETE FROM river_job j USING deliveries d, log_head l
WHERE d.job_id = j.id
  AND (d.enqueued_at < l.frozen_before
    OR EXISTS (SELECT FROM events e WHERE e.position = d.position AND e.occurred_at < l.frozen_before));

-- name: RiverVersion :one
SELECT coalesce(max(version), 0)::bigint AS version FROM river_migration WHERE line = 'main';
