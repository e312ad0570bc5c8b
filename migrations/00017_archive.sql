-- What is archived, and where. The archive itself lies in a bucket; these tables say
-- what of it is to be written again, so they hold nothing that is not found elsewhere.

-- +goose Up

CREATE TABLE archive (
    singleton     boolean     NOT NULL DEFAULT true,
    log_id        text        NOT NULL DEFAULT '',
    place         text        NOT NULL DEFAULT '',
    manifest      bigint      NOT NULL DEFAULT 0,
    numbered      bigint      NOT NULL DEFAULT 0,
    position      bigint      NOT NULL DEFAULT 0,
    written_at    timestamptz,
    state_version text        NOT NULL DEFAULT '',
    tables        jsonb       NOT NULL DEFAULT '[]',
    continues     text        NOT NULL DEFAULT '',
    looked_to     bigint      NOT NULL DEFAULT 0,
    made_with     text        NOT NULL DEFAULT '',
    gone_sessions bigint      NOT NULL DEFAULT 0,
    owner         text        NOT NULL DEFAULT '',
    leased_until  timestamptz NOT NULL DEFAULT '2015-01-01 00:00:00+00',
    restoring     text        NOT NULL DEFAULT '',
    orphans       boolean     NOT NULL DEFAULT false,
    CONSTRAINT archive_pkey PRIMARY KEY (singleton),
    CONSTRAINT archive_single CHECK (singleton)
);
COMMENT ON TABLE archive IS 'One row: how far the archive has come. Who makes stubs holds it FOR KEY SHARE, who is about to read what goes to the archive holds it FOR UPDATE.';
COMMENT ON COLUMN archive.singleton IS 'Always true.';
COMMENT ON COLUMN archive.log_id IS 'Names this log in the bucket, so that no other one overwrites it; empty until something was archived.';
COMMENT ON COLUMN archive.place IS 'The bucket in which it was begun, without what is secret.';
COMMENT ON COLUMN archive.manifest IS 'Number of the last manifest: the object that says what the archive consists of. 0 if there is none.';
COMMENT ON COLUMN archive.numbered IS 'The greatest number that was given to a manifest: each try to write one has its own, so that a process that wakes up late overwrites none.';
COMMENT ON COLUMN archive.position IS 'The events up to here can be restored.';
COMMENT ON COLUMN archive.written_at IS 'When the last manifest was written.';
COMMENT ON COLUMN archive.state_version IS 'What the tables were like that the last manifest has copies of.';
COMMENT ON COLUMN archive.tables IS 'The copies of tables that the last manifest has.';
COMMENT ON COLUMN archive.continues IS 'The manifest that this log was restored from; empty if it was not.';
COMMENT ON COLUMN archive.looked_to IS 'Conversations of the events up to here are in archive_due, or were.';
COMMENT ON COLUMN archive.made_with IS 'The settings that the sessions'' objects are made with.';
COMMENT ON COLUMN archive.gone_sessions IS 'Of how many sessions that went for their age it was looked whether they have objects.';
COMMENT ON COLUMN archive.owner IS 'The process that archives; others wait.';
COMMENT ON COLUMN archive.leased_until IS 'Up to when it may, unless it renews that.';
COMMENT ON COLUMN archive.restoring IS 'The manifest that is being restored; empty if none is.';
COMMENT ON COLUMN archive.orphans IS 'The bucket may have objects of sessions that the log knows nothing of, since it was restored: they are to be looked for.';
INSERT INTO archive DEFAULT VALUES;

CREATE TABLE archive_blocks (
    first_position bigint      NOT NULL,
    last_position  bigint      NOT NULL,
    hour           timestamptz NOT NULL,
    object         text        NOT NULL DEFAULT '',
    sha256         bytea       NOT NULL DEFAULT '',
    bytes          bigint      NOT NULL DEFAULT 0,
    events         bigint      NOT NULL DEFAULT 0,
    content_bytes  bigint      NOT NULL DEFAULT 0,
    oldest_at      timestamptz,
    newest_at      timestamptz,
    stale          boolean     NOT NULL DEFAULT true,
    dirty          boolean     NOT NULL DEFAULT false,
    CONSTRAINT archive_blocks_pkey PRIMARY KEY (first_position),
    CONSTRAINT archive_blocks_range CHECK (last_position >= first_position)
);
CREATE INDEX archive_blocks_todo_idx ON archive_blocks (first_position) WHERE stale OR dirty;
COMMENT ON TABLE archive_blocks IS 'The objects that have the events: stretches of positions, one behind the other.';
COMMENT ON COLUMN archive_blocks.first_position IS 'The first position.';
COMMENT ON COLUMN archive_blocks.last_position IS 'The last position.';
COMMENT ON COLUMN archive_blocks.hour IS 'The hour of UTC in which its first event was received.';
COMMENT ON COLUMN archive_blocks.object IS 'Its name in the bucket; empty until it is written.';
COMMENT ON COLUMN archive_blocks.sha256 IS 'SHA-256 of the object.';
COMMENT ON COLUMN archive_blocks.bytes IS 'Bytes of the object.';
COMMENT ON COLUMN archive_blocks.events IS 'Events in it: fewer than positions where months were dropped.';
COMMENT ON COLUMN archive_blocks.content_bytes IS 'Bytes of the bodies and texts in it.';
COMMENT ON COLUMN archive_blocks.oldest_at IS 'The least occurred_at.';
COMMENT ON COLUMN archive_blocks.newest_at IS 'The greatest occurred_at.';
COMMENT ON COLUMN archive_blocks.stale IS 'The log has changed, or grown, since it was read.';
COMMENT ON COLUMN archive_blocks.dirty IS 'It is being written.';

CREATE TABLE archive_garbage (
    object   text   NOT NULL,
    manifest bigint NOT NULL,
    CONSTRAINT archive_garbage_pkey PRIMARY KEY (object)
);
COMMENT ON TABLE archive_garbage IS 'Objects that are to be deleted.';
COMMENT ON COLUMN archive_garbage.object IS 'The name in the bucket.';
COMMENT ON COLUMN archive_garbage.manifest IS 'From this manifest on nothing refers to it.';

CREATE TABLE archive_due (
    session_id text        COLLATE "C" NOT NULL,
    agent_id   text        COLLATE "C" NOT NULL,
    at         timestamptz NOT NULL,
    CONSTRAINT archive_due_pkey PRIMARY KEY (session_id, agent_id)
);
CREATE INDEX archive_due_at_idx ON archive_due (at);
COMMENT ON TABLE archive_due IS 'Conversations of which a session may have to be archived.';
COMMENT ON COLUMN archive_due.session_id IS 'The session.';
COMMENT ON COLUMN archive_due.agent_id IS 'The agent.';
COMMENT ON COLUMN archive_due.at IS 'When to look: at once where something came, else when a session closes.';

CREATE TABLE archive_sessions (
    session_id    text        COLLATE "C" NOT NULL,
    agent_id      text        COLLATE "C" NOT NULL,
    started_at    timestamptz NOT NULL,
    last_event_at timestamptz NOT NULL,
    last_position bigint      NOT NULL,
    object        text        NOT NULL DEFAULT '',
    stale         boolean     NOT NULL DEFAULT true,
    dirty         boolean     NOT NULL DEFAULT false,
    CONSTRAINT archive_sessions_pkey PRIMARY KEY (session_id, agent_id, started_at)
);
CREATE INDEX archive_sessions_started_at_idx ON archive_sessions (started_at);
CREATE INDEX archive_sessions_todo_idx ON archive_sessions (session_id, agent_id, started_at) WHERE stale OR dirty;
COMMENT ON TABLE archive_sessions IS 'The closed sessions that have an object of their own in the bucket, or are to have one.';
COMMENT ON COLUMN archive_sessions.session_id IS 'The session.';
COMMENT ON COLUMN archive_sessions.agent_id IS 'The agent.';
COMMENT ON COLUMN archive_sessions.started_at IS 'When it started.';
COMMENT ON COLUMN archive_sessions.last_event_at IS 'Last occurred_at of its events.';
COMMENT ON COLUMN archive_sessions.last_position IS 'The version of the session that the object is to have.';
COMMENT ON COLUMN archive_sessions.object IS 'Its name in the bucket; empty until it is written.';
COMMENT ON COLUMN archive_sessions.stale IS 'The object is not what it is to be: nobody has begun to write it.';
COMMENT ON COLUMN archive_sessions.dirty IS 'It is being written.';

-- What becomes a stub becomes one in the archive, too. A block or a session may be about
-- to be read just now: who reads it has waited for us, or we wait for him.
-- +goose StatementBegin
CREATE FUNCTION outdate_archive() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.archive FOR KEY SHARE;
    UPDATE public.archive_blocks b SET stale = true
    WHERE b.first_position = (SELECT max(n.first_position) FROM public.archive_blocks n WHERE n.first_position <= OLD.position)
      AND b.last_position >= OLD.position AND NOT b.stale;
    UPDATE public.archive_sessions s SET stale = true
    WHERE s.session_id = OLD.session_id AND s.agent_id = OLD.agent_id AND NOT s.stale;
    RETURN NULL;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION outdate_archive IS 'Notes that an event has become a stub since it was archived.';

CREATE TRIGGER events_archive_outdate AFTER UPDATE ON events FOR EACH ROW
WHEN (OLD.erasure IS NULL AND NEW.erasure IS NOT NULL)
EXECUTE FUNCTION outdate_archive();

-- +goose StatementBegin
CREATE FUNCTION outdate_archive_month() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    PERFORM FROM public.archive FOR KEY SHARE;
    -- Of a block that is being written, nobody knows yet what is in it.
    UPDATE public.archive_blocks b SET stale = true
    WHERE (b.dirty OR b.oldest_at < NEW.month + interval '1 month' AND b.newest_at >= NEW.month) AND NOT b.stale;
    UPDATE public.archive_sessions s SET stale = true
    WHERE s.started_at < NEW.month + interval '1 month' AND s.last_event_at >= NEW.month AND NOT s.stale;
    RETURN NULL;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION outdate_archive_month IS 'Notes that a month of events was dropped since it was archived.';

CREATE TRIGGER dropped_months_archive_outdate AFTER INSERT ON dropped_months FOR EACH ROW
EXECUTE FUNCTION outdate_archive_month();

-- +goose Down
DROP TRIGGER dropped_months_archive_outdate ON dropped_months;
DROP TRIGGER events_archive_outdate ON events;
DROP FUNCTION outdate_archive_month, outdate_archive;
DROP TABLE archive_sessions, archive_due, archive_garbage, archive_blocks, archive;
