package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestTheRolesAreMadeByAnAdministratorWhoIsNoSuperuser(t *testing.T) {
	t.Parallel()
	pg := newOwnPostgres(t)
	pg.exec("postgres", "DROP DATABASE rapport", "DROP ROLE rapport_owner, rapport_server, rapport_reader, rapport_eraser, rapport_sql",
		"CREATE ROLE cloud_admin LOGIN CREATEROLE CREATEDB PASSWORD 'cloud'")
	pg.admit("local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
	link := func(role, password, database string) string {
		return "postgres://" + role + ":" + password + "@127.0.0.1:" + pg.port + "/" + database + "?sslmode=disable"
	}
	sql, stderr, code := runRapport(t, []string{"db", "roles"})
	if code != 0 {
		t.Fatal(stderr)
	}
	psql := exec.Command("psql", "--no-psqlrc", "--quiet", link("cloud_admin", "cloud", "postgres"))
	psql.Stdin = strings.NewReader(sql)
	psql.Env = append(os.Environ(), "OWNER_PASSWORD=it's the owner's", "SERVER_PASSWORD=", "READER_PASSWORD=reader")
	if out, err := psql.CombinedOutput(); err == nil || !strings.Contains(string(out), "set OWNER_PASSWORD, SERVER_PASSWORD and READER_PASSWORD") {
		t.Fatalf("without a password: %v\n%s", err, out)
	}
	psql = exec.Command(psql.Args[0], psql.Args[1:]...)
	psql.Stdin = strings.NewReader(sql)
	psql.Env = append(os.Environ(), "OWNER_PASSWORD=it's the owner's", "SERVER_PASSWORD=server", "READER_PASSWORD=reader", "SQL_PASSWORD=sql's")
	if out, err := psql.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	env := []string{
		"RAPPORT_DATABASE_URL=" + link("rapport_server", "server", "rapport"),
		"RAPPORT_OWNER_DATABASE_URL=" + link("rapport_owner", "it%27s%20the%20owner%27s", "rapport"),
		"RAPPORT_SQL_DATABASE_URL=" + link("rapport_sql", "sql%27s", "rapport"),
	}
	out, stderr, code := runRapport(t, []string{"migrate"}, env...)
	if code != 0 || strings.Contains(stderr, "may not be") {
		t.Fatalf("migrate: %d %s%s", code, out, stderr)
	}
	p := serve(t, nil, env...)
	if got := p.post(chat("s", "one", float64(time.Now().Unix()))); got.Code != 200 {
		t.Errorf("got %+v", got)
	}
	p.folded("1")
	if strings.Contains(p.output(), "by triggers alone") {
		t.Errorf("the server can change events:\n%s", p.output())
	}
	t.Run("a reader sees the views and nothing else", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), link("rapport_grafana", "reader", "rapport"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		var n int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM sessions").Scan(&n); err != nil || n != 1 {
			t.Errorf("%d sessions, %v", n, err)
		}
		if _, err := conn.Exec(t.Context(), "SELECT FROM public.events"); err == nil {
			t.Error("the reader reads the log itself")
		}
	})
	t.Run("statements run, and see no more", func(t *testing.T) {
		if out, stderr, code := runRapport(t, []string{"sql", "SELECT count(*) FROM sessions"}, env...); code != 0 || !strings.Contains(out, "\n    1\n(1 row)\n") {
			t.Errorf("%d %s%s", code, out, stderr)
		}
		_, stderr, code := runRapport(t, []string{"sql", "SELECT FROM public.events"}, env...)
		oneLineError(t, stderr, code, "columns")
		_, stderr, code = runRapport(t, []string{"sql", "SELECT * FROM public.events"}, env...)
		oneLineError(t, stderr, code, "permission denied for table events [42501]")
		_, stderr, code = runRapport(t, []string{"sql", "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1"}, env...)
		oneLineError(t, stderr, code, "permission denied to create temporary tables")
		_, stderr, code = runRapport(t, []string{"sql", "SELECT 1"}, env[:2]...)
		oneLineError(t, stderr, code, "RAPPORT_SQL_DATABASE_URL")
	})
	t.Run("the server can erase", func(t *testing.T) {
		out, stderr, code := runRapport(t, []string{"erase", "--session", "s", "--yes"}, env[0])
		if code != 0 {
			t.Errorf("%d %s%s", code, out, stderr)
		}
	})
	t.Run("the doctor is content with them", func(t *testing.T) {
		out, _, _ := runRapport(t, []string{"doctor"}, env...)
		if !strings.Contains(out, "rapport_server can't change events, rapport_reader sees analytics alone") &&
			!strings.Contains(out, "every role may create what the server could call") { // on Postgres 14, where it can't be helped
			t.Errorf("doctor:\n%s", out)
		}
		if !strings.Contains(out, "the login for SQL may read analytics alone") {
			t.Errorf("doctor:\n%s", out)
		}
	})
}
