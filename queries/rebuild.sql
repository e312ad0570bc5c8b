-- Replacing the rollups by ones that were folded from the whole log. What names
-- the rollups without a schema means the fresh ones: see store.Rebuild.

-- name: RebuildLock :one
SELECT pg_try_advisory_lock(hashtextextended('rapport rebuild', 0)) AS locked;

-- name: GrantsLock :exec
-- Whoever granted rights on the tables meanwhile would grant them on the old ones.
SELECT pg_advisory_xact_lock(hashtextextended('rapport grants', 0));

-- name: FollowerTake :one
-- Waits for the step of whoever follows.
SELECT position FROM followers WHERE name = @name FOR UPDATE;

-- name: FollowerReset :exec
UPDATE followers SET position = @position, made_with = @settings, to_count = NULL, updated_at = now() WHERE name = @name;

-- name: SettingsChange :exec
UPDATE settings SET idle_timeout_s = $1, active_gap_cap_s = $2, quick_answer_s = $3, frustration_words = $4,
    frustration_sentiment = $5, score_version = $6;

-- name: EventListBySession :many
-- What a fold looks at, in the order of the primary keys, so that the events of a
-- session_id follow each other and nothing is sorted: at most max_events behind a
-- key, and no more once there are max_bytes of text.
SELECT e.position, e.occurred_at, e.received_at, e.participants, e.event_type, e.agent_id, e.session_id, e.user_id, e.role,
       e.message, e.room_name, e.end_reason, e.rating, e.fingerprint, e.healed_from
FROM (
    SELECT l.*, sum(octet_length(l.message)) OVER (ORDER BY l.session_id, l.occurred_at, l.fingerprint ROWS UNBOUNDED PRECEDING)
                - octet_length(l.message) AS bytes_before
    FROM (SELECT n.position, n.occurred_at, n.received_at, n.participants, n.event_type, n.agent_id, n.session_id, n.user_id,
                 n.role, n.message, n.room_name, n.end_reason, n.rating, n.fingerprint, n.healed_from
          FROM events n
          WHERE (n.session_id, n.occurred_at, n.fingerprint)
                > (@after_session_id::text, @after_occurred_at::timestamptz, @after_fingerprint::bytea)
            AND n.position <= @up_to AND n.erasure IS NULL
            AND n.occurred_at >= (SELECT frozen_before FROM log_head)
            AND NOT EXISTS (SELECT FROM frozen_spans z
                            WHERE z.session_id = n.session_id AND z.agent_id = n.agent_id AND z.frozen_until >= n.occurred_at)
          ORDER BY n.session_id, n.occurred_at, n.fingerprint LIMIT @max_events) l
) e
WHERE e.bytes_before < @max_bytes::bigint
ORDER BY e.session_id, e.occurred_at, e.fingerprint;

-- name: AsideList :many
-- The events that a follower has put aside.
SELECT position, agent_id, session_id FROM dead_letters WHERE follower = @follower;

-- name: SessionDeleteOfConversation :many
DELETE FROM sessions
WHERE session_id = @session_id AND agent_id = @agent_id AND started_at >= (SELECT frozen_before FROM log_head)
RETURNING *;

-- name: SessionTextDeleteOfConversation :exec
DELETE FROM session_texts WHERE session_id = @session_id AND agent_id = @agent_id;

-- name: TableOwnerList :many
-- The owners of tables and views that this role may not act as.
SELECT DISTINCT pg_get_userbyid(c.relowner)::text AS owner
FROM pg_catalog.pg_class c
WHERE c.oid = ANY(ARRAY(SELECT to_regclass(u.name)::oid FROM unnest(@tables::text[]) u (name))) AND NOT pg_has_role(c.relowner, 'USAGE');

-- name: TableViewList :many
-- The views that read a table: they are bound to the table itself, not to its name.
SELECT DISTINCT format('%I.%I', n.nspname, v.relname)::text AS name,
       format('%I', pg_get_userbyid(v.relowner))::text AS owner,
       coalesce((SELECT string_agg(format('%I = %L', o.option_name, o.option_value), ', ')
                 FROM pg_options_to_table(v.reloptions) o), '')::text AS options
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN'
JOIN pg_catalog.pg_class v ON v.oid = r.ev_class AND v.relkind = 'v'
JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace
WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass
  AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = ANY(ARRAY(SELECT to_regclass(u.name)::oid FROM unnest(@tables::text[]) u (name)))
ORDER BY name;

-- name: TableBondList :many
-- What else is bound to a table or to its row type, but for what is the table's
-- own and is made again with it.
SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0)::text AS bond
FROM pg_catalog.pg_depend d
WHERE (d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = ANY(ARRAY(SELECT to_regclass(u.name)::oid FROM unnest(@tables::text[]) u (name)))
       OR d.refclassid = 'pg_catalog.pg_type'::regclass AND d.refobjid IN (
           SELECT unnest(ARRAY[t.oid, t.typarray]) FROM pg_catalog.pg_type t WHERE t.typrelid = ANY(ARRAY(SELECT to_regclass(u.name)::oid FROM unnest(@tables::text[]) u (name)))))
  AND NOT (d.classid = 'pg_catalog.pg_class'::regclass AND (d.objid = ANY(ARRAY(SELECT to_regclass(u.name)::oid FROM unnest(@tables::text[]) u (name))) OR EXISTS (
           SELECT FROM pg_catalog.pg_class c WHERE c.oid = d.objid AND c.relkind IN ('i', 't'))))
  AND NOT (d.classid = 'pg_catalog.pg_type'::regclass AND d.deptype = 'i')
  AND NOT (d.classid = 'pg_catalog.pg_constraint'::regclass AND EXISTS (
           SELECT FROM pg_catalog.pg_constraint c
           WHERE c.oid = d.objid AND c.conrelid = ANY(ARRAY(SELECT to_regclass(u.name)::oid FROM unnest(@tables::text[]) u (name))) AND c.contype IN ('p', 'u', 'x', 'c', 'n')))
  AND NOT (d.classid = 'pg_catalog.pg_rewrite'::regclass AND EXISTS (
           SELECT FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class v ON v.oid = r.ev_class
           WHERE r.oid = d.objid AND r.rulename = '_RETURN' AND v.relkind = 'v' AND v.relpersistence <> 't'))
  AND d.classid NOT IN ('pg_catalog.pg_attrdef'::regclass, 'pg_catalog.pg_statistic_ext'::regclass)
ORDER BY bond;

-- name: TableColumnList :many
SELECT format('column %I %s, not null %s, default %s', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
              coalesce(pg_get_expr(f.adbin, f.adrelid), 'none'))::text AS definition
FROM pg_catalog.pg_attribute a
LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
WHERE a.attrelid = to_regclass(@relation::text) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;

-- name: TableConstraintList :many
SELECT format('CONSTRAINT %I %s', c.conname, pg_get_constraintdef(c.oid))::text AS definition,
       (c.conindid <> 0)::boolean AS has_index
FROM pg_catalog.pg_constraint c
WHERE c.conrelid = to_regclass(@relation::text) AND c.contype IN ('p', 'u', 'x', 'c')
ORDER BY c.conname;

-- name: TableIndexList :many
-- The indexes that no constraint has made.
SELECT pg_get_indexdef(x.indexrelid)::text AS definition
FROM pg_catalog.pg_index x
WHERE x.indrelid = to_regclass(@relation::text) AND x.indisvalid
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.conindid = x.indexrelid AND c.conrelid = x.indrelid)
ORDER BY definition;

-- name: TableOwnerGet :one
SELECT format('%I', pg_get_userbyid(c.relowner))::text AS owner
FROM pg_catalog.pg_class c WHERE c.oid = to_regclass(@relation::text);

-- name: TableOptionStatements :many
-- What CREATE TABLE (LIKE) leaves out, as statements: the storage options and the comment,
SELECT format('ALTER TABLE %s SET (%s)', @name::text, string_agg(format('%I = %L', o.option_name, o.option_value), ', '))::text AS statement
FROM pg_catalog.pg_class c, pg_options_to_table(c.reloptions) o
WHERE c.oid = to_regclass(@relation::text)
HAVING count(*) > 0
UNION ALL
SELECT format('COMMENT ON TABLE %s IS %L', @name::text, obj_description(c.oid, 'pg_class'))
FROM pg_catalog.pg_class c
WHERE c.oid = to_regclass(@relation::text) AND obj_description(c.oid, 'pg_class') IS NOT NULL;

-- name: TableRevokeStatements :many
-- and the rights, after what default privileges have given.
SELECT DISTINCT format('REVOKE ALL ON %s FROM %s', @name::text,
              CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)::text AS statement
FROM pg_catalog.pg_class c, aclexplode(c.relacl) g
WHERE c.oid = to_regclass(@relation::text) AND g.grantee <> c.relowner;

-- name: TableGrantStatements :many
SELECT format('GRANT %s ON %s TO %s%s', g.privilege_type, @name::text,
              CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
              CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)::text AS statement
FROM pg_catalog.pg_class c, aclexplode(c.relacl) g
WHERE c.oid = to_regclass(@relation::text)
UNION ALL
SELECT format('GRANT %s (%I) ON %s TO %s%s', g.privilege_type, a.attname, @name::text,
              CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
              CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_catalog.pg_attribute a, aclexplode(a.attacl) g
WHERE a.attrelid = to_regclass(@relation::text) AND NOT a.attisdropped;

-- name: TableUserList :many
-- Who uses a table just now, but for what gives way: an autovacuum.
SELECT DISTINCT l.pid::integer AS pid, l.virtualtransaction::text AS transaction
FROM pg_catalog.pg_locks l
WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND l.relation = ANY(ARRAY(SELECT to_regclass(u.name)::oid FROM unnest(@tables::text[]) u (name)))
  AND l.granted AND l.mode <> 'ShareUpdateExclusiveLock' AND l.pid <> pg_backend_pid()
ORDER BY pid;

-- name: ErasedSince :many
-- The conversations that were erased, or erased again, behind a generation of the log.
SELECT agent_id, session_id, generation FROM tombstones WHERE generation > @generation AND NOT whole;

-- name: HorizonCarryOver :exec
-- What nothing but the old rollups knows: the numbers of sessions below the horizon, and
INSERT INTO sessions SELECT * FROM public.sessions s
WHERE s.started_at < (SELECT frozen_before FROM log_head) OR s.erased_at IS NOT NULL;

-- name: FrozenDeleteErased :many
-- those of erased sessions, also of those that were erased since,
DELETE FROM sessions f USING public.sessions s
WHERE f.session_id = s.session_id AND f.agent_id = s.agent_id AND f.started_at = s.started_at
  AND s.erased_at IS NOT NULL AND f.erased_at IS NULL
RETURNING f.*;

-- name: FrozenCarryOver :many
INSERT INTO sessions SELECT * FROM public.sessions s
WHERE s.erased_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM sessions f WHERE f.session_id = s.session_id AND f.agent_id = s.agent_id AND f.started_at = s.started_at)
RETURNING *;

-- name: FrozenSupersededCarryOver :many
-- and which of their events count nowhere.
INSERT INTO superseded
SELECT x.* FROM public.superseded x
WHERE EXISTS (SELECT FROM events e WHERE e.position = x.position AND e.session_id = x.session_id
              AND (e.erasure IS NOT NULL OR e.occurred_at < (SELECT frozen_before FROM log_head)
                OR EXISTS (SELECT FROM frozen_spans z WHERE z.session_id = e.session_id AND z.agent_id = e.agent_id
                           AND z.frozen_until >= e.occurred_at)))
ON CONFLICT DO NOTHING
RETURNING position;

-- name: SessionCount :one
SELECT count(*) FROM sessions;
