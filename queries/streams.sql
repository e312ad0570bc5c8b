-- Streams, and what they send.

-- name: StreamTryLock :one
-- For as long as the connection is there.
SELECT pg_try_advisory_lock(hashtextextended('rapport stream ' || @name::text, 0)) AS held;

-- name: StreamUnlock :exec
SELECT pg_advisory_unlock(hashtextextended('rapport stream ' || @name::text, 0));

-- name: StreamHolderEnd :many
-- Ends the connection that holds a stream, if its process has given no sign of life
-- for so long. The key of an advisory lock is shown in two halves.
SELECT a.pid, pg_terminate_backend(a.pid) AS ended
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
  AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended('rapport stream ' || @name::text, 0)
  AND a.usename = current_user AND a.pid <> pg_backend_pid()
  AND a.state_change < clock_timestamp() - @older_than::interval;

-- name: StreamBegin :exec
-- A stream that is there keeps its position.
INSERT INTO streams (name, destination, position)
SELECT @name, @destination, CASE WHEN @at_head::boolean THEN h.position ELSE least(@position::bigint, h.position) END
FROM log_head h
ON CONFLICT ON CONSTRAINT streams_pkey DO UPDATE SET destination = excluded.destination
WHERE streams.destination <> excluded.destination;

-- name: StreamLook :one
SELECT s.position, h.position AS head FROM streams s, log_head h WHERE s.name = @name;

-- name: StreamMove :execrows
-- No row: somebody has set the stream to another position meanwhile, or removed it.
UPDATE streams SET position = @to_position, sent = sent + @sent, omitted = omitted + @omitted, moved_at = now()
WHERE name = @name AND position = @from_position;

-- name: StreamSet :execrows
UPDATE streams SET position = CASE WHEN @at_head::boolean THEN h.position ELSE @position::bigint END, moved_at = now()
FROM log_head h
WHERE name = @name AND (@at_head::boolean OR @position::bigint BETWEEN 0 AND h.position);

-- name: StreamOmit :exec
INSERT INTO stream_omissions (stream, position, bytes)
SELECT @stream, unnest(@positions::bigint[]), unnest(@sizes::bigint[])
ON CONFLICT DO NOTHING;

-- name: StreamOmissionsForget :exec
-- All but the last 10,000.
DELETE FROM stream_omissions o WHERE o.stream = @stream AND o.position <= (
    SELECT n.position FROM stream_omissions n WHERE n.stream = @stream ORDER BY n.position DESC OFFSET 10000 LIMIT 1);

-- name: StreamOmissionList :many
SELECT o.position, o.bytes, o.omitted_at FROM stream_omissions o WHERE o.stream = @stream ORDER BY o.position DESC LIMIT @max_rows;

-- name: StreamDelete :execrows
DELETE FROM streams WHERE name = @name;

-- name: StreamList :many
SELECT s.name, s.destination, s.position, h.position AS head, s.sent, s.omitted, s.created_at, s.moved_at,
       coalesce((SELECT e.received_at FROM events e WHERE e.position > s.position AND s.position < h.position
                 ORDER BY e.position LIMIT 1), now())::timestamptz AS waits_since
FROM streams s, log_head h
ORDER BY s.name;

-- name: StreamsHeld :many
-- The streams that somebody sends: see StreamHolderEnd.
SELECT s.name FROM streams s
WHERE EXISTS (
    SELECT FROM pg_catalog.pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
      AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended('rapport stream ' || s.name, 0));

-- name: StreamReach :one
-- The next so many events, whatever they are: how many there are, and the last of them.
SELECT count(*) AS events, coalesce(max(n.position), 0)::bigint AS last
FROM (SELECT e.position FROM events e WHERE e.position > @after AND e.position <= @up_to ORDER BY e.position LIMIT @max_events) n;

-- name: StreamEventList :many
-- What a stream sends, in the order of the log: whole events, stubs and announcements
-- of erasures, at most max_events, and no more once there are max_bytes of text.
-- found is how many there are without that bound. Announcements pass every filter.
SELECT e.position, e.occurred_at, e.received_at, e.undated, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.message_type, e.language, e.participants, e.room_name, e.error_code, e.error_severity,
       e.error_category, e.end_reason, e.rating, e.fingerprint, e.payload, e.payload_raw, e.healed_from, e.erasure, e.found
FROM (
    SELECT l.*, count(*) OVER () AS found, sum(l.bytes) OVER (ORDER BY l.position) - l.bytes AS bytes_before
    FROM (SELECT n.position, n.occurred_at, n.received_at, n.undated, n.event_type, n.agent_id, n.session_id, n.user_id, n.role,
                 n.message, n.message_type, n.language, n.participants, n.room_name, n.error_code, n.error_severity,
                 n.error_category, n.end_reason, n.rating, n.fingerprint, n.payload, n.payload_raw, n.healed_from, n.erasure,
                 octet_length(n.message) + coalesce(octet_length(n.payload::text), 0) + coalesce(octet_length(n.payload_raw), 0) AS bytes
          FROM events n
          WHERE n.position > @after AND n.position <= @up_to
            AND (cardinality(@agents::text[]) = 0 OR n.agent_id = ANY(@agents) OR n.erasure IS NOT NULL AND n.event_type = 'rapport.erased')
            AND (cardinality(@event_types::text[]) = 0 OR n.event_type = ANY(@event_types) OR n.erasure IS NOT NULL AND n.event_type = 'rapport.erased')
          ORDER BY n.position LIMIT @max_events) l
) e
WHERE e.bytes_before < @max_bytes::bigint
ORDER BY e.position;
