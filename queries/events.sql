-- Events and messages of one session_id, in the order of rapport.Compare.
-- An empty agent_id is any agent; where agents are named, it is one of them. A page begins behind the (after_…) event.

-- name: EventListOfSession :many
SELECT e.position, e.occurred_at, e.received_at, e.undated, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.message_type, e.language, e.participants, e.room_name, e.error_code, e.error_severity,
       e.error_category, e.end_reason, e.rating, e.fingerprint, e.payload, e.payload_raw, e.healed_from, e.erasure
FROM events e
WHERE e.session_id = @session_id AND (@agent_id::text = '' OR e.agent_id = @agent_id)
  AND (cardinality(@agents::text[]) = 0 OR e.agent_id = ANY(@agents))
  AND e.occurred_at BETWEEN @since AND @until
  AND (e.occurred_at, event_rank(e.event_type, e.role), e.fingerprint)
      > (@after_occurred_at::timestamptz, @after_rank::integer, @after_fingerprint::bytea)
ORDER BY e.occurred_at, event_rank(e.event_type, e.role), e.fingerprint
LIMIT @max_rows;

-- name: MessageListOfSession :many
SELECT e.position, e.agent_id, e.session_id, s.started_at AS session_started_at, e.occurred_at, e.role, e.message,
       e.message_type, e.language, e.user_id, e.fingerprint
FROM events e
LEFT JOIN sessions s ON s.session_id = e.session_id AND s.agent_id = e.agent_id
     AND e.occurred_at BETWEEN s.started_at AND s.last_event_at
WHERE e.session_id = @session_id AND (@agent_id::text = '' OR e.agent_id = @agent_id)
  AND (cardinality(@agents::text[]) = 0 OR e.agent_id = ANY(@agents))
  AND e.event_type = 'chat.push' AND e.erasure IS NULL
  AND (e.healed_from = '' OR NOT EXISTS (
      SELECT FROM superseded x WHERE x.session_id = e.session_id AND x.agent_id = e.agent_id AND x.position = e.position))
  AND e.occurred_at BETWEEN @since AND @until
  AND (e.occurred_at, event_rank(e.event_type, e.role), e.fingerprint)
      > (@after_occurred_at::timestamptz, @after_rank::integer, @after_fingerprint::bytea)
ORDER BY e.occurred_at, event_rank(e.event_type, e.role), e.fingerprint
LIMIT @max_rows;

-- name: EventExistsOfSession :one
-- The events of a session may have gone for their age.
SELECT (EXISTS (
    SELECT FROM events e WHERE e.session_id = @session_id AND (@agent_id::text = '' OR e.agent_id = @agent_id)
      AND (cardinality(@agents::text[]) = 0 OR e.agent_id = ANY(@agents))
) OR EXISTS (
    SELECT FROM sessions s WHERE s.session_id = @session_id AND (@agent_id::text = '' OR s.agent_id = @agent_id)
      AND (cardinality(@agents::text[]) = 0 OR s.agent_id = ANY(@agents))
))::boolean AS known;

-- name: EventListBehind :many
-- Whole events and stubs in the order of the log, all of them unless filters say so.
SELECT e.position, e.occurred_at, e.received_at, e.undated, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.message_type, e.language, e.participants, e.room_name, e.error_code, e.error_severity,
       e.error_category, e.end_reason, e.rating, e.fingerprint, e.payload, e.payload_raw, e.healed_from, e.erasure
FROM events e
WHERE e.position > @after AND e.position <= @up_to
  AND (@agent_id::text = '' OR e.agent_id = @agent_id)
  AND (cardinality(@agents::text[]) = 0 OR e.agent_id = ANY(@agents))
  AND (@session_id::text = '' OR e.session_id = @session_id)
  AND (@event_type::text = '' OR e.event_type = @event_type)
ORDER BY e.position
LIMIT @max_rows;

-- name: EventReach :one
-- The position of the next event but so many, whatever it is; 0 if there
-- is none.
SELECT coalesce((SELECT e.position FROM events e WHERE e.position > @after AND e.position <= @up_to
                 ORDER BY e.position LIMIT 1 OFFSET @skipped), 0)::bigint AS reach;
