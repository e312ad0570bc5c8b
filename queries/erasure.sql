-- Erasure: what is gone, and stays out. The functions are for the role rapport_eraser.

-- name: ErasureLock :exec
-- One batch at a time.
SELECT pg_advisory_xact_lock(hashtextextended('rapport erasure', 0));

-- name: ErasureUnfinished :one
SELECT unfinished_erasure(@kind::text, @subject::text, @agent_id::text)::bigint AS id;

-- name: ErasureKnown :one
SELECT was_erased(@kind::text, @subject::text, @agent_id::text)::boolean AS known;

-- name: LogHold :one
SELECT hold_log()::bigint AS head;

-- name: ErasureBegin :one
SELECT begin_erasure(@kind::text, @subject::text, @agent_id::text, @reason::text, @requested_by::text)::bigint AS id;

-- name: ErasureBatch :one
SELECT erase_batch(@erasure::bigint, @agent_ids::text[], @session_ids::text[], @positions::bigint[])::jsonb AS done;

-- name: ErasureFinish :exec
SELECT finish_erasure(@erasure::bigint, @quarantined::bigint);

-- name: StatisticsStale :one
SELECT stale_statistics()::text[] AS names;

-- name: StatisticsForget :exec
SELECT forget_statistics(@name::text);

-- name: ErasureGet :one
SELECT * FROM erasures WHERE id = @id;

-- name: ErasureConversationsOfSession :many
-- The conversations of a session_id, and how much of each is still to be erased: events,
-- and sessions that are not frozen. An empty agent_id is any. The events may be gone for
-- their age.
SELECT e.agent_id, e.session_id, count(*) FILTER (WHERE e.erasure IS NULL) AS events,
       count(*) FILTER (WHERE e.erasure IS NULL AND e.event_type = 'chat.push') AS messages,
       bool_or(e.live)::boolean AS live
FROM (SELECT v.agent_id, v.session_id, v.erasure, v.event_type, false AS live FROM events v
      WHERE v.session_id = @session_id AND (@agent_id::text = '' OR v.agent_id = @agent_id)
      UNION ALL
      SELECT w.agent_id, w.session_id, 0, '', w.erased_at IS NULL FROM sessions w
      WHERE w.session_id = @session_id AND (@agent_id::text = '' OR w.agent_id = @agent_id)) e
GROUP BY e.agent_id, e.session_id ORDER BY e.agent_id;

-- name: ErasureConversationsOfAgent :many
SELECT e.agent_id, e.session_id, count(*) FILTER (WHERE e.erasure IS NULL) AS events,
       count(*) FILTER (WHERE e.erasure IS NULL AND e.event_type = 'chat.push') AS messages,
       bool_or(e.live)::boolean AS live
FROM (SELECT v.agent_id, v.session_id, v.erasure, v.event_type, false AS live FROM events v
      WHERE v.agent_id = @agent_id AND v.session_id <> ''
      UNION ALL
      SELECT w.agent_id, w.session_id, 0, '', w.erased_at IS NULL FROM sessions w WHERE w.agent_id = @agent_id) e
GROUP BY e.agent_id, e.session_id ORDER BY e.session_id;

-- name: ErasureConversationsOfUser :many
-- All of every conversation that the user has any part in.
SELECT e.agent_id, e.session_id, count(*) FILTER (WHERE e.erasure IS NULL) AS events,
       count(*) FILTER (WHERE e.erasure IS NULL AND e.event_type = 'chat.push') AS messages,
       bool_or(e.live)::boolean AS live
FROM (SELECT u.agent_id, u.session_id FROM events u WHERE u.user_id = @user_id AND u.session_id <> ''
      UNION SELECT s.agent_id, s.session_id FROM sessions s WHERE s.user_id = @user_id) k
CROSS JOIN LATERAL (
      SELECT v.agent_id, v.session_id, v.erasure, v.event_type, false AS live FROM events v
      WHERE v.session_id = k.session_id AND v.agent_id = k.agent_id
      UNION ALL
      SELECT w.agent_id, w.session_id, 0, '', w.erased_at IS NULL FROM sessions w
      WHERE w.session_id = k.session_id AND w.agent_id = k.agent_id) e
GROUP BY e.agent_id, e.session_id ORDER BY e.session_id, e.agent_id;

-- name: ErasurePositions :many
-- Events of no session that are still to be erased, of an agent or of a user.
SELECT position FROM events
WHERE session_id = '' AND erasure IS NULL
  AND (@agent_id::text <> '' AND agent_id = @agent_id OR @user_id::text <> '' AND user_id = @user_id)
ORDER BY position;

-- name: ErasurePositionsExist :one
-- Whether there were any, of an agent.
SELECT EXISTS (SELECT FROM events WHERE session_id = '' AND agent_id = @agent_id AND event_type <> 'rapport.erased');

-- name: ErasedUntil :one
-- Up to when a conversation is erased; 2000 if it is not.
SELECT coalesce(max(t.erased_until), '2000-01-01 00:00:00+00')::timestamptz AS erased_until FROM tombstones t
WHERE t.session_id = @session_id AND t.agent_id = @agent_id AND NOT t.whole
   OR t.session_id = @session_id AND t.agent_id = '' AND t.whole
   OR t.session_id = '' AND t.agent_id = @agent_id AND t.whole;

-- name: RoleMay :one
-- Whether the role exists, and we may take it on.
SELECT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = @role::text AND pg_has_role(r.oid, 'MEMBER')) AS may;

-- name: LongStatements :exec
-- Until the transaction ends.
SELECT set_config('statement_timeout', '10min', true);
