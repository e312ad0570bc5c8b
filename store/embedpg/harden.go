package embedpg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// sandboxSettings hold the statements of rapport_sql. A statement can change the first
// of them for itself, with as much right as any role; the others only a superuser can.
var sandboxSettings = [][2]string{
	{"default_transaction_read_only", "on"},
	{"statement_timeout", "61s"},
	{"idle_in_transaction_session_timeout", "5s"},
	{"lock_timeout", "5s"},
	{"work_mem", "16MB"},
	{"max_parallel_workers_per_gather", "0"},
	{"search_path", "pg_catalog, analytics, pg_temp"},

	{"temp_file_limit", "1GB"},
	// What is asked may repeat what was said to an avatar: the audit has it, no log.
	{"log_statement", "none"},
	{"log_min_duration_statement", "-1"},
	{"log_min_error_statement", "panic"},
	{"log_min_messages", "fatal"},
}

// provideSandbox makes the role that runs the statements of others: a member of
// nothing, with rights on the schema analytics alone, which the migrations give it.
func provideSandbox(ctx context.Context, conn *pgx.Conn) error {
	err := unless(ctx, conn, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", roleSQL, "CREATE ROLE "+roleSQL)
	if err != nil {
		return fmt.Errorf("creating the role %s: %w", roleSQL, err)
	}
	// Each time, for a migration as a superuser makes it, too, but without a login.
	statements := []string{"ALTER ROLE " + roleSQL + " LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"}
	for _, setting := range sandboxSettings {
		value := "'" + setting[1] + "'"
		if setting[0] == "search_path" { // a list
			value = setting[1]
		}
		statements = append(statements, "ALTER ROLE "+roleSQL+" SET "+setting[0]+" = "+value)
	}
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("setting up the role %s: %w", roleSQL, err)
		}
	}
	return nil
}

// hardenPatience is for how long Harden may take, on a machine that has much to do.
const hardenPatience = 30 * time.Second

// Harden takes from a database of the cluster what every role may do in a new one, and
// rapport_sql must not: hold advisory locks, which the server goes by, as many as the
// lock table has room for; write large objects and WAL, which no rollback takes
// back from the disk; change its own limits; see and end what its other connections do.
// Repeating it changes nothing.
func (s *Server) Harden(ctx context.Context, database string) error {
	ctx, cancel := context.WithTimeout(ctx, hardenPatience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.endpoint.urlOf(roleSuper, database))
	if err != nil {
		return fmt.Errorf("connecting to the database %s: %w", database, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, hardening); err != nil {
		return fmt.Errorf("taking rights from everybody in the database %s: %w", database, err)
	}
	return nil
}

// hardening keeps what it does out of dumps, which are for other clusters as well: what
// pg_init_privs has is taken for how Postgres itself was made.
const hardening = `
DO $$
DECLARE
    f record;
    readers constant text[] := ARRAY['set_config', 'pg_cancel_backend', 'pg_terminate_backend', 'pg_stat_get_activity', 'pg_stat_get_backend_activity'];
BEGIN
    FOR f IN
        SELECT p.oid, p.oid::regprocedure AS signature, p.proname
        FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE')
          AND (p.proname ~ '^(pg_advisory_|pg_try_advisory_|lo_)' OR p.proname = ANY (readers)
               OR p.proname IN ('loread', 'lowrite', 'pg_notify', 'pg_export_snapshot', 'pg_logical_emit_message'))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f.signature);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO rapport_owner, rapport_server, rapport_eraser', f.signature);
        IF f.proname::text = ANY (readers) THEN -- tools set and see such things when they connect
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO rapport_reader', f.signature);
        END IF;
        DELETE FROM pg_init_privs WHERE objoid = f.oid AND classoid = 'pg_proc'::regclass AND objsubid = 0;
        INSERT INTO pg_init_privs (objoid, classoid, objsubid, privtype, initprivs)
        SELECT oid, 'pg_proc'::regclass, 0, 'i', proacl FROM pg_proc WHERE oid = f.oid;
    END LOOP;
    IF has_database_privilege('public', current_database(), 'TEMPORARY') THEN
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO rapport_server, rapport_reader', current_database());
    END IF;
END $$`
