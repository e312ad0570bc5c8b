package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store"
	"rapport/store/storetest"
)

// takeNothing is a projection that writes nothing.
func takeNothing(context.Context, *store.Tx, []*rapport.Event) error { return nil }

func beginRebuild(t *testing.T, db *storetest.Database) *store.Rebuild {
	t.Helper()
	r, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// replace puts empty tables in the place of the old ones.
func replace(t *testing.T, r *store.Rebuild) error {
	t.Helper()
	if err := r.Index(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CatchUp(t.Context(), 100, takeNothing); err != nil {
		t.Fatal(err)
	}
	return r.Swap(t.Context(), rapport.DefaultSettings(), time.Second, 100, takeNothing)
}

// catalogue describes the tables and the views on them: everything of them but
// what numbers they have.
func catalogue(t *testing.T, db *storetest.Database) []string {
	t.Helper()
	return storetest.Query(t, db, "rapport_owner", pgx.RowTo[string], `
		WITH r AS (
			SELECT c.*, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE (n.nspname = 'public' AND c.relname IN ('sessions', 'session_texts', 'superseded', 'current_sessions', 'current_superseded'))
			   OR n.nspname IN ('analytics', 'mine')
		)
		SELECT format('%s.%s %s, owner %s, rights %s, options %s: %s; %s', nspname, relname, relkind, relowner::regrole,
			relacl, reloptions, obj_description(oid, 'pg_class'), CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) END)
		FROM r
		UNION ALL
		SELECT format('%s.%s.%s %s %s %s: %s', nspname, relname, attname, format_type(atttypid, atttypmod), attnotnull,
			attacl, col_description(r.oid, attnum))
		FROM r JOIN pg_attribute a ON a.attrelid = r.oid AND attnum > 0 AND NOT attisdropped
		UNION ALL
		SELECT format('%s %s', conname, pg_get_constraintdef(c.oid)) FROM r JOIN pg_constraint c ON c.conrelid = r.oid
		UNION ALL
		SELECT pg_get_indexdef(indexrelid) FROM r JOIN pg_index x ON x.indrelid = r.oid
		ORDER BY 1`)
}

func TestARebuildKeepsWhatBelongsToTheTables(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.Exec(t, "rapport_owner", `
		COMMENT ON TABLE session_texts IS 'It''s said.';
		ALTER TABLE sessions SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
		ALTER TABLE sessions ADD CONSTRAINT "odd ""name""" CHECK (event_count > 0);
		CREATE INDEX "An Index" ON sessions (lower(room_name)) WHERE rating IS NOT NULL;
		GRANT SELECT (agent_id), UPDATE (room_name) ON sessions TO rapport_reader WITH GRANT OPTION;
		GRANT DELETE ON session_texts TO PUBLIC;
		CREATE SCHEMA mine;
		CREATE VIEW mine."My View" WITH (security_barrier, check_option = cascaded) AS
			SELECT agent_id AS "The Agent", session_id, started_at FROM sessions WHERE event_count > 1;
		ALTER VIEW mine."My View" RENAME COLUMN session_id TO id;
		CREATE VIEW mine.above AS SELECT m.*, s.rating FROM mine."My View" m JOIN analytics.sessions s ON s.session_id = m.id;
		COMMENT ON VIEW mine."My View" IS 'mine';
		COMMENT ON COLUMN mine."My View".id IS 'an id';
		GRANT SELECT ON mine."My View" TO rapport_reader`)
	before := catalogue(t, db)
	if err := replace(t, beginRebuild(t, db)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, catalogue(t, db)); diff != "" {
		t.Errorf("what belongs to the tables has changed (-before +after):\n%s", diff)
	}
	t.Run("and makes the views read the new tables", func(t *testing.T) {
		db.Exec(t, "rapport_owner", `INSERT INTO sessions SELECT 'a', 's', now(), now(), now(), now(), NULL, '', 2, 0, 0, 0, 0, 0, 0,
			0, 0, 0, 0, 0, 0, 0, 0, 0, 0, false, NULL, 0, 0, 0, 0, '', '', NULL, '', 0, NULL, 1, 1, 1, NULL`)
		for _, view := range []string{"analytics.sessions", `mine."My View"`, "mine.above"} {
			if n := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int], "SELECT count(*) FROM "+view); n[0] != 1 {
				t.Errorf("%s has %d rows, want 1", view, n[0])
			}
		}
	})
}

func TestTheReaderSeesTheViewsAloneAfterARebuild(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	// What an administrator may have said of tables to come.
	db.Exec(t, "rapport_owner", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO rapport_reader")
	if err := replace(t, beginRebuild(t, db)); err != nil {
		t.Fatal(err)
	}
	for _, view := range []string{"sessions", "messages", "events"} {
		db.Exec(t, "rapport_reader", "BEGIN; LOCK TABLE analytics."+view+" IN ACCESS SHARE MODE; SELECT * FROM analytics."+view)
	}
	for _, table := range []string{"sessions", "session_texts", "superseded", "current_sessions", "current_superseded"} {
		if err := db.TryExec(t.Context(), "rapport_reader", "SELECT * FROM public."+table); err == nil {
			t.Errorf("the reader may read %s", table)
		}
	}
	if _, err := db.Append(t.Context(), []*rapport.Event{message("hello", noon)}); err != nil {
		t.Fatal(err)
	}
	db.Exec(t, "rapport_server", "DELETE FROM sessions; DELETE FROM session_texts; SELECT * FROM analytics.sessions")
}

func TestARebuildRefusesWhatItCannotCarryOver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, says string }{
		"a trigger": {`CREATE TRIGGER mine BEFORE TRUNCATE ON sessions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()`,
			"trigger mine on table"},
		"a materialized view": {"CREATE MATERIALIZED VIEW mine AS SELECT count(*) FROM sessions", "materialized view mine"},
		"a foreign key": {`CREATE TABLE mine (a text, s text, t timestamptz, FOREIGN KEY (s, a, t) REFERENCES sessions)`,
			"constraint mine_s_a_t_fkey on table mine"},
		"a function of its rows": {`CREATE FUNCTION mine(sessions) RETURNS int LANGUAGE sql AS 'SELECT 1'`, "function mine("},
		"a policy":               {"CREATE POLICY mine ON session_texts", "policy mine on table"},
		"a rule":                 {"CREATE RULE mine AS ON DELETE TO sessions DO ALSO SELECT 1", "rule mine on table"},
		"a partition":            {"CREATE TABLE mine () INHERITS (sessions)", "table mine"},
		"a column of its rows":   {"CREATE TABLE mine (s sessions)", "mine"},
		"a view of its rows":     {"CREATE VIEW mine AS SELECT s FROM sessions s", "view mine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			db.Exec(t, "rapport_owner", c.sql)
			r, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner"))
			if err == nil {
				r.Close()
				t.Fatal("it began")
			}
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v: does not name %q in one line", err, c.says)
			}
			if n := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int],
				"SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'rapport\\_%'"); n[0] != 0 {
				t.Error("it left something behind")
			}
		})
	}
}

func TestOneRebuildAtATime(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	beginRebuild(t, db)
	if _, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner")); !errors.Is(err, store.ErrRebuilding) {
		t.Errorf("a second rebuild: %v, want %v", err, store.ErrRebuilding)
	}
}

func TestWhoMayActAsTheOwnerRebuilds(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	if _, err := store.BeginRebuild(t.Context(), db.URL("rapport_server")); !errors.Is(err, store.ErrNotRollupsOwner) {
		t.Errorf("the server's role: %v, want %v", err, store.ErrNotRollupsOwner)
	}
	db.Exec(t, "postgres", "CREATE VIEW strange AS SELECT agent_id FROM sessions")
	if _, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner")); !errors.Is(err, store.ErrNotRollupsOwner) {
		t.Errorf("with a view of somebody else's: %v, want %v", err, store.ErrNotRollupsOwner)
	}
	db.Exec(t, "postgres", "DROP VIEW strange")

	member := fmt.Sprintf("rapport_test_deployer_%d", time.Now().UnixNano())
	db.Exec(t, "postgres", "CREATE ROLE "+member+" LOGIN IN ROLE rapport_owner")
	defer db.Exec(t, "postgres", "DROP ROLE "+member)
	for _, role := range []string{"postgres", member} {
		r, err := store.BeginRebuild(t.Context(), db.URL(role))
		if err != nil {
			t.Fatal(err)
		}
		before := catalogue(t, db)
		err = replace(t, r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, catalogue(t, db)); diff != "" {
			t.Errorf("after a rebuild as %s, what belongs to the tables has changed (-before +after):\n%s", role, diff)
		}
	}
}

func TestWhatHappensDuringARebuild(t *testing.T) {
	t.Parallel()
	t.Run("a server may start, and migrate", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		r := beginRebuild(t, db)
		if _, err := store.Migrate(t.Context(), db.URL("rapport_owner")); err != nil {
			t.Error(err)
		}
		if err := db.MakeWith(t.Context(), store.SessionsFollower, rapport.DefaultSettings()); err != nil {
			t.Error(err)
		}
		if err := replace(t, r); err != nil {
			t.Error(err)
		}
	})
	for name, sql := range map[string]string{
		"the tables are altered":     "ALTER TABLE sessions ADD COLUMN mine int",
		"an index is made":           "CREATE INDEX mine ON session_texts (agent_id)",
		"a trigger is made":          "CREATE TRIGGER mine BEFORE TRUNCATE ON sessions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
		"a newer rapport migrates":   "INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, true)",
		"the fresh tables disappear": "DROP SCHEMA rapport_rebuild CASCADE",
	} {
		t.Run(name+", and it gives up", func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			r := beginRebuild(t, db)
			if err := r.Index(t.Context()); err != nil {
				t.Fatal(err)
			}
			db.Exec(t, "rapport_owner", sql)
			before := catalogue(t, db)
			if err := r.Swap(t.Context(), rapport.DefaultSettings(), time.Second, 100, takeNothing); err == nil {
				t.Error("it went on")
			}
			if diff := cmp.Diff(before, catalogue(t, db)); diff != "" {
				t.Errorf("the tables have changed (-before +after):\n%s", diff)
			}
		})
	}
	t.Run("a view is made, and it reads the new tables", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		r := beginRebuild(t, db)
		db.Exec(t, "rapport_owner", "CREATE SCHEMA mine; CREATE VIEW mine.late AS SELECT agent_id FROM sessions")
		before := catalogue(t, db)
		if err := replace(t, r); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, catalogue(t, db)); diff != "" {
			t.Errorf("the views have changed (-before +after):\n%s", diff)
		}
	})
}

func TestSwapLeavesReadersAlone(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	r := beginRebuild(t, db)
	if err := r.Index(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader, err := pgx.Connect(t.Context(), db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close(context.Background()) }()
	if _, err := reader.Exec(t.Context(), "BEGIN; SELECT * FROM analytics.sessions"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = r.Swap(t.Context(), rapport.DefaultSettings(), 100*time.Millisecond, 100, takeNothing)
	if !errors.Is(err, store.ErrInUse) {
		t.Fatalf("got %v, want %v", err, store.ErrInUse)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it waited for %v", took)
	}
	users, err := r.Users(t.Context())
	if err != nil || len(users) != 1 || users[0].PID != int32(reader.PgConn().PID()) {
		t.Errorf("the users are %v, %v, want the reader %d", users, err, reader.PgConn().PID())
	}
	if _, err := reader.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := r.Swap(t.Context(), rapport.DefaultSettings(), 5*time.Second, 100, takeNothing); err != nil {
		t.Error(err)
	}
}

func TestPreparedStatementsOutliveARebuild(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	conn, err := pgx.Connect(t.Context(), db.URL("rapport_server"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for i := range 8 { // generic plans come with the sixth
		if i == 7 {
			if err := replace(t, beginRebuild(t, db)); err != nil {
				t.Fatal(err)
			}
		}
		for _, sql := range []string{
			"SELECT * FROM sessions WHERE agent_id = $1",
			"SELECT * FROM analytics.sessions WHERE agent_id = $1",
			"SELECT * FROM analytics.messages WHERE agent_id = $1",
			"DELETE FROM session_texts WHERE agent_id = $1",
		} {
			if _, err := conn.Exec(t.Context(), sql, fmt.Sprint(i)); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
}
