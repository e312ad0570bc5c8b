-- What was known at an earlier moment (store/asof.go), and how that came to be
-- (store/history.go). Where agents are named, it is one of them.

-- name: AsOfMomentGet :one
-- The end of the log, what may go from it, and when the event at a position was
-- received; if that has gone, the next one.
SELECT h.position, h.generation, h.frozen_before, h.received_at,
       coalesce((SELECT e.received_at FROM events e WHERE e.position >= @position ORDER BY e.position LIMIT 1),
                h.received_at)::timestamptz AS at
FROM log_head h;

-- name: AsOfHealedExists :one
-- Whether a session_id had a healed message by then.
SELECT EXISTS (
    SELECT FROM events e WHERE e.session_id = @session_id AND e.healed_from <> '' AND e.position <= @up_to
      AND e.received_at <= @received_until AND e.erasure IS NULL)::boolean AS healed;

-- name: AsOfEventList :many
-- What a fold looks at, of one session_id behind a key, in the order of the primary
-- key: without stubs, what is frozen, and dead letters; at most max_events, and no more
-- once there are max_bytes of text. Texts are all there (all), or those that can pair.
SELECT e.position, e.occurred_at, e.received_at, e.participants, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.room_name, e.end_reason, e.rating, e.fingerprint, e.healed_from, false AS aside
FROM (
    SELECT l.*, sum(octet_length(l.message)) OVER (ORDER BY l.occurred_at, l.fingerprint ROWS UNBOUNDED PRECEDING)
                - octet_length(l.message) AS bytes_before
    FROM (SELECT n.position, n.occurred_at, n.received_at, n.participants, n.event_type, n.agent_id, n.session_id, n.user_id,
                 n.role, n.room_name, n.end_reason, n.rating, n.fingerprint, n.healed_from,
                 (CASE WHEN @texts::text = 'all' OR @texts = 'pairing' AND n.event_type = 'chat.push' AND EXISTS (
                     SELECT FROM events h WHERE h.session_id = n.session_id AND h.agent_id = n.agent_id AND h.healed_from <> ''
                       AND h.occurred_at BETWEEN n.occurred_at - interval '1 second' AND n.occurred_at + interval '1 second')
                  THEN n.message ELSE '' END)::text AS message
          FROM events n
          WHERE n.session_id = @session_id
            AND (n.occurred_at, n.fingerprint) > (@after_occurred_at::timestamptz, @after_fingerprint::bytea)
            AND n.occurred_at BETWEEN @since AND @until
            AND (@agent_id::text = '' OR n.agent_id = @agent_id)
            AND (cardinality(@agents::text[]) = 0 OR n.agent_id = ANY(@agents))
            AND n.position <= @up_to AND n.received_at <= @received_until
            AND n.event_type NOT IN ('test', 'ping') AND n.erasure IS NULL
            AND n.occurred_at >= (SELECT frozen_before FROM log_head)
            AND NOT EXISTS (SELECT FROM frozen_spans z WHERE z.session_id = n.session_id AND z.agent_id = n.agent_id
                              AND z.frozen_until >= n.occurred_at)
            AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.session_id = @session_id AND d.follower = 'sessions'
                              AND d.position = n.position)
          ORDER BY n.occurred_at, n.fingerprint LIMIT @max_events) l
) e
WHERE e.bytes_before < @max_bytes::bigint
ORDER BY e.occurred_at, e.fingerprint;

-- name: AsOfFrozenList :many
-- The sessions of a session_id whose numbers stay as they are, since what they were
-- folded from is erased or below the horizon; and when the newest of their events was
-- received, as far as that can be told.
SELECT sqlc.embed(s), coalesce(greatest(
           (SELECT max(e.received_at) FROM events e
            WHERE e.session_id = s.session_id AND e.agent_id = s.agent_id
              AND e.occurred_at BETWEEN s.started_at AND s.last_event_at),
           (SELECT max(d.newest_received_at) FROM dropped_months d
            WHERE d.month BETWEEN date_trunc('month', s.started_at AT TIME ZONE 'UTC')::date
                              AND (s.last_event_at AT TIME ZONE 'UTC')::date)), s.last_event_at)::timestamptz AS newest_received_at
FROM sessions s
WHERE s.session_id = @session_id AND (@agent_id::text = '' OR s.agent_id = @agent_id)
  AND (cardinality(@agents::text[]) = 0 OR s.agent_id = ANY(@agents))
  AND (s.erased_at IS NOT NULL OR s.started_at < (SELECT frozen_before FROM log_head))
ORDER BY s.started_at, s.agent_id;

-- name: AsOfMessageList :many
-- A page of messages as MessageListOfSession has them, as far as the log had come;
-- superseded are the healed ones whose delivery was there by then.
SELECT e.position, e.agent_id, e.session_id, e.occurred_at, e.role, e.message, e.message_type, e.language, e.user_id, e.fingerprint
FROM events e
WHERE e.session_id = @session_id AND (@agent_id::text = '' OR e.agent_id = @agent_id)
  AND (cardinality(@agents::text[]) = 0 OR e.agent_id = ANY(@agents))
  AND e.position <= @up_to AND e.received_at <= @received_until
  AND e.event_type = 'chat.push' AND e.erasure IS NULL
  AND (e.healed_from = '' OR e.position <> ALL(@superseded::bigint[]) AND NOT (
      (e.occurred_at < (SELECT frozen_before FROM log_head)
       OR EXISTS (SELECT FROM frozen_spans z WHERE z.session_id = e.session_id AND z.agent_id = e.agent_id AND z.frozen_until >= e.occurred_at))
      AND EXISTS (SELECT FROM superseded x WHERE x.session_id = e.session_id AND x.agent_id = e.agent_id AND x.position = e.position)))
  AND e.occurred_at BETWEEN @since AND @until
  AND (e.occurred_at, event_rank(e.event_type, e.role), e.fingerprint)
      > (@after_occurred_at::timestamptz, @after_rank::integer, @after_fingerprint::bytea)
ORDER BY e.occurred_at, event_rank(e.event_type, e.role), e.fingerprint
LIMIT @max_rows;

-- name: AsOfTranscriptList :many
-- A page of events as EventListOfSession has them, as far as the log had come.
SELECT e.position, e.occurred_at, e.received_at, e.undated, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.message_type, e.language, e.participants, e.room_name, e.error_code, e.error_severity,
       e.error_category, e.end_reason, e.rating, e.fingerprint, e.payload, e.payload_raw, e.healed_from, e.erasure
FROM events e
WHERE e.session_id = @session_id AND (@agent_id::text = '' OR e.agent_id = @agent_id)
  AND (cardinality(@agents::text[]) = 0 OR e.agent_id = ANY(@agents))
  AND e.position <= @up_to AND e.received_at <= @received_until
  AND e.occurred_at BETWEEN @since AND @until
  AND (e.occurred_at, event_rank(e.event_type, e.role), e.fingerprint)
      > (@after_occurred_at::timestamptz, @after_rank::integer, @after_fingerprint::bytea)
ORDER BY e.occurred_at, event_rank(e.event_type, e.role), e.fingerprint
LIMIT @max_rows;

-- name: HistoryEventList :many
-- The events of a session_id in the order in which they were kept, as far as their
-- sessions are not frozen and the log has been followed. aside: a dead letter.
SELECT e.position, e.occurred_at, e.received_at, e.participants, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.room_name, e.end_reason, e.rating, e.fingerprint, e.healed_from,
       EXISTS (SELECT FROM dead_letters d WHERE d.session_id = e.session_id AND d.follower = 'sessions'
                 AND d.position = e.position) AS aside
FROM (
    SELECT l.*, sum(octet_length(l.message)) OVER (ORDER BY l.position ROWS UNBOUNDED PRECEDING) - octet_length(l.message) AS bytes_before
    FROM (SELECT n.* FROM events n
          WHERE n.session_id = @session_id
            AND (@agent_id::text = '' OR n.agent_id = @agent_id)
            AND (cardinality(@agents::text[]) = 0 OR n.agent_id = ANY(@agents))
            AND n.position > @after AND n.position <= @up_to
            AND n.erasure IS NULL
            AND n.occurred_at >= (SELECT frozen_before FROM log_head)
            AND NOT EXISTS (SELECT FROM frozen_spans z WHERE z.session_id = n.session_id AND z.agent_id = n.agent_id
                              AND z.frozen_until >= n.occurred_at)
          ORDER BY n.position LIMIT @max_events) l
) e
WHERE e.bytes_before < @max_bytes::bigint
ORDER BY e.position;

-- name: HistoryAgentList :many
-- Two of the agents that the log has of a session_id, if there are so many.
SELECT DISTINCT e.agent_id FROM events e
WHERE e.session_id = @session_id AND (@agent_id::text = '' OR e.agent_id = @agent_id)
  AND (cardinality(@agents::text[]) = 0 OR e.agent_id = ANY(@agents))
LIMIT 2;
