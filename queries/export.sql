-- What `rapport export` writes besides sessions (store/export.go): a page behind a
-- position, of a span of time; at most max_rows, and no more once there are max_bytes.
-- An empty agent_id is any agent.

-- name: ExportEventList :many
SELECT e.position, e.occurred_at, e.received_at, e.undated, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.message_type, e.language, e.participants, e.room_name, e.error_code, e.error_severity,
       e.error_category, e.end_reason, e.rating, e.fingerprint, e.headers, e.payload, e.payload_raw, e.healed_from, e.erasure
FROM (
    SELECT l.*, sum(l.bytes) OVER (ORDER BY l.position ROWS UNBOUNDED PRECEDING) - l.bytes AS bytes_before
    FROM (SELECT n.*, octet_length(n.message) + coalesce(octet_length(n.payload_raw), octet_length(n.payload::text)) AS bytes
          FROM events n
          WHERE n.position > @after AND n.position <= @up_to AND n.occurred_at >= @since AND n.occurred_at < @until
            AND (@agent_id::text = '' OR n.agent_id = @agent_id)
          ORDER BY n.position LIMIT @max_rows) l
) e
WHERE e.bytes_before < @max_bytes::bigint
ORDER BY e.position;

-- name: ExportMessageList :many
-- As analytics.messages has them.
SELECT e.position, e.agent_id, e.session_id, s.started_at AS session_started_at, e.occurred_at, e.role, e.message,
       e.message_type, e.language, e.user_id
FROM (
    SELECT l.*, sum(octet_length(l.message)) OVER (ORDER BY l.position ROWS UNBOUNDED PRECEDING) - octet_length(l.message) AS bytes_before
    FROM (SELECT n.* FROM events n
          WHERE n.position > @after AND n.position <= @up_to AND n.occurred_at >= @since AND n.occurred_at < @until
            AND (@agent_id::text = '' OR n.agent_id = @agent_id)
            AND n.event_type = 'chat.push' AND n.erasure IS NULL
            AND (n.healed_from = '' OR NOT EXISTS (
                SELECT FROM superseded x WHERE x.session_id = n.session_id AND x.agent_id = n.agent_id AND x.position = n.position))
          ORDER BY n.position LIMIT @max_rows) l
) e
LEFT JOIN sessions s ON s.session_id = e.session_id AND s.agent_id = e.agent_id
     AND e.occurred_at BETWEEN s.started_at AND s.last_event_at
WHERE e.bytes_before < @max_bytes::bigint
ORDER BY e.position;

-- name: ExportMonthList :many
-- The months that the log has partitions of, in order.
SELECT to_date(substr(c.relname, 8), 'YYYY_MM')::date AS month
FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'events'::regclass
ORDER BY month;
