-- What the live stream tells.

-- name: LiveState :one
-- How far the log and its sessions are, at one moment.
SELECT h.position AS head, h.generation, coalesce(f.position, 0)::bigint AS followed
FROM log_head h LEFT JOIN followers f ON f.name = 'sessions';

-- name: SessionChangeList :many
-- The sessions as they are now that the events of (after, up_to] have changed, in the order in which they are told.
-- Each is told at its last event, so that one which changes again later is told there alone. What a later event has
-- changed without being of it is told at that event, whoever asks from wherever: a late session.end cuts the session
-- behind it off; a late event takes the session.end away from the session before it; messages that were healed pair anew
-- with what is near; an erasure empties sessions. Other sessions of the conversation that began after told_after and before told_before are no more; either
-- is the epoch where there is no such bound.
WITH fresh AS MATERIALIZED (
    SELECT e.position, e.occurred_at, e.event_type, e.agent_id, e.session_id,
           CASE WHEN e.event_type = 'rapport.erased' AND e.erasure IS NOT NULL THEN e.payload -> 'conversations' END AS erased
    FROM events e
    WHERE e.position > @after AND e.position <= @up_to
      AND (e.event_type = 'rapport.erased'
        OR (@agent_id::text = '' OR e.agent_id = @agent_id)
          AND (@session_id::text = '' OR e.session_id = @session_id)
          AND (cardinality(@agents::text[]) = 0 OR e.agent_id = ANY(@agents)))
), told AS (
    SELECT f.position, s.session_id, s.agent_id, s.started_at
    FROM fresh f
    JOIN sessions s ON s.session_id = f.session_id AND s.agent_id = f.agent_id AND s.last_position = f.position
    UNION ALL
    SELECT f.position, n.session_id, n.agent_id, n.started_at
    FROM fresh f
    CROSS JOIN LATERAL (
        SELECT w.* FROM sessions w
        WHERE w.session_id = f.session_id AND w.agent_id = f.agent_id AND w.started_at > f.occurred_at
        ORDER BY w.started_at LIMIT 1
    ) n
    WHERE n.last_position < f.position
      AND (f.event_type = 'session.end'
             AND n.started_at <= f.occurred_at + (SELECT make_interval(secs => c.idle_timeout_s) FROM settings c)
        OR n.healed_until IS NOT NULL AND n.started_at <= f.occurred_at + interval '4 seconds')
    UNION ALL
    SELECT f.position, p.session_id, p.agent_id, p.started_at
    FROM fresh f
    CROSS JOIN LATERAL (
        SELECT w.* FROM sessions w
        WHERE w.session_id = f.session_id AND w.agent_id = f.agent_id AND w.started_at < f.occurred_at
          AND w.last_event_at < f.occurred_at
        ORDER BY w.started_at DESC LIMIT 1
    ) p
    WHERE p.last_position < f.position
      AND (p.healed_until IS NOT NULL AND f.occurred_at <= greatest(p.last_event_at, p.healed_until) + interval '4 seconds'
        OR EXISTS (SELECT FROM events r
                   WHERE r.session_id = f.session_id AND r.agent_id = f.agent_id AND r.occurred_at >= f.occurred_at
                     AND r.event_type = 'session.end' AND r.position < f.position))
    UNION ALL
    SELECT f.position, s.session_id, s.agent_id, s.started_at
    FROM fresh f
    CROSS JOIN LATERAL json_to_recordset(f.erased) AS c (agent_id text, session_id text)
    JOIN sessions s ON s.session_id = c.session_id AND s.agent_id = c.agent_id AND s.erased_at IS NOT NULL
    WHERE f.erased IS NOT NULL
)
SELECT t.told_at, sqlc.embed(s),
       coalesce((SELECT b.last_event_at FROM sessions b
                 WHERE b.session_id = s.session_id AND b.agent_id = s.agent_id AND b.started_at < s.started_at
                 ORDER BY b.started_at DESC LIMIT 1), 'epoch')::timestamptz AS told_after,
       coalesce((SELECT b.started_at FROM sessions b
                 WHERE b.session_id = s.session_id AND b.agent_id = s.agent_id AND b.started_at > s.started_at
                 ORDER BY b.started_at LIMIT 1), 'epoch')::timestamptz AS told_before
FROM (SELECT max(d.position)::bigint AS told_at, d.session_id, d.agent_id, d.started_at
      FROM told d GROUP BY d.session_id, d.agent_id, d.started_at) t
JOIN sessions s ON s.session_id = t.session_id AND s.agent_id = t.agent_id AND s.started_at = t.started_at
WHERE (@agent_id::text = '' OR s.agent_id = @agent_id)
  AND (@session_id::text = '' OR s.session_id = @session_id)
  AND (cardinality(@agents::text[]) = 0 OR s.agent_id = ANY(@agents))
ORDER BY t.told_at, s.session_id, s.agent_id, s.started_at;
