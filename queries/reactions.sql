-- The follower of the rules, and what they remember: see 00014_reactions.sql.

-- name: ReactionStanding :one
-- How far the rules have come, and those before which they give way.
SELECT r.position, f.position AS folded, h.position AS head, t.steps
FROM followers r, followers f, log_head h, reaction_state t WHERE r.name = 'reaction' AND f.name = 'sessions';

-- name: ReactionLock :one
-- No row: another process has it, or an erasure.
SELECT f.position, f.updated_at FROM followers f WHERE f.name = 'reaction' FOR NO KEY UPDATE SKIP LOCKED;

-- name: ReactionStateGet :one
-- Once the row is locked: only now what is read can't change any more.
SELECT r.begun, r.began_at, r.closed_to, r.looked_at, r.steps, f.position AS folded, h.position AS head, h.generation
FROM reaction_state r, followers f, log_head h WHERE f.name = 'sessions';

-- name: ReactionStateSet :exec
UPDATE reaction_state SET begun = true, began_at = @began_at, closed_to = @closed_to, looked_at = @looked_at, steps = steps + 1;

-- name: ReactionStepCount :exec
UPDATE reaction_state SET steps = steps + 1;

-- name: ReactionWaitsSince :one
-- The receipt of the next event, now if there is none.
SELECT coalesce((SELECT e.received_at FROM events e WHERE e.position > @after AND e.position <= @head ORDER BY e.position LIMIT 1),
                now())::timestamptz AS waits_since;

-- name: ReactionEventList :many
-- The next events in the order of the log, at most max_events, and no more once there are
-- max_bytes of text; those that nobody has asked for have none. What is_silent fires
-- nothing: stubs, and what only calls itself the announcement of an erasure.
SELECT e.position, e.occurred_at, e.received_at, e.undated, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.message_type, e.language, e.participants, e.room_name, e.error_code, e.error_severity, e.error_category,
       e.end_reason, e.rating, e.fingerprint, e.healed_from, e.payload, e.is_silent
FROM (
    SELECT l.*, sum(octet_length(l.message) + octet_length(l.payload)) OVER (ORDER BY l.position)
                - octet_length(l.message) - octet_length(l.payload) AS bytes_before
    FROM (SELECT n.position, n.occurred_at, n.received_at, n.undated, n.event_type, n.agent_id, n.session_id, n.user_id, n.role,
                 (CASE WHEN n.event_type = ANY(@event_types::text[]) THEN n.message ELSE '' END)::text AS message,
                 n.message_type, n.language, n.participants, n.room_name, n.error_code, n.error_severity, n.error_category,
                 n.end_reason, n.rating, n.fingerprint, n.healed_from,
                 coalesce(CASE WHEN n.event_type = ANY(@payload_types::text[]) THEN n.payload::text END, '')::text AS payload,
                 (CASE WHEN n.event_type = 'rapport.erased' THEN n.erasure IS NULL OR n.payload::text = '{"erased":true}'
                       ELSE n.erasure IS NOT NULL END)::boolean AS is_silent
          FROM events n WHERE n.position > @after AND n.position <= @up_to
          ORDER BY n.position LIMIT @max_events) l
) e
WHERE e.bytes_before < @max_bytes::bigint
ORDER BY e.position;

-- name: ReactionSaidInSessions :many
-- What users said in sessions at positions up to one, the newest max_messages of each.
SELECT k.n::bigint AS n, e.position, e.occurred_at, e.message
FROM (SELECT unnest(@ns::bigint[]) AS n, unnest(@agent_ids::text[]) AS agent_id, unnest(@session_ids::text[]) AS session_id,
             unnest(@sinces::timestamptz[]) AS since, unnest(@untils::timestamptz[]) AS until) k
CROSS JOIN LATERAL (
    SELECT v.position, v.occurred_at, v.message FROM events v
    WHERE v.session_id = k.session_id AND v.agent_id = k.agent_id AND v.occurred_at BETWEEN k.since AND k.until
      AND v.event_type = 'chat.push' AND v.role = 'user' AND v.erasure IS NULL AND v.position <= @up_to
    ORDER BY v.position DESC LIMIT @max_messages) e
ORDER BY k.n, e.position;

-- name: ReactionSaidByUsers :many
-- What users said at positions up to one, the newest max_messages of each: in sessions
-- that are theirs, and started not too long ago.
SELECT k.n::bigint AS n, e.position, e.received_at, e.message
FROM (SELECT unnest(@ns::bigint[]) AS n, unnest(@user_ids::text[]) AS user_id) k
CROSS JOIN LATERAL (
    SELECT v.position, v.received_at, v.message
    FROM sessions s JOIN events v ON v.session_id = s.session_id AND v.agent_id = s.agent_id
         AND v.occurred_at BETWEEN s.started_at AND s.last_event_at
    WHERE s.user_id = k.user_id AND s.started_at > @started_since
      AND v.event_type = 'chat.push' AND v.role = 'user' AND v.erasure IS NULL AND v.position <= @up_to
      AND v.user_id IN ('', k.user_id) AND v.received_at >= @received_since
    ORDER BY v.position DESC LIMIT @max_messages) e
ORDER BY k.n, e.position;

-- name: ReactionOpenSessions :many
-- The sessions that were open at a time, by agent.
SELECT s.agent_id, count(*) AS sessions, sum(s.peak_participants)::bigint AS participants
FROM sessions s WHERE s.closes_at > @at AND s.started_at <= @at
GROUP BY s.agent_id;

-- name: RuleCountList :many
-- The entries of some keys, the newest max_rows of each.
SELECT k.n::bigint AS n, c.at, c.entries
FROM (SELECT unnest(@ns::bigint[]) AS n, unnest(@rules::text[]) AS rule, unnest(@keys::bytea[]) AS key) k
CROSS JOIN LATERAL (
    SELECT r.at, r.entries FROM rule_counts r WHERE r.rule = k.rule AND r.key = k.key
    ORDER BY r.at DESC, r.position DESC LIMIT @max_rows) c
ORDER BY k.n, c.at;

-- name: RuleCountAddMany :exec
-- Each row once.
INSERT INTO rule_counts (rule, key, at, position, entries, expires_at, agent_id, session_id)
SELECT unnest(@rules::text[]), unnest(@keys::bytea[]), unnest(@ats::timestamptz[]), unnest(@positions::bigint[]),
       unnest(@entries::integer[]), unnest(@expires_ats::timestamptz[]), unnest(@agent_ids::text[]), unnest(@session_ids::text[])
ON CONFLICT ON CONSTRAINT rule_counts_pkey DO UPDATE SET entries = rule_counts.entries + excluded.entries;

-- name: RuleCountTrimMany :exec
DELETE FROM rule_counts c
USING (SELECT unnest(@rules::text[]) AS rule, unnest(@keys::bytea[]) AS key, unnest(@befores::timestamptz[]) AS before) k
WHERE c.rule = k.rule AND c.key = k.key AND c.at < k.before;

-- name: RuleThrottleList :many
SELECT k.n::bigint AS n, t.at
FROM (SELECT unnest(@ns::bigint[]) AS n, unnest(@rules::text[]) AS rule, unnest(@keys::bytea[]) AS key) k
JOIN rule_throttles t ON t.rule = k.rule AND t.key = k.key;

-- name: RuleThrottleSetMany :exec
-- Each key once.
INSERT INTO rule_throttles (rule, key, at, position, expires_at, agent_id, session_id)
SELECT unnest(@rules::text[]), unnest(@keys::bytea[]), unnest(@ats::timestamptz[]), unnest(@positions::bigint[]),
       unnest(@expires_ats::timestamptz[]), unnest(@agent_ids::text[]), unnest(@session_ids::text[])
ON CONFLICT ON CONSTRAINT rule_throttles_pkey DO UPDATE SET
    at = excluded.at, position = excluded.position, expires_at = excluded.expires_at, agent_id = excluded.agent_id,
    session_id = excluded.session_id;

-- name: DueAddMany :exec
-- Each conversation once.
INSERT INTO due_conversations AS d (agent_id, session_id, at, received_at, position, since, until)
SELECT unnest(@agent_ids::text[]), unnest(@session_ids::text[]), @at, unnest(@received_ats::timestamptz[]),
       unnest(@positions::bigint[]), unnest(@sinces::timestamptz[]), unnest(@untils::timestamptz[])
ON CONFLICT ON CONSTRAINT due_conversations_pkey DO UPDATE SET
    at = greatest(d.at, excluded.at), received_at = greatest(d.received_at, excluded.received_at),
    position = least(d.position, excluded.position), since = least(d.since, excluded.since), until = greatest(d.until, excluded.until);

-- name: DueList :many
SELECT * FROM due_conversations d WHERE d.at <= @now ORDER BY d.at LIMIT @max_rows;

-- name: DueDeleteMany :exec
DELETE FROM due_conversations d
USING (SELECT unnest(@agent_ids::text[]) AS agent_id, unnest(@session_ids::text[]) AS session_id) k
WHERE d.session_id = k.session_id AND d.agent_id = k.agent_id;

-- name: ToldList :many
-- How sessions were told, and those that have become part of them.
SELECT k.n::bigint AS n, t.started_at, t.last_position
FROM (SELECT unnest(@ns::bigint[]) AS n, unnest(@agent_ids::text[]) AS agent_id, unnest(@session_ids::text[]) AS session_id,
             unnest(@sinces::timestamptz[]) AS since, unnest(@untils::timestamptz[]) AS until) k
JOIN told_sessions t ON t.session_id = k.session_id AND t.agent_id = k.agent_id AND t.started_at BETWEEN k.since AND k.until
ORDER BY k.n, t.started_at;

-- name: ToldSetMany :exec
-- Each session once.
INSERT INTO told_sessions (agent_id, session_id, started_at, last_position, told_at)
SELECT unnest(@agent_ids::text[]), unnest(@session_ids::text[]), unnest(@started_ats::timestamptz[]), unnest(@last_positions::bigint[]), @told_at
ON CONFLICT ON CONSTRAINT told_sessions_pkey DO UPDATE SET last_position = excluded.last_position, told_at = excluded.told_at;

-- name: ToldDeleteMany :exec
DELETE FROM told_sessions t
USING (SELECT unnest(@agent_ids::text[]) AS agent_id, unnest(@session_ids::text[]) AS session_id,
              unnest(@started_ats::timestamptz[]) AS started_at) k
WHERE t.session_id = k.session_id AND t.agent_id = k.agent_id AND t.started_at = k.started_at;

-- name: RuleCountExpire :execrows
DELETE FROM rule_counts WHERE ctid = ANY (ARRAY(SELECT c.ctid FROM rule_counts c WHERE c.expires_at <= @now LIMIT @max_rows));

-- name: RuleThrottleExpire :execrows
DELETE FROM rule_throttles WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM rule_throttles t WHERE t.expires_at <= @now LIMIT @max_rows));

-- name: ToldExpire :execrows
DELETE FROM told_sessions WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM told_sessions t WHERE t.told_at <= @before LIMIT @max_rows));

-- name: ReactionErase :exec
-- What is remembered of conversations, or of events of none at their positions.
WITH k AS (SELECT unnest(@session_ids::text[]) AS session_id, unnest(@agent_ids::text[]) AS agent_id),
counts AS (
    DELETE FROM rule_counts c
    WHERE (c.agent_id, c.session_id) IN (SELECT k.agent_id, k.session_id FROM k) OR c.session_id = '' AND c.position = ANY(@positions::bigint[])
), throttles AS (
    DELETE FROM rule_throttles t
    WHERE (t.agent_id, t.session_id) IN (SELECT k.agent_id, k.session_id FROM k) OR t.session_id = '' AND t.position = ANY(@positions::bigint[])
), told AS (
    DELETE FROM told_sessions s WHERE (s.session_id, s.agent_id) IN (SELECT k.session_id, k.agent_id FROM k)
), due AS (
    DELETE FROM due_conversations d WHERE (d.session_id, d.agent_id) IN (SELECT k.session_id, k.agent_id FROM k)
)
UPDATE reaction_state SET steps = steps + 1;

-- name: ReactionEraseOf :exec
-- All that is remembered of a session_id (of an agent, if one is given), or of an agent.
WITH counts AS (
    DELETE FROM rule_counts c WHERE (@session_id::text = '' OR c.session_id = @session_id) AND (@agent_id::text = '' OR c.agent_id = @agent_id)
), throttles AS (
    DELETE FROM rule_throttles t WHERE (@session_id = '' OR t.session_id = @session_id) AND (@agent_id = '' OR t.agent_id = @agent_id)
), told AS (
    DELETE FROM told_sessions s WHERE (@session_id = '' OR s.session_id = @session_id) AND (@agent_id = '' OR s.agent_id = @agent_id)
), due AS (
    DELETE FROM due_conversations d WHERE (@session_id = '' OR d.session_id = @session_id) AND (@agent_id = '' OR d.agent_id = @agent_id)
)
UPDATE reaction_state SET steps = steps + 1;

-- name: ReactionDropFrozen :exec
-- What is remembered of the time below the horizon.
WITH h AS (SELECT l.frozen_before FROM log_head l),
counts AS (DELETE FROM rule_counts c USING h WHERE c.at < h.frozen_before),
throttles AS (DELETE FROM rule_throttles t USING h WHERE t.at < h.frozen_before),
told AS (DELETE FROM told_sessions s USING h WHERE s.started_at < h.frozen_before),
due AS (DELETE FROM due_conversations d USING h WHERE d.until < h.frozen_before)
UPDATE reaction_state SET steps = steps + 1;
