-- What the statistics need besides the totals.

-- name: AgentListSeen :many
-- Each agent that ever had a session, by session_totals, which outlive the sessions: the
-- index gives one agent after the other. 1970 where none of its sessions is left.
WITH RECURSIVE seen AS (
    (SELECT t.agent_id FROM session_totals t WHERE t.grain = 1440 AND NOT t.of_all ORDER BY t.agent_id LIMIT 1)
    UNION ALL
    SELECT (SELECT t.agent_id FROM session_totals t
            WHERE t.grain = 1440 AND NOT t.of_all AND t.agent_id > s.agent_id ORDER BY t.agent_id LIMIT 1)
    FROM seen s
    WHERE s.agent_id IS NOT NULL
)
SELECT s.agent_id::text AS agent_id, coalesce(first.started_at, 'epoch')::timestamptz AS first_seen_at,
       coalesce(last.last_activity_at, 'epoch')::timestamptz AS last_seen_at
FROM seen s
LEFT JOIN LATERAL (
    SELECT w.started_at FROM sessions w WHERE w.agent_id = s.agent_id ORDER BY w.started_at LIMIT 1
) first ON true
LEFT JOIN LATERAL (
    SELECT w.last_activity_at FROM sessions w WHERE w.agent_id = s.agent_id ORDER BY w.started_at DESC LIMIT 1
) last ON true
WHERE s.agent_id IS NOT NULL AND (cardinality(@agents::text[]) = 0 OR s.agent_id = ANY(@agents))
ORDER BY s.agent_id;

-- name: SessionStartRange :one
-- From when to when sessions started, to whole days where those are gone; 1970 without any.
SELECT coalesce(least(first, (SELECT min(started_at) FROM sessions)), 'epoch')::timestamptz AS first,
       coalesce(greatest(last, (SELECT max(started_at) FROM sessions)), 'epoch')::timestamptz AS last
FROM (SELECT min(starts_at) AS first, max(starts_at) + interval '1 day' AS last FROM session_totals WHERE grain = 1440 AND of_all) days;
