-- Healed messages that count nowhere.

-- name: SupersededDeleteMany :many
DELETE FROM superseded x
USING (SELECT unnest(@agent_ids::text[]) AS agent_id, unnest(@session_ids::text[]) AS session_id,
              unnest(@positions::bigint[]) AS position) k
WHERE x.session_id = k.session_id AND x.agent_id = k.agent_id AND x.position = k.position
RETURNING x.position;

-- name: SupersededInsertMany :many
INSERT INTO superseded (agent_id, session_id, position)
SELECT unnest(@agent_ids::text[]), unnest(@session_ids::text[]), unnest(@positions::bigint[])
ON CONFLICT DO NOTHING
RETURNING position;

-- name: SupersededDeleteOfConversation :many
DELETE FROM superseded WHERE session_id = @session_id AND agent_id = @agent_id RETURNING position;
