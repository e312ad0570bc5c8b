-- The event log: appending and following.

-- name: EventAppendMany :one
SELECT append_events(
    @occurred_at::timestamptz[], @received_at::timestamptz[], @participants::integer[], @undated::boolean[],
    @event_type::text[], @agent_id::text[], @session_id::text[], @user_id::text[], @role::text[], @message::text[],
    @message_type::text[], @language::text[], @room_name::text[], @error_code::text[], @error_severity::text[],
    @error_category::text[], @end_reason::text[], @rating::double precision[], @fingerprint::bytea[],
    @headers::text[], @payload::text[], @payload_raw::bytea[], @healed_from::text[],
    @newest::timestamptz, @repeats::bigint)::bigint[] AS positions;

-- name: LogNotify :exec
SELECT pg_notify('rapport_log', '');

-- name: EventsMonthCreate :exec
SELECT create_events_month(@month::date);

-- name: LogHeadGet :one
SELECT position, received_at FROM log_head;

-- name: EventListAfter :many
-- What a projection folds, in the order of the log: at most max_events, and no
-- more once there are max_bytes of text.
SELECT e.position, e.occurred_at, e.received_at, e.participants, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.room_name, e.end_reason, e.rating, e.fingerprint, e.healed_from
FROM (
    SELECT l.*, sum(octet_length(l.message)) OVER (ORDER BY l.position) - octet_length(l.message) AS bytes_before
    FROM (SELECT position, occurred_at, received_at, participants, event_type, agent_id, session_id, user_id, role, message,
                 room_name, end_reason, rating, fingerprint, healed_from
          FROM events WHERE position > @after AND position <= @up_to ORDER BY position LIMIT @max_events) l
) e
WHERE e.bytes_before < @max_bytes::bigint
ORDER BY e.position;

-- name: EventListOfSpan :many
-- One conversation's events of a span of time, as far as the log has been followed.
SELECT position, occurred_at, received_at, participants, event_type, agent_id, session_id, user_id, role, message,
       room_name, end_reason, rating, fingerprint, healed_from
FROM events
WHERE session_id = @session_id AND agent_id = @agent_id
  AND occurred_at BETWEEN @since AND @until
  AND position <= @up_to
  AND event_type NOT IN ('test', 'ping');
