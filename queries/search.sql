-- Searching the texts of messages. Functions and marks: migrations/00011_search.sql.

-- name: SearchStanding :one
-- How far the search has come, and how far those are before which it gives way.
SELECT s.position, f.position AS folded, h.position AS head, h.received_at
FROM followers s, followers f, log_head h WHERE s.name = 'search' AND f.name = 'sessions';

-- name: SearchFill :one
-- Takes the next events of the log: at most max_events, and no more once there are
-- max_bytes of text. Returns the position of the last one; that of the head, if there is none.
WITH next AS (
    SELECT n.position, n.occurred_at, n.agent_id, n.role, n.message, n.event_type, n.erasure,
           sum(least(octet_length(n.message), 100000)) OVER (ORDER BY n.position) - least(octet_length(n.message), 100000) AS bytes_before
    FROM (SELECT l.position, l.occurred_at, l.agent_id, l.role, l.message, l.event_type, l.erasure FROM events l
          WHERE l.position > @after AND l.position <= @up_to ORDER BY l.position LIMIT @max_events) n
), filled AS (
    INSERT INTO message_search (position, occurred_at, words)
    SELECT t.position, t.occurred_at, search_vector(t.position, t.occurred_at, t.agent_id, t.role, t.message)
    FROM next t
    WHERE t.bytes_before < @max_bytes::bigint AND t.event_type = 'chat.push' AND t.erasure IS NULL
      AND t.occurred_at >= (SELECT frozen_before FROM log_head)
    ON CONFLICT DO NOTHING
)
SELECT coalesce(max(x.position), @up_to)::bigint AS position, count(*) AS events FROM next x WHERE x.bytes_before < @max_bytes::bigint;

-- name: SearchSettle :exec
SELECT settle_search();

-- name: SearchHold :exec
SELECT hold_search();

-- name: SearchReset :exec
UPDATE followers SET position = 0, updated_at = now() WHERE name = 'search';

-- name: SearchRead :one
-- What a reader asks for, as Postgres understands it, and that without what must not be
-- there; empty if it has no word.
SELECT (CASE WHEN numnode(q.query) > 0 THEN q.query::text ELSE '' END)::text AS query, querytree(q.query)::text AS wanted
FROM (SELECT websearch_to_tsquery('pg_catalog.simple', @text) AS query) q;

-- name: SearchBlocks :one
SELECT b.seen::bigint AS seen, b.positions::bigint[] AS positions FROM search_blocks(
    nullif(@query::text, '')::tsquery, @size::integer, @first::bigint, @last::bigint, @agents::text[], @role::text, @times::text[],
    @since::timestamptz, @until::timestamptz, @up_to::bigint, @enough::integer, @max_rows::integer) b;

-- name: SearchMessages :many
-- The messages at some positions, but for those that nobody may see. What the marks have
-- promised is checked once more.
SELECT e.position, e.agent_id, e.session_id, s.started_at AS session_started_at, e.occurred_at, e.role, e.message_type,
       e.language, e.user_id, char_length(e.message) AS char_count, search_text(e.message)::text AS text
FROM message_search m
JOIN events e ON e.position = m.position AND e.occurred_at = m.occurred_at
LEFT JOIN sessions s ON s.session_id = e.session_id AND s.agent_id = e.agent_id
     AND e.occurred_at BETWEEN s.started_at AND s.last_event_at
WHERE m.position = ANY(@positions::bigint[])
  AND e.event_type = 'chat.push' AND e.erasure IS NULL
  AND (cardinality(@agents::text[]) = 0 OR e.agent_id = ANY(@agents))
  AND (@role::text = '' OR e.role = @role)
  AND (e.healed_from = '' OR NOT EXISTS (
      SELECT FROM superseded x WHERE x.session_id = e.session_id AND x.agent_id = e.agent_id AND x.position = e.position))
ORDER BY e.position DESC;

-- name: SearchDropMonth :one
-- The words of the next events of a month go. It is below the horizon: nothing of it
-- comes again.
WITH old AS (
    SELECT e.position FROM events e
    WHERE e.occurred_at >= @since AND e.occurred_at < @until AND e.position > @after ORDER BY e.position LIMIT @max_rows
), gone AS (
    DELETE FROM message_search s USING old o WHERE s.position = o.position
)
SELECT coalesce(max(o.position), 0)::bigint AS position FROM old o;

-- name: VerifySearchRows :one
SELECT count(*) FROM message_search;
