-- Who did what with rights that not everybody has. There is no way down: it would
-- lose what was recorded.

-- +goose Up
CREATE TABLE audit (
    id      bigint      GENERATED ALWAYS AS IDENTITY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor   text        NOT NULL,
    action  text        NOT NULL,
    subject text        NOT NULL,
    details jsonb       NOT NULL,
    CONSTRAINT audit_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE audit IS 'Uses of rights that not everybody has, append-only.';
COMMENT ON COLUMN audit.id IS 'Number of the entry.';
COMMENT ON COLUMN audit.at IS 'When, by the clock of the database.';
COMMENT ON COLUMN audit.actor IS 'Who: key:<name> over HTTP, cli:<user of the machine> from the command line, rapport by itself.';
COMMENT ON COLUMN audit.action IS 'What, as noun.verb: key.create, source.rotate, session.erase, sql.query.';
COMMENT ON COLUMN audit.subject IS 'To what; never a secret, never what was erased.';
COMMENT ON COLUMN audit.details IS 'More of it: counts, scopes, errors; never a secret.';

-- +goose StatementBegin
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION refuse_audit_change IS 'Guards the audit, also from whoever owns it.';

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
