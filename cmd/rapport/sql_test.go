package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"rapport/store/storetest"
)

func TestAStatementFromTheTerminal(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := []string{"RAPPORT_DATABASE_URL=" + db.URL("rapport_server"), "RAPPORT_SQL_DATABASE_URL=" + db.URL("rapport_sql")}
	ask := func(args ...string) (out, stderr string, code int) {
		return runRapport(t, append([]string{"sql", "--data-dir", dataDir(t)}, args...), env...)
	}
	const query = "SELECT n, 'a' || n AS name, NULLIF(n, 2) AS \"not 2\" FROM generate_series(9, 10) n"
	for format, want := range map[string]string{
		"table":  " n  name  not 2\n 9  a9        9\n10  a10      10\n(2 rows)\n",
		"csv":    "n,name,not 2\n9,a9,9\n10,a10,10\n",
		"ndjson": "{\"n\":9,\"name\":\"a9\",\"not 2\":9}\n{\"n\":10,\"name\":\"a10\",\"not 2\":10}\n",
	} {
		if out, stderr, code := ask("--format", format, query); code != 0 || out != want {
			t.Errorf("%s: %d %s\n%s", format, code, stderr, out)
		}
	}
	out, _, _ := ask("--format", "json", "--param", "7", "SELECT $1::int + 1 AS n")
	var answer struct{ Rows [][]int }
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Rows) != 1 || answer.Rows[0][0] != 8 {
		t.Errorf("%v in %s", err, out)
	}
	if out, stderr, _ := ask("--limit", "1", query); !strings.Contains(out, "(1 row)") || !strings.Contains(stderr, "more rows than these 1") {
		t.Errorf("%s%s", out, stderr)
	}
	if out, _, _ := ask("--tables"); !strings.Contains(out, "sessions") || !strings.Contains(out, "A row per session") {
		t.Errorf("the tables:\n%s", out)
	}
	if out, _, _ := ask("--table", "sessions"); !strings.Contains(out, "started_at") || !strings.Contains(out, "First occurred_at.") {
		t.Errorf("the columns:\n%s", out)
	}
	for says, args := range map[string][]string{
		`column "nothing" does not exist (at character 8)`: {"SELECT nothing"},
		"took longer than it may":                          {"--timeout", "10ms", "SELECT pg_sleep(60)"},
		"--limit must be 1 to 50000":                       {"--limit", "0", "SELECT 1"},
		"--timeout must be":                                {"--timeout", "61s", "SELECT 1"},
		"write a statement":                                {},
	} {
		_, stderr, code := ask(args...)
		oneLineError(t, stderr, code, says)
	}
	out, _, _ = runRapport(t, []string{"audit", "list", "--action", "sql.query", "--limit", "1000"}, env[0])
	if !strings.Contains(out, "SELECT pg_sleep(60)") || !strings.Contains(out, `"outcome":"timeout"`) || !strings.Contains(out, "cli:") {
		t.Errorf("the audit:\n%s", out)
	}
}

func TestAServerWithItsOwnPostgresRunsStatements(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := serve(t, []string{"--data-dir", dir})
	if got := p.post(chat("s", "private words", float64(time.Now().Unix()))); got.Code != 200 {
		t.Fatalf("got %+v", got)
	}
	if out, stderr, code := runRapport(t, []string{"sql", "--data-dir", dir, "SELECT text FROM messages"}); code != 0 || !strings.Contains(out, "private words\n(1 row)") {
		t.Errorf("%d %s%s", code, out, stderr)
	}
	if out, stderr, code := runRapport(t, []string{"sql", "--data-dir", dir, "SELECT pg_advisory_lock(1)"}); code == 0 {
		t.Errorf("an advisory lock is to be had: %s%s", out, stderr)
	}
	if out, stderr, code := runRapport(t, []string{"sql", "--data-dir", dir, "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1"}); code == 0 {
		t.Errorf("a temporary table is to be had: %s%s", out, stderr)
	}
	// What is taken from everybody here is not taken elsewhere.
	if out, stderr, code := runRapport(t, []string{"db", "exec", "--data-dir", dir, "--", "pg_dump", "--schema-only"}); code != 0 || strings.Contains(out, "FUNCTION pg_catalog.") {
		t.Errorf("a dump has functions of Postgres: %d %s", code, stderr)
	}
	p.terminate()
	if strings.Contains(p.output(), "runs no statement") || strings.Contains(p.output(), "private words") {
		t.Errorf("the log:\n%s", p.output())
	}
	// And without a server.
	if out, stderr, code := runRapport(t, []string{"sql", "--data-dir", dir, "SELECT count(*) FROM events"}); code != 0 || !strings.Contains(out, "1\n(1 row)") {
		t.Errorf("%d %s%s", code, out, stderr)
	}
}
