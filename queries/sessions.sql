-- The session rollups.

-- name: SessionLastOfMany :many
-- The last session of each of the conversations that is not frozen.
SELECT s.*
FROM (SELECT unnest(@agent_ids::text[]) AS agent_id, unnest(@session_ids::text[]) AS session_id) k
CROSS JOIN LATERAL (
    SELECT * FROM sessions w
    WHERE w.session_id = k.session_id AND w.agent_id = k.agent_id AND w.erased_at IS NULL
      AND w.started_at >= (SELECT frozen_before FROM log_head)
    ORDER BY w.started_at DESC
    LIMIT 1
) s;

-- name: SessionSpanList :many
-- The spans of a conversation's sessions from the one before a time to the one
-- after another, both included, without the frozen ones.
SELECT w.started_at, w.last_event_at, w.healed_until
FROM sessions w
WHERE w.session_id = @session_id AND w.agent_id = @agent_id AND w.erased_at IS NULL
  AND w.started_at >= (SELECT frozen_before FROM log_head)
  AND w.started_at >= coalesce((
      SELECT max(p.started_at) FROM sessions p
      WHERE p.session_id = @session_id AND p.agent_id = @agent_id AND p.erased_at IS NULL AND p.started_at < @since), '-infinity')
  AND w.started_at <= coalesce((
      SELECT min(n.started_at) FROM sessions n
      WHERE n.session_id = @session_id AND n.agent_id = @agent_id AND n.erased_at IS NULL AND n.started_at > @until), 'infinity')
ORDER BY w.started_at;

-- name: SessionTextList :many
-- Those of the texts that a session's user has said already.
SELECT t.agent_id, t.session_id, t.started_at, t.text_hash
FROM (SELECT unnest(@agent_ids::text[]) AS agent_id, unnest(@session_ids::text[]) AS session_id,
             unnest(@started_ats::timestamptz[]) AS started_at, unnest(@text_hashes::bytea[]) AS text_hash) k
JOIN session_texts t USING (session_id, agent_id, started_at, text_hash);

-- name: SessionDeleteMany :many
DELETE FROM sessions s
USING (SELECT unnest(@agent_ids::text[]) AS agent_id, unnest(@session_ids::text[]) AS session_id,
              unnest(@started_ats::timestamptz[]) AS started_at) k
WHERE s.session_id = k.session_id AND s.agent_id = k.agent_id AND s.started_at = k.started_at
RETURNING s.*;

-- name: SessionTextDeleteMany :exec
DELETE FROM session_texts s
USING (SELECT unnest(@agent_ids::text[]) AS agent_id, unnest(@session_ids::text[]) AS session_id,
              unnest(@started_ats::timestamptz[]) AS started_at) k
WHERE s.session_id = k.session_id AND s.agent_id = k.agent_id AND s.started_at = k.started_at;

-- name: SessionInsertMany :copyfrom
INSERT INTO sessions (
    agent_id, session_id, started_at, last_activity_at, last_event_at, closes_at, ended_at, end_reason, event_count,
    end_count, join_count, error_count, message_count, user_message_count, agent_message_count, user_char_count,
    agent_char_count, duration_ms, active_us, turn_count, answered_turn_count, quick_answer_count, response_ms_total,
    response_ms_max, first_response_ms, awaits_answer, last_user_message_at, repeat_count, friction_count,
    sentiment_sum, peak_participants, room_name, user_id, rating, engagement_tier, engagement_tenths, quality_tenths,
    score_version, first_position, last_position, healed_until, erased_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42
);

-- name: SessionTextInsertMany :copyfrom
INSERT INTO session_texts (agent_id, session_id, started_at, text_hash) VALUES ($1, $2, $3, $4);

-- name: SessionListOfID :many
-- All sessions of a session_id, in the order of time; an empty agent_id is any agent,
-- and where agents are named, it is one of them.
SELECT * FROM sessions
WHERE session_id = @session_id AND (@agent_id::text = '' OR agent_id = @agent_id)
  AND (cardinality(@agents::text[]) = 0 OR agent_id = ANY(@agents))
ORDER BY started_at, agent_id;

-- name: SessionCountOpen :one
SELECT count(*) FROM sessions WHERE closes_at > @now;
