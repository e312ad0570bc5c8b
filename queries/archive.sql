-- The archive: what of it is to be written, and what is. See migrations/00017_archive.sql.

-- name: ArchiveLease :one
-- One process archives at a time: the one that renews its lease.
UPDATE archive SET owner = @owner, leased_until = clock_timestamp() + make_interval(secs => @seconds::double precision)
WHERE owner = @owner OR leased_until < clock_timestamp()
RETURNING *;

-- name: ArchiveRelease :exec
UPDATE archive SET leased_until = clock_timestamp() WHERE owner = @owner;

-- name: ArchiveGet :one
SELECT * FROM archive;

-- name: ArchiveHold :one
-- Nobody makes stubs until the transaction ends, and whoever was at it has finished. No
-- row: the lease is lost.
SELECT position FROM archive WHERE owner = @owner AND leased_until > clock_timestamp() FOR UPDATE;

-- name: ArchiveOwned :one
SELECT EXISTS (SELECT FROM archive WHERE owner = @owner AND leased_until > clock_timestamp())::boolean AS owned;

-- name: ArchiveBegin :exec
-- Begins an archive in a bucket that has none. Where it had this one, that may come back, as
-- a directory does that was not mounted: then the log goes on in it.
UPDATE archive SET place = @place, position = 0, written_at = NULL, state_version = '', tables = '[]', looked_to = 0, made_with = '',
    log_id = CASE WHEN place = @place AND log_id <> '' THEN log_id ELSE gen_random_uuid()::text END,
    manifest = CASE WHEN place = @place THEN numbered ELSE 0 END,
    numbered = CASE WHEN place = @place THEN numbered ELSE 0 END,
    continues = CASE WHEN place = @place THEN continues ELSE '' END;

-- name: ArchivePlace :exec
UPDATE archive SET place = @place WHERE owner = @owner AND place <> @place;

-- name: ArchiveNumber :one
-- A number for a manifest, which no other one has. No row: the lease is lost.
UPDATE archive SET numbered = numbered + 1 WHERE owner = @owner AND leased_until > clock_timestamp() RETURNING numbered;

-- name: ArchiveForgetBlocks :exec
DELETE FROM archive_blocks;

-- name: ArchiveForgetGarbage :exec
DELETE FROM archive_garbage;

-- name: ArchiveForgetSessions :exec
DELETE FROM archive_sessions;

-- name: ArchiveTail :one
-- The last block.
SELECT * FROM archive_blocks ORDER BY first_position DESC LIMIT 1;

-- name: ArchiveFirstBehind :one
-- When the next event behind a position was received.
SELECT e.received_at FROM events e WHERE e.position > @after AND e.position <= @up_to ORDER BY e.position LIMIT 1;

-- name: ArchiveCut :one
-- How far a block reaches that begins behind a position: up to so many events, so many
-- bytes (one event is always taken), or, if there are enough, the first event that a
-- later day of UTC received.
SELECT coalesce(max(c.position), 0)::bigint AS last_position, count(*) AS events
FROM (
    SELECT n.position, n.number, sum(n.bytes) OVER (ORDER BY n.position ROWS UNBOUNDED PRECEDING) AS bytes,
           bool_or(n.received_at >= @day_end::timestamptz AND n.number > @enough_events::bigint)
               OVER (ORDER BY n.position ROWS UNBOUNDED PRECEDING) AS is_later
    FROM (SELECT e.position, e.received_at, row_number() OVER (ORDER BY e.position) AS number,
                 octet_length(e.message) + coalesce(octet_length(e.payload_raw), octet_length(e.payload::text)) AS bytes
          FROM events e WHERE e.position > @after AND e.position <= @up_to ORDER BY e.position LIMIT @max_events) n
) c
WHERE NOT c.is_later AND (c.bytes <= @max_bytes::bigint OR c.number = 1);

-- name: ArchiveBlockInsert :exec
INSERT INTO archive_blocks (first_position, last_position, hour) VALUES (@first_position, @last_position, @hour);

-- name: ArchiveBlockExtend :exec
UPDATE archive_blocks SET last_position = @last_position, stale = true WHERE first_position = @first_position;

-- name: ArchiveBlockTake :one
-- The next block that is to be written.
UPDATE archive_blocks SET stale = false, dirty = true
WHERE first_position = (SELECT n.first_position FROM archive_blocks n WHERE n.stale OR n.dirty ORDER BY n.first_position LIMIT 1)
RETURNING *;

-- name: ArchiveBlockDiscard :exec
-- What the block was until now, is garbage with the next manifest.
INSERT INTO archive_garbage (object, manifest)
SELECT b.object, a.manifest + 1 FROM archive_blocks b, archive a
WHERE b.first_position = @first_position AND b.object NOT IN ('', @object)
ON CONFLICT ON CONSTRAINT archive_garbage_pkey DO UPDATE SET manifest = excluded.manifest;

-- name: ArchiveBlockStored :execrows
-- Unless it has become stale since it was taken.
UPDATE archive_blocks SET dirty = false, object = @object, sha256 = @sha256, bytes = @bytes, events = @events,
    content_bytes = @content_bytes, oldest_at = @oldest_at, newest_at = @newest_at
WHERE first_position = @first_position AND last_position = @last_position AND dirty AND NOT stale;

-- name: ArchiveBlockList :many
SELECT * FROM archive_blocks ORDER BY first_position;

-- name: ArchiveTodo :one
-- What is to be written, or deleted.
SELECT (SELECT count(*) FROM archive_blocks WHERE stale OR dirty)::bigint AS blocks,
       (SELECT count(*) FROM archive_sessions WHERE stale OR dirty)::bigint AS sessions,
       (SELECT count(*) FROM archive_garbage)::bigint AS garbage,
       a.state_version FROM archive a;

-- name: ArchiveLag :one
-- Where nobody has archived for a day, nobody wants to.
SELECT a.position, l.position AS head, (a.log_id <> '' AND a.leased_until > now() - interval '1 day')::boolean AS used,
       coalesce((SELECT e.received_at FROM events e WHERE e.position > a.position ORDER BY e.position LIMIT 1), l.received_at)::timestamptz AS waits_since
FROM archive a, log_head l;

-- name: ArchiveVersions :one
-- Texts that change when the tables change that are copied to the archive. Of the log's
-- counters those that deliveries move are left out.
SELECT md5(concat_ws('|', l.generation, l.frozen_before, r::text, f.to_count,
           (SELECT count(*) FROM dropped_months), (SELECT count(*) FROM stubbed_months),
           (SELECT concat(count(*), ',', count(finished_at), ',', max(id)) FROM erasures)))::text AS frozen,
       md5(q::text)::text AS quarantine, md5(s::text)::text AS settings
FROM log_head l, retention r, quarantine_tally q, settings s, followers f WHERE f.name = 'sessions';

-- name: ArchiveHead :one
SELECT position, duplicates, erased, erased_until, generation, frozen_before, expired FROM log_head;

-- name: ArchiveFrozenReach :one
-- Up to where the frozen sessions know of events.
SELECT coalesce(max(s.last_position), 0)::bigint AS position FROM sessions s, log_head l
WHERE s.erased_at IS NOT NULL OR s.started_at < l.frozen_before;

-- name: ArchiveStubBehind :one
SELECT EXISTS (SELECT FROM events e WHERE e.position > @after AND e.erasure IS NOT NULL)::boolean AS found;

-- name: ArchiveCommitted :execrows
UPDATE archive SET manifest = @number::bigint, position = @position, written_at = clock_timestamp(), state_version = @state_version,
    tables = @tables
WHERE owner = @owner AND leased_until > clock_timestamp() AND manifest < @number::bigint AND numbered = @number::bigint;

-- name: ArchiveGarbageList :many
-- What may be deleted now. What came back is none any more.
SELECT g.object FROM archive_garbage g, archive a
WHERE g.manifest <= a.manifest AND NOT EXISTS (SELECT FROM archive_blocks b WHERE b.object = g.object)
ORDER BY g.object LIMIT @max_rows;

-- name: ArchiveGarbageDelete :exec
DELETE FROM archive_garbage WHERE object = ANY(@objects::text[]);

-- name: ArchiveObjectsKnown :many
-- Those of the objects that blocks or garbage have.
SELECT b.object FROM archive_blocks b WHERE b.object = ANY(@objects::text[])
UNION SELECT g.object FROM archive_garbage g WHERE g.object = ANY(@objects::text[]);

-- name: ArchiveBlocksLost :execrows
-- Blocks that the bucket does not have any more are written again.
UPDATE archive_blocks SET stale = true WHERE object <> '' AND NOT stale AND object <> ALL(@found::text[]);

-- name: ArchiveLook :one
-- Notes the conversations of the next events that are folded. How far it came.
WITH reach AS (
    SELECT a.looked_to AS since, least(f.position, a.looked_to + @max_events::bigint) AS until
    FROM archive a, followers f WHERE f.name = 'sessions' AND a.owner = @owner AND a.leased_until > clock_timestamp()
), noted AS (
    INSERT INTO archive_due AS d (session_id, agent_id, at)
    SELECT e.session_id, e.agent_id, clock_timestamp() FROM events e, reach
    WHERE e.position > reach.since AND e.position <= reach.until AND e.session_id <> '' AND e.event_type NOT IN ('test', 'ping')
    GROUP BY e.session_id, e.agent_id
    ON CONFLICT ON CONSTRAINT archive_due_pkey DO UPDATE SET at = excluded.at
)
UPDATE archive SET looked_to = reach.until FROM reach WHERE reach.until > reach.since
RETURNING archive.looked_to;

-- name: ArchiveMadeWith :one
-- Whether the sessions are made with other settings than their objects.
UPDATE archive SET made_with = f.made_with FROM followers f
WHERE f.name = 'sessions' AND archive.made_with <> f.made_with AND archive.owner = @owner
RETURNING archive.made_with;

-- name: ArchiveRebuilt :exec
-- Has all sessions written again.
UPDATE archive SET made_with = '';

-- name: ArchiveDueAll :exec
INSERT INTO archive_due (session_id, agent_id, at)
SELECT s.session_id, s.agent_id, clock_timestamp() FROM sessions s GROUP BY s.session_id, s.agent_id
ON CONFLICT ON CONSTRAINT archive_due_pkey DO UPDATE SET at = excluded.at;

-- name: ArchiveSessionsOutdate :exec
UPDATE archive_sessions SET stale = true WHERE NOT stale;

-- name: ArchiveDueTake :many
SELECT session_id, agent_id FROM archive_due WHERE at <= clock_timestamp() ORDER BY at LIMIT @max_rows FOR UPDATE;

-- name: ArchiveSessionsNote :exec
-- The closed sessions of conversations that have no object, or one of another version.
INSERT INTO archive_sessions AS a (session_id, agent_id, started_at, last_event_at, last_position)
SELECT s.session_id, s.agent_id, s.started_at, s.last_event_at, s.last_position
FROM (SELECT unnest(@session_ids::text[]) AS session_id, unnest(@agent_ids::text[]) AS agent_id) d
JOIN sessions s ON s.session_id = d.session_id AND s.agent_id = d.agent_id
WHERE s.closes_at <= clock_timestamp()
ON CONFLICT ON CONSTRAINT archive_sessions_pkey DO UPDATE
    SET stale = true, last_event_at = excluded.last_event_at, last_position = excluded.last_position
    WHERE a.last_position <> excluded.last_position;

-- name: ArchiveSessionsGone :exec
-- Sessions of conversations that are no more, since a late event has joined them or
-- given them another begin.
UPDATE archive_sessions a SET stale = true
FROM (SELECT unnest(@session_ids::text[]) AS session_id, unnest(@agent_ids::text[]) AS agent_id) d
WHERE a.session_id = d.session_id AND a.agent_id = d.agent_id AND NOT a.stale
  AND NOT EXISTS (SELECT FROM sessions s WHERE s.session_id = a.session_id AND s.agent_id = a.agent_id AND s.started_at = a.started_at);

-- name: ArchiveDuePostpone :exec
-- Conversations with a session that is open are looked at when it closes; others not
-- before something comes.
WITH looked AS (
    SELECT d.session_id, d.agent_id, (
        SELECT min(s.closes_at) FROM sessions s
        WHERE s.session_id = d.session_id AND s.agent_id = d.agent_id AND s.closes_at > clock_timestamp()) AS at
    FROM (SELECT unnest(@session_ids::text[]) AS session_id, unnest(@agent_ids::text[]) AS agent_id) d
), kept AS (
    UPDATE archive_due x SET at = l.at FROM looked l
    WHERE x.session_id = l.session_id AND x.agent_id = l.agent_id AND l.at IS NOT NULL
)
DELETE FROM archive_due x USING looked l
WHERE x.session_id = l.session_id AND x.agent_id = l.agent_id AND l.at IS NULL;

-- name: ArchiveSessionsDropped :execrows
-- Sessions that went for their age.
UPDATE archive_sessions a SET stale = true FROM retention r
WHERE a.started_at < r.sessions_before AND NOT a.stale
  AND NOT EXISTS (SELECT FROM sessions s WHERE s.session_id = a.session_id AND s.agent_id = a.agent_id AND s.started_at = a.started_at);

-- name: ArchiveSessionsDroppedSeen :one
-- Whether some went since it was looked last.
UPDATE archive SET gone_sessions = r.dropped_sessions FROM retention r
WHERE archive.gone_sessions <> r.dropped_sessions AND archive.owner = @owner
RETURNING archive.gone_sessions;

-- name: ArchiveSessionsTake :many
UPDATE archive_sessions a SET stale = false, dirty = true
FROM (SELECT n.session_id, n.agent_id, n.started_at FROM archive_sessions n WHERE n.stale OR n.dirty
      ORDER BY n.session_id, n.agent_id, n.started_at LIMIT @max_rows) t
WHERE a.session_id = t.session_id AND a.agent_id = t.agent_id AND a.started_at = t.started_at
RETURNING a.*;

-- name: ArchiveSessionNamesake :one
-- Whether a session of another agent has the same id and begin, and an object.
SELECT EXISTS (SELECT FROM archive_sessions a
    WHERE a.session_id = @session_id AND a.started_at = @started_at AND a.agent_id <> @agent_id AND a.object = @object)::boolean AS found;

-- name: ArchiveSessionName :exec
UPDATE archive_sessions SET object = @object WHERE session_id = @session_id AND agent_id = @agent_id AND started_at = @started_at;

-- name: ArchiveSessionsStored :exec
UPDATE archive_sessions a SET dirty = false
FROM (SELECT unnest(@session_ids::text[]) AS session_id, unnest(@agent_ids::text[]) AS agent_id, unnest(@started_ats::timestamptz[]) AS started_at) t
WHERE a.session_id = t.session_id AND a.agent_id = t.agent_id AND a.started_at = t.started_at AND NOT a.stale;

-- name: ArchiveSessionsDelete :exec
DELETE FROM archive_sessions a
USING (SELECT unnest(@session_ids::text[]) AS session_id, unnest(@agent_ids::text[]) AS agent_id, unnest(@started_ats::timestamptz[]) AS started_at) t
WHERE a.session_id = t.session_id AND a.agent_id = t.agent_id AND a.started_at = t.started_at AND NOT a.stale;

-- name: ArchiveSessionsInterrupted :many
-- The objects that somebody was writing.
SELECT object FROM archive_sessions WHERE dirty AND object <> '';

-- name: ArchiveSessionsKnown :many
-- The objects of the sessions that began within a time.
SELECT object FROM archive_sessions WHERE started_at >= @since::timestamptz AND started_at < @until::timestamptz AND object <> '';

-- name: ArchiveOrphansGone :exec
UPDATE archive SET orphans = false WHERE owner = @owner;

-- name: ArchiveTableColumns :many
SELECT a.attname::text FROM pg_catalog.pg_attribute a
WHERE a.attrelid = to_regclass(@name::text) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;

-- name: ArchiveRestoring :one
SELECT restoring FROM archive;

-- name: RestoreLock :one
SELECT pg_try_advisory_lock(hashtextextended('rapport restore', 0));

-- name: RestoreBegin :exec
UPDATE archive SET restoring = @manifest;

-- name: RestoreKeepServersOut :exec
-- A server that starts finds that something is made, and not with its settings.
UPDATE followers SET made_with = 'restoring', position = 1 WHERE name = 'sessions';

-- name: RestoreHead :one
SELECT position FROM log_head FOR UPDATE;

-- name: RestoreMoveHead :exec
UPDATE log_head SET position = @position, received_at = greatest(received_at, @received_at);

-- name: RestoreSetHead :exec
UPDATE log_head SET duplicates = @duplicates, erased = @erased, erased_until = @erased_until, generation = @generation,
    frozen_before = @frozen_before, expired = @expired,
    received_at = greatest(received_at, (SELECT max(newest_received_at) FROM dropped_months));

-- name: RestoreNumbers :exec
-- Numbers go on behind those that were given.
SELECT setval(pg_get_serial_sequence('erasures', 'id'), coalesce((SELECT max(id) FROM erasures), 0) + 1, false),
       setval(pg_get_serial_sequence('quarantine', 'id'), coalesce((SELECT max(id) FROM quarantine), 0) + 1, false);

-- name: RestoreBlock :exec
INSERT INTO archive_blocks (first_position, last_position, hour, object, sha256, bytes, events, content_bytes, oldest_at, newest_at, stale)
VALUES (@first_position, @last_position, @hour, @object, @sha256, @bytes, @events, @content_bytes, @oldest_at, @newest_at, false);

-- name: RestoreAdopt :exec
-- The log goes on where the archive ends, under a name of its own.
UPDATE archive SET log_id = gen_random_uuid()::text, manifest = @manifest, numbered = @manifest, position = @position, written_at = NULL,
    state_version = '', tables = '[]', looked_to = 0, made_with = '', continues = @continues, orphans = true;

-- name: RestoreEnd :exec
UPDATE archive SET restoring = '';

-- name: ArchiveSessionGet :one
SELECT * FROM sessions WHERE session_id = @session_id AND agent_id = @agent_id AND started_at = @started_at;
