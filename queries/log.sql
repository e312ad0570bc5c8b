-- The event log: appending and following.

-- name: EventAppendMany :one
SELECT append_events(
    @occurred_at::timestamptz[], @received_at::timestamptz[], @participants::integer[], @undated::boolean[],
    @event_type::text[], @agent_id::text[], @session_id::text[], @user_id::text[], @role::text[], @message::text[],
    @message_type::text[], @language::text[], @room_name::text[], @error_code::text[], @error_severity::text[],
    @error_category::text[], @end_reason::text[], @rating::double precision[], @fingerprint::bytea[],
    @headers::text[], @payload::text[], @payload_raw::bytea[], @healed_from::text[],
    @repeats::bigint)::bigint[] AS positions;

-- name: LogNotify :exec
SELECT pg_notify('rapport_log', '');

-- name: EventsMonthCreate :exec
SELECT create_events_month(@month::date);

-- name: LogHeadGet :one
SELECT position, received_at, generation FROM log_head;

-- name: EventListAfter :many
-- What a projection folds, in the order of the log, and the stubs between: at most
-- max_events, and no
-- more once there are max_bytes of text. Its dead letters are left out; hardly
-- any are behind its checkpoint, so an array keeps the plan a plain walk along
-- the positions.
SELECT e.position, e.occurred_at, e.received_at, e.participants, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.room_name, e.end_reason, e.rating, e.fingerprint, e.healed_from, e.error_code, e.error_severity,
       e.error_category, e.erasure
FROM (
    SELECT l.*, sum(octet_length(l.message)) OVER (ORDER BY l.position) - octet_length(l.message) AS bytes_before
    FROM (SELECT n.position, n.occurred_at, n.received_at, n.participants, n.event_type, n.agent_id, n.session_id, n.user_id,
                 n.role, n.message, n.room_name, n.end_reason, n.rating, n.fingerprint, n.healed_from, n.error_code,
                 n.error_severity, n.error_category, n.erasure
          FROM events n
          WHERE n.position > @after AND n.position <= @up_to
            AND n.position <> ALL (ARRAY(
                SELECT d.position FROM dead_letters d WHERE d.follower = @follower AND d.position > @after))
          ORDER BY n.position LIMIT @max_events) l
) e
WHERE e.bytes_before < @max_bytes::bigint
ORDER BY e.position;

-- name: EventListOfSpan :many
-- One conversation's events of a span of time, as far as the log has been followed,
-- without stubs, what is frozen, and the follower's dead letters.
SELECT e.position, e.occurred_at, e.received_at, e.participants, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.room_name, e.end_reason, e.rating, e.fingerprint, e.healed_from
FROM events e
WHERE e.session_id = @session_id AND e.agent_id = @agent_id
  AND e.occurred_at BETWEEN @since AND @until
  AND e.position <= @up_to
  AND e.event_type NOT IN ('test', 'ping')
  AND e.erasure IS NULL
  AND e.occurred_at >= (SELECT frozen_before FROM log_head)
  AND NOT EXISTS (SELECT FROM frozen_spans z
                  WHERE z.session_id = @session_id AND z.agent_id = @agent_id AND z.frozen_until >= e.occurred_at)
  AND NOT EXISTS (SELECT FROM dead_letters d
                  WHERE d.follower = @follower AND d.position = e.position
                    AND d.session_id = @session_id AND d.agent_id = @agent_id);
