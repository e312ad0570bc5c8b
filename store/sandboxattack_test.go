package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store"
	"rapport/store/storetest"
)

// What may come of an attack.
const (
	denied   = "42501" // for want of a right
	notRun   = ""      // it has no columns, and so is not even begun
	readOnly = "25006"
	unknown  = "42883" // there is no such function
	noMemory = "53200"
	overLate = "late" // it takes as long as it may
	harmless = "harmless"
)

// attacks are what the sandbox must refuse or bear. What is harmless shows nothing of
// other tables, and nothing of it is left.
var attacks = []struct{ query, outcome string }{
	// Other schemas, and ways around.
	{"SELECT * FROM public.events", denied},
	{"SELECT * FROM public.audit", denied},
	{"SELECT * FROM public.leaky", denied},
	{"SELECT secret FROM public.source_secrets", denied},
	{"SELECT hash FROM public.keys", denied},
	{"SELECT * FROM public.signin_secret", denied},
	{"TABLE public.goose_db_version", denied},
	{"SELECT note FROM analytics.one, public.leaky", denied},
	{"SELECT * FROM public.leaky FOR UPDATE", readOnly},
	{"WITH x AS MATERIALIZED (SELECT * FROM public.leaky) SELECT count(*) FROM x", denied},
	{"SELECT (SELECT note FROM public.leaky LIMIT 1)::integer", denied},
	{"EXPLAIN ANALYZE SELECT * FROM public.leaky", denied},
	{"SELECT query_to_xml('SELECT * FROM public.leaky', true, true, '')", denied},
	{"SELECT table_to_xml('public.leaky'::regclass, true, true, '')", denied},
	{"SELECT database_to_xml(true, true, '')", harmless},
	{"SELECT schema_to_xml('public', true, true, '')", harmless},
	{"SELECT cursor_to_xml('c', 10, true, true, '')", "34000"},
	{"SELECT query_to_xml('SELECT set_config(''role'', ''rapport_server'', false)', true, true, ''), query_to_xml('SELECT * FROM public.leaky', true, true, '')", denied},
	{"SELECT query_to_xml($$SELECT query_to_xml('SELECT note FROM public.leaky', true, true, '')$$, true, true, '')", denied},
	{"SELECT * FROM ts_stat('SELECT to_tsvector(note) FROM public.leaky')", denied},
	{"SELECT * FROM pg_temp.leaky", "42P01"},

	// Other roles.
	{"SET ROLE rapport_server", notRun},
	{"SET SESSION AUTHORIZATION postgres", notRun},
	{"RESET ROLE", notRun},
	{"SELECT set_config('role', 'rapport_server', false)", denied},
	{"SELECT set_config('session_authorization', 'postgres', false)", denied},
	{"SELECT set_config('transaction_read_only', 'off', false)", denied},
	{"SELECT set_config('default_transaction_read_only', 'off', false)", denied},
	{"SELECT set_config('statement_timeout', '0', false), pg_sleep(60)", denied},
	{"SELECT set_config('temp_file_limit', '-1', false)", denied},
	{"SELECT set_config('work_mem', '100GB', false)", denied},
	{"SELECT U&\"set\\005Fconfig\"('role', 'rapport_server', false)", denied},
	{"UPDATE pg_settings SET setting = 'off' WHERE name = 'transaction_read_only' RETURNING *", "0A000"},
	{"SET default_transaction_read_only = off", notRun},
	{"SET TRANSACTION READ WRITE", notRun},
	{"GRANT rapport_server TO rapport_sql", notRun},
	{"ALTER ROLE rapport_sql SUPERUSER", notRun},
	{"CREATE ROLE friend SUPERUSER", notRun},

	// Catalogues that tell secrets.
	{"SELECT * FROM pg_authid", denied},
	{"SELECT * FROM pg_shadow", denied},
	{"SELECT * FROM pg_hba_file_rules", denied},
	{"SELECT * FROM pg_file_settings", denied},
	{"SELECT * FROM pg_user_mapping", denied},
	{"SELECT * FROM pg_statistic", denied},
	{"SELECT * FROM pg_statistic_ext_data", denied},
	{"SELECT * FROM pg_largeobject", denied},
	{"SELECT * FROM pg_subscription", denied},
	{"SELECT query FROM pg_stat_activity", denied},
	{"SELECT pg_stat_get_activity(NULL)", denied},
	{"SELECT pg_stat_get_backend_activity(n) FROM generate_series(1, 100) n", denied},
	{"SELECT * FROM pg_stats WHERE tablename IN ('leaky', 'audit', 'events')", harmless},
	{"SELECT most_common_vals::text FROM pg_stats WHERE schemaname = 'public'", harmless},
	{"SELECT setting FROM pg_settings WHERE name IN ('data_directory', 'hba_file', 'config_file', 'primary_conninfo')", harmless},
	{"SHOW data_directory", denied},
	{"SHOW hba_file", denied},
	{"SELECT current_setting('hba_file')", denied},
	{"SELECT prosrc FROM pg_proc WHERE prosrc LIKE '%SECRET%'", harmless},
	{"SELECT rolname, rolpassword FROM pg_roles", harmless},
	{"SELECT umoptions FROM pg_user_mappings", harmless},

	// Files, programs, other servers.
	{"SELECT pg_read_file('/etc/passwd')", denied},
	{"SELECT pg_read_binary_file('/etc/passwd')", denied},
	{"SELECT pg_ls_dir('/')", denied},
	{"SELECT pg_stat_file('/etc/passwd')", denied},
	{"SELECT * FROM pg_ls_logdir()", denied},
	{"SELECT * FROM pg_ls_waldir()", denied},
	{"SELECT * FROM pg_ls_tmpdir()", denied},
	{"SELECT pg_current_logfile()", denied},
	{"COPY (SELECT 1) TO PROGRAM 'touch /tmp/never'", notRun},
	{"COPY (SELECT 1) TO '/tmp/never'", notRun},
	{"COPY (SELECT 1) TO STDOUT", notRun},
	{"COPY public.leaky FROM PROGRAM 'id'", notRun},
	{"CREATE EXTENSION dblink", notRun},
	{"SELECT * FROM dblink('dbname=postgres user=postgres', 'SELECT 1') AS t(n int)", unknown},
	{"CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw", notRun},
	{"LOAD '/tmp/never.so'", notRun},
	{"CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/lib/libc.so.6', 'system'", notRun},
	{"SELECT xmlparse(document '<!DOCTYPE a [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><a>&e;</a>')::text LIKE '%root:%'", harmless},

	// Large objects, which no rollback takes off the disk.
	{"SELECT lo_import('/etc/passwd')", denied},
	{"SELECT lo_export(1, '/tmp/never')", denied},
	{"SELECT lo_create(0)", denied},
	{"SELECT lo_creat(-1)", denied},
	{"SELECT lo_from_bytea(0, 'x')", denied},
	{"SELECT lo_put(1, 0, 'x')", denied},
	{"SELECT lo_unlink(1)", denied},
	{"SELECT lo_open(1, 131072)", denied},
	{"SELECT lowrite(0, 'x')", denied},

	// What changes something.
	{"INSERT INTO analytics.sessions (agent_id) VALUES ('x') RETURNING *", denied},
	{"UPDATE analytics.events SET message = 'x' RETURNING position", denied},
	{"DELETE FROM analytics.events RETURNING position", denied},
	{"DELETE FROM public.events", notRun},
	{"WITH gone AS (DELETE FROM public.events RETURNING *) SELECT count(*) FROM gone", readOnly},
	{"WITH new AS (INSERT INTO public.leaky VALUES ('x') RETURNING *) SELECT * FROM new", readOnly},
	{"MERGE INTO public.leaky USING analytics.one ON true WHEN MATCHED THEN DELETE", notRun},
	{"SELECT public.append_events(NULL, NULL)", unknown},
	{"TRUNCATE public.events", notRun},
	{"CREATE TEMP TABLE t (n int)", notRun},
	{"SELECT 1 AS n INTO TEMP t", notRun},
	{"CREATE TEMP TABLE t AS SELECT 1 AS n", notRun},
	{"EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1 AS n", denied},
	{"SELECT query_to_xml('CREATE TEMP TABLE t (n int)', true, true, '')", "0A000"},
	{"CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", notRun},
	{"CREATE SCHEMA mine", notRun},
	{"DO $$BEGIN PERFORM pg_sleep(60); END$$", notRun},
	{"CALL nothing()", "42883"},
	{"SELECT nextval('public.audit_id_seq')", denied},
	{"SELECT setval('public.audit_id_seq', 1)", denied},
	{"SELECT currval('public.audit_id_seq')", denied},
	{"NOTIFY rapport_log", notRun},
	{"SELECT pg_notify('rapport_log', 'x')", denied},
	{"LISTEN rapport_log", notRun},
	{"SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000))", denied},
	{"SELECT pg_create_logical_replication_slot('s', 'test_decoding')", denied},
	{"SELECT pg_create_physical_replication_slot('s')", denied},
	{"SELECT pg_switch_wal()", denied},
	{"SELECT pg_reload_conf()", denied},
	{"SELECT pg_rotate_logfile()", denied},
	{"SELECT pg_promote()", denied},
	{"SELECT pg_stat_reset()", denied},
	{"SELECT pg_export_snapshot()", denied},
	{"SELECT pg_current_xact_id() IS NULL FROM generate_series(1, 100)", harmless},
	{"VACUUM", notRun},
	{"ANALYZE", notRun},
	{"CHECKPOINT", notRun},
	{"REINDEX TABLE public.events", notRun},
	{"REFRESH MATERIALIZED VIEW x", notRun},
	{"ALTER SYSTEM SET fsync = off", notRun},
	{"COMMENT ON VIEW analytics.sessions IS 'mine'", notRun},
	{"SECURITY LABEL ON ROLE rapport_sql IS 'x'", notRun},

	// What runs with the rights of its owner.
	{"SELECT * FROM timeseries('sessions', now() - interval '1 day', now(), 'hour', 'UTC''; SELECT note FROM public.leaky')", "22023"},
	{"SELECT * FROM timeseries('note FROM public.leaky --', now() - interval '1 day', now())", "22023"},
	{"SELECT * FROM timeseries('sessions', '4713-01-01 BC', '294276-12-31', 'month')", "22023"},
	{"SELECT * FROM timeseries('sessions', '4713-01-01 BC', '294276-12-31', 'auto')", "22023"},
	{"SELECT * FROM breakdown('sessions', 'note', now() - interval '1 day', now())", "22023"},
	{"SELECT * FROM stats(now() - interval '1 day', now(), (SELECT note FROM public.leaky))", denied},
	{"SELECT public.move_horizon(NULL, NULL)", unknown},

	// Others' connections, and locks that others go by.
	{"SELECT pg_terminate_backend(pid) FROM generate_series(1, 100) pid", denied},
	{"SELECT pg_cancel_backend(pid) FROM generate_series(1, 100) pid", denied},
	{"SELECT pg_log_backend_memory_contexts(pg_backend_pid())", denied},
	{"SELECT pg_advisory_lock(hashtextextended('rapport rebuild', 0))", denied},
	{"SELECT pg_advisory_lock(n) FROM generate_series(1, 10000000) n", denied},
	{"SELECT pg_try_advisory_lock(1)", denied},
	{"SELECT pg_advisory_xact_lock_shared(1, 2)", denied},
	{"SELECT pg_advisory_unlock_all()", denied},
	{"SELECT query_to_xml('SELECT pg_advisory_lock(1)', true, true, '')", denied},
	{"LOCK TABLE analytics.sessions", notRun},
	{"LOCK TABLE analytics.sessions IN ACCESS SHARE MODE", notRun},

	// The transaction, the session, and more than one statement.
	{"SELECT 1; DROP TABLE public.events", "42601"},
	{"SELECT 1; SELECT 2", "42601"},
	{"COMMIT; SELECT 1", "42601"},
	{"COMMIT", notRun},
	{"COMMIT AND CHAIN", notRun},
	{"ROLLBACK", notRun},
	{"ROLLBACK AND CHAIN", notRun},
	{"BEGIN", notRun},
	{"START TRANSACTION READ WRITE", notRun},
	{"SAVEPOINT s", notRun},
	{"PREPARE TRANSACTION 'x'", notRun},
	{"PREPARE p AS SELECT 1", notRun},
	{"EXECUTE p", notRun},
	{"EXECUTE rapport_statement", notRun},
	{"EXPLAIN EXECUTE rapport_statement", harmless}, // itself, which has no end, or only once
	{"DEALLOCATE ALL", notRun},
	{"DISCARD ALL", notRun},
	{"DECLARE c CURSOR FOR SELECT 1", notRun},
	{"DECLARE c CURSOR WITH HOLD FOR SELECT 1", notRun},
	{"FETCH ALL FROM c", notRun},
	{"SET search_path = public", notRun},

	// Time, memory, disk.
	{"SELECT pg_sleep(61)", overLate},
	{"SELECT count(*) FROM generate_series(1, 1000000000000)", overLate},
	{"WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r", overLate},
	{"SELECT count(*) FROM pg_class a, pg_class b, pg_class c, pg_class d", overLate},
	{"SELECT 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' ~ '(((a*)*)*)*(b|c)\\1', pg_sleep(61)", overLate},
	{"SELECT repeat('x', 1000000000)", noMemory},
	{"SELECT repeat('x', 1000000000) || repeat('y', 1000000000), repeat('z', 1000000000)", noMemory},
	{"SELECT length(string_agg(repeat('x', 100000000), '')) FROM generate_series(1, 9)", noMemory},
	{"SELECT array_agg(repeat('x', 100000000)) FROM generate_series(1, 9)", noMemory},
	{"SELECT length(json_agg(repeat('x', 100000000))::text) FROM generate_series(1, 9)", noMemory},
	{"SELECT lpad('', 1000000000), rpad('', 1000000000)", "54000"},
	{"SELECT repeat('x', 600000000)::integer", noMemory},
	{"SELECT format('%s%s', repeat('x', 600000000), 1)", noMemory},
}

func TestEveryAttackIsRefusedOrHarmless(t *testing.T) {
	t.Parallel()
	db, restrained := sandboxed(t)
	sandbox, err := store.NewSandbox(db.URL("rapport_sql"), store.SandboxOptions{}) // which others on this machine don't slow
	if err != nil {
		t.Fatal(err)
	}
	// As the private Postgres and `rapport db roles` have it; a copy of a database does not.
	db.Exec(t, "postgres", "DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$")
	before := storetest.Query(t, db, "postgres", pgx.RowTo[string], settled)
	for _, a := range attacks {
		statement := asked(a.query)
		if a.outcome == overLate {
			statement.Timeout = 10 * time.Millisecond
		}
		runner := sandbox
		if a.outcome == noMemory {
			runner = restrained
		}
		answer, err := runner.Run(t.Context(), statement)
		wrong, isWrong := errors.AsType[*store.StatementError](err)
		switch {
		case answer != nil && strings.Contains(shown(answer), secret), err != nil && strings.Contains(err.Error(), secret):
			t.Errorf("%s: it shows the secret", a.query)
		case a.outcome == overLate && !errors.Is(err, store.ErrStatementTimeout),
			a.outcome == harmless && err != nil && !isWrong,
			a.outcome != harmless && a.outcome != overLate && (!isWrong || wrong.SQLState != a.outcome):
			t.Errorf("%s: %+v, want %q", a.query, err, a.outcome)
		}
	}
	noneLeft(t, db)
	if after := storetest.Query(t, db, "postgres", pgx.RowTo[string], settled); after[0] != before[0] {
		t.Errorf("something is left:\n%s\nwas\n%s", after[0], before[0])
	}
	if answer, err := sandbox.Run(t.Context(), asked("SELECT n FROM one")); err != nil || shown(answer) != "1" {
		t.Errorf("an honest statement: %v", err)
	}
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("the server's own connections: %v", err)
	}
}

// settled is what an attack could leave behind in a database, besides a connection.
const settled = `SELECT format('%s relations, %s functions, %s large objects, %s prepared, %s slots, %s advisory locks, %s rows, roles %s, settings %s',
	(SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_largeobject_metadata),
	(SELECT count(*) FROM pg_prepared_xacts), (SELECT count(*) FROM pg_replication_slots),
	(SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory' AND datname = current_database()),
	(SELECT count(*) FROM public.leaky), (SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolsuper),
	(SELECT setrole::regrole || setconfig::text FROM pg_db_role_setting WHERE setrole = 'rapport_sql'::regrole))`

func TestTheSandboxReadsAllOfAnalytics(t *testing.T) {
	t.Parallel()
	db, sandbox := sandboxed(t)
	tables := storetest.Query(t, db, "rapport_owner", pgx.RowTo[string],
		"SELECT relname::text FROM pg_class WHERE relnamespace = 'analytics'::regnamespace AND relkind IN ('r', 'v', 'm') ORDER BY 1")
	for _, table := range tables {
		if _, err := sandbox.Run(t.Context(), asked("SELECT * FROM "+table+" LIMIT 1")); err != nil {
			t.Errorf("%s: %v", table, err)
		}
	}
	if _, err := sandbox.Run(t.Context(), asked("SELECT * FROM timeseries('sessions', now() - interval '1 day', now())")); err != nil {
		t.Error(err)
	}
	if len(tables) < 5 {
		t.Errorf("tables: %v", tables)
	}
	// A function that runs with the rights of its owner finds what it names, whoever calls it.
	loose := storetest.Query(t, db, "rapport_owner", pgx.RowTo[string], `
		SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'analytics'::regnamespace AND p.prosecdef
		AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)`)
	if len(loose) > 0 {
		t.Errorf("these have no search_path of their own: %v", loose)
	}
}

func TestWhatTheSandboxRunsIsInNoLogOfPostgres(t *testing.T) {
	t.Parallel()
	db, sandbox := sandboxed(t)
	got := storetest.Query(t, db, "rapport_sql", pgx.RowTo[string],
		"SELECT current_setting('log_statement') || current_setting('log_min_error_statement') || current_setting('log_min_messages')")
	if got[0] != "nonepanicfatal" {
		t.Errorf("the log has statements of the sandbox: %s", got[0])
	}
	answer, err := sandbox.Run(t.Context(), asked("SHOW temp_file_limit"))
	if err != nil || shown(answer) != `"1GB"` {
		t.Errorf("temporary files are not bounded: %v", err)
	}
}
