-- Events that a follower could not take.

-- name: DeadLetterInsert :exec
INSERT INTO dead_letters (follower, position, agent_id, session_id, event_type, reason, attempts, failed_at)
VALUES (@follower, @position, @agent_id, @session_id, @event_type, @reason, @attempts, clock_timestamp())
ON CONFLICT ON CONSTRAINT dead_letters_pkey DO UPDATE SET
    reason = excluded.reason, attempts = dead_letters.attempts + excluded.attempts, failed_at = excluded.failed_at, retry = false;

-- name: DeadLetterList :many
-- A page, the newest events first; before_position 0 begins. Where agents are named,
-- it is of theirs.
SELECT follower, position, agent_id, session_id, event_type, reason, attempts, failed_at, retry
FROM dead_letters
WHERE (cardinality(@agents::text[]) = 0 OR agent_id = ANY(@agents))
  AND (@before_position::bigint = 0 OR (position, follower) < (@before_position, @before_follower::text))
ORDER BY position DESC, follower DESC
LIMIT @max_rows;

-- name: DeadLetterRetryMany :many
UPDATE dead_letters SET retry = true WHERE position = ANY(@positions::bigint[]) RETURNING position;

-- name: DeadLetterRetryAll :execrows
UPDATE dead_letters SET retry = true WHERE NOT retry;

-- name: DeadLetterTake :many
-- Those that are to be tried again go, the oldest events first.
DELETE FROM dead_letters t
WHERE t.follower = @follower AND t.position = ANY(ARRAY(
    SELECT d.position FROM dead_letters d
    WHERE d.follower = @follower AND d.retry AND d.position <= @up_to
    ORDER BY d.position LIMIT @max_rows
    FOR UPDATE SKIP LOCKED))
RETURNING t.position;

-- name: DeadLetterPutBack :exec
-- It failed again.
UPDATE dead_letters SET retry = false, reason = @reason, attempts = attempts + 1, failed_at = clock_timestamp()
WHERE follower = @follower AND position = @position AND retry;

-- name: DeadLetterCountAfter :one
SELECT count(*) FROM dead_letters WHERE follower = @follower AND position > @position;

-- name: DeadLetterTally :many
-- How many each follower has.
SELECT f.name AS follower, count(d.position) AS letters
FROM followers f LEFT JOIN dead_letters d ON d.follower = f.name
GROUP BY f.name ORDER BY f.name;

-- name: EventListAt :many
-- What a projection folds, at positions that are known.
SELECT position, occurred_at, received_at, participants, event_type, agent_id, session_id, user_id, role, message,
       room_name, end_reason, rating, fingerprint, healed_from
FROM events WHERE position = ANY(@positions::bigint[]) AND erasure IS NULL ORDER BY position;

-- name: EventListAhead :many
-- Of the next events of the log, one each of conversations that have no dead letter.
SELECT DISTINCT ON (e.session_id, e.agent_id)
       e.position, e.occurred_at, e.received_at, e.participants, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.room_name, e.end_reason, e.rating, e.fingerprint, e.healed_from
FROM (SELECT l.* FROM events l WHERE l.position > @after ORDER BY l.position LIMIT @max_events) e
WHERE e.session_id <> '' AND e.event_type NOT IN ('test', 'ping') AND e.erasure IS NULL
  AND NOT EXISTS (SELECT FROM dead_letters d
                  WHERE d.follower = @follower AND d.session_id = e.session_id AND d.agent_id = e.agent_id)
ORDER BY e.session_id, e.agent_id, e.position
LIMIT @max_rows;
