-- What the log has of a session that the sender's own record tells of.

-- name: DeliveredExistsOfSession :one
SELECT EXISTS (
    SELECT FROM events WHERE session_id = @session_id AND agent_id = @agent_id AND healed_from = ''
);

-- name: DeliveredAgentList :many
-- The agents under which events of a session were delivered.
SELECT DISTINCT agent_id FROM events WHERE session_id = @session_id AND healed_from = '' LIMIT @max_rows;

-- name: HealMessageList :many
-- Messages of a span of time, their texts cut to what they are compared by.
SELECT occurred_at, role, left(message, @max_chars::integer)::text AS message, fingerprint, healed_from
FROM events
WHERE session_id = @session_id AND agent_id = @agent_id AND event_type = 'chat.push' AND erasure IS NULL
  AND occurred_at BETWEEN @since AND @until;
