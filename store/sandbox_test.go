package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store"
	"rapport/store/embedpg"
	"rapport/store/storetest"
)

// secret stands in tables that the sandbox must not see.
const secret = "xyzzySECRETplugh"

func newSandbox(t *testing.T, db *storetest.Database, role string) *store.Sandbox {
	t.Helper()
	s, err := store.NewSandbox(db.URL(role), store.SandboxOptions{Restrain: embedpg.Restrain, Terminate: embedpg.Terminate})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sandboxed is a database with a session in analytics and secrets elsewhere.
func sandboxed(t *testing.T) (*storetest.Database, *store.Sandbox) {
	t.Helper()
	db := storetest.New(t)
	db.Exec(t, "rapport_server", "INSERT INTO public.audit (actor, action, subject, details) VALUES ('rapport', 'a.b', $1, '{}')", secret)
	db.Exec(t, "rapport_owner", "CREATE TABLE public.leaky (note text); INSERT INTO public.leaky VALUES ('"+secret+"'); ANALYZE public.leaky")
	db.Exec(t, "rapport_owner", "CREATE VIEW analytics.one AS SELECT 1 AS n; GRANT SELECT ON analytics.one TO rapport_sql")
	return db, newSandbox(t, db, "rapport_sql")
}

func asked(query string, params ...string) store.Statement {
	st := store.Statement{Query: query, Timeout: 20 * time.Second, Limit: 10}
	for _, p := range params {
		st.Params = append(st.Params, json.RawMessage(p))
	}
	return st
}

// shown is an answer as JSON, a row a line.
func shown(a *store.Answer) string {
	var b strings.Builder
	for row := range a.Rows() {
		for i, value := range row {
			if i > 0 {
				b.WriteString(" ")
			}
			b.Write(a.Columns[i].AppendJSON(nil, value))
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// noneLeft waits until no connection of the sandbox is left in the database, and no lock
// of one.
func noneLeft(t *testing.T, db *storetest.Database) {
	t.Helper()
	for range 200 {
		left := storetest.Query(t, db, "postgres", pgx.RowTo[int], `
			SELECT count(*) FROM pg_stat_activity a LEFT JOIN pg_locks l USING (pid)
			WHERE a.usename = 'rapport_sql' AND a.datname = current_database()`)
		if left[0] == 0 {
			return
		}
	}
	t.Error("connections of the sandbox are left")
}

func TestTheSandboxShowsValuesAsTheyAre(t *testing.T) {
	t.Parallel()
	_, sandbox := sandboxed(t)
	for _, c := range []struct {
		query  string
		params []string
		want   string
	}{
		{"SELECT 1::int2, 2, 9007199254740993, 12.50::numeric, 'NaN'::numeric, 1e300::float8, '-Infinity'::float8, -0.0::float8", nil,
			`1 2 9007199254740993 12.50 "NaN" 1e+300 "-Infinity" -0`},
		{"SELECT true, false, NULL, '', 'a \"b\" \\ é' || chr(10) || chr(1)", nil, `true false null "" "a \"b\" \\ é\n\u0001"`},
		{"SELECT timestamptz '2026-01-31 10:30:00.5+01', timestamp '2026-01-31 10:30', date '2026-01-31', interval '90 s', 'infinity'::timestamptz, timestamptz '0044-03-15 BC'", nil,
			`"2026-01-31T09:30:00.500000Z" "2026-01-31T10:30:00.000000" "2026-01-31" "00:01:30" "infinity" "0044-03-15 00:00:00+00 BC"`},
		{`SELECT '{"a": [1, 2.50],` + "\n" + ` "b": "\u0000"}'::json, '[1, null]'::jsonb, '\x00ff'::bytea, ROW(1, 'x')`, nil,
			`{"a":[1,2.50],"b":"\u0000"} [1,null] "\\x00ff" "(1,x)"`},
		{`SELECT '{1,NULL,3}'::int[], '{{a,"NULL"},{"b \"c\"","d,\\e"}}'::text[], '[2:3]={t,f}'::bool[], '{}'::int[], ARRAY['{"a": 1}'::jsonb], ARRAY[now()] IS NULL`, nil,
			`[1,null,3] [["a","NULL"],["b \"c\"","d,\\e"]] [true,false] [] [{"a":1}] false`},
		{"SELECT $1 + 1, $2::text, $3::bool, $4::int IS NULL, $5::text[], $6::jsonb, $7::timestamptz, $8::int[]",
			[]string{"41", `"it's \u00e9"`, "true", "null", `["a", null, "b\"\\", "NULL"]`, `{"k": ["v"]}`, `"2026-01-01T00:00:00Z"`, "[[1,2],[3,4]]"},
			`42 "it's é" true true ["a",null,"b\"\\","NULL"] {"k":["v"]} "2026-01-01T00:00:00.000000Z" [[1,2],[3,4]]`},
		{"SELECT count(*) FROM sessions", nil, "0"},
		{"SELECT current_user, session_user", nil, `"rapport_sql" "rapport_sql"`},
		{"SHOW transaction_read_only", nil, `"on"`},
		{"VALUES (1), (2)", nil, "1\n2"},
	} {
		answer, err := sandbox.Run(t.Context(), asked(c.query, c.params...))
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		if got := shown(answer); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.query, got, c.want)
		}
	}
	answer, err := sandbox.Run(t.Context(), asked("SELECT 1 AS a, 'x' AS b, 3 AS a, now() AS t, ARRAY[1] AS l"))
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	for _, c := range answer.Columns {
		columns = append(columns, c.Name+" "+c.Type)
	}
	if got := strings.Join(columns, ", "); got != "a integer, b text, a integer, t timestamp with time zone, l integer[]" {
		t.Errorf("columns: %s", got)
	}
}

func TestTheSandboxBoundsAnAnswer(t *testing.T) {
	t.Parallel()
	_, sandbox := sandboxed(t)
	for _, c := range []struct {
		name, query string
		limit, rows int
		truncated   bool
	}{
		{"as many rows as it may have", "SELECT generate_series(1, 10)", 10, 10, false},
		{"one more", "SELECT generate_series(1, 11)", 10, 10, true},
		{"no end of them", "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r", 50_000, 50_000, true},
		{"large ones", "SELECT repeat('x', 1000000) FROM generate_series(1, 1000000)", 50_000, 16, true},
		{"none", "SELECT 1 WHERE false", 10, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answer, err := sandbox.Run(t.Context(), store.Statement{Query: c.query, Timeout: 20 * time.Second, Limit: c.limit})
			if err != nil || answer.RowCount != c.rows || answer.Truncated != c.truncated {
				t.Errorf("%+v, %v", answer, err)
			}
		})
	}
	for name, query := range map[string]string{
		"a row":    "SELECT repeat('x', 17000000)",
		"an error": "SELECT repeat('x', 17000000)::integer",
	} {
		t.Run(name+" that is larger than an answer", func(t *testing.T) {
			t.Parallel()
			_, err := sandbox.Run(t.Context(), asked(query))
			if wrong, ok := errors.AsType[*store.StatementError](err); !ok || !strings.Contains(wrong.Message, "more than 16777216 bytes") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAWrongStatementIsToldWhatAndWhere(t *testing.T) {
	t.Parallel()
	_, sandbox := sandboxed(t)
	for query, want := range map[string]store.StatementError{
		"SELECT 'é', nothing":                    {SQLState: "42703", Message: `column "nothing" does not exist`, Position: 13},
		"SELEC 1":                                {SQLState: "42601", Message: `syntax error at or near "SELEC"`, Position: 1},
		"SELECT 1; SELECT 2":                     {SQLState: "42601", Message: "cannot insert multiple commands into a prepared statement"},
		"SELECT lowr('A')":                       {SQLState: "42883", Message: "function lowr(unknown) does not exist", Position: 8, Hint: "No function matches the given name and argument types. You might need to add explicit type casts."},
		"SELECT $1::int":                         {Message: "the statement has 1 parameters, and params has 0"},
		"SELECT 1/0":                             {SQLState: "22012", Message: "division by zero"},
		"":                                       {Message: "the statement has no columns to answer with: only what returns rows is run, such as SELECT, WITH, VALUES, EXPLAIN and SHOW"},
		"SELECT 1\x00; DROP TABLE public.events": {Message: "the query holds the character U+0000"},
	} {
		_, err := sandbox.Run(t.Context(), asked(query))
		if got, ok := errors.AsType[*store.StatementError](err); !ok || *got != want {
			t.Errorf("%q: %+v, want %+v", query, err, want)
		}
	}
}

func TestAStatementEndsWithItsTimeAndWithWhoAsked(t *testing.T) {
	t.Parallel()
	db, sandbox := sandboxed(t)
	t.Run("its time is over", func(t *testing.T) {
		for _, query := range []string{
			"SELECT pg_sleep(60)",
			"SELECT count(*) FROM generate_series(1, 100000000000)",
			"SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
			"SELECT xmlelement(name x, query_to_xml('SELECT pg_sleep(60)', true, true, ''))",
		} {
			t.Run(query, func(t *testing.T) {
				t.Parallel()
				st := asked(query)
				st.Timeout = 50 * time.Millisecond
				started := time.Now()
				if _, err := sandbox.Run(t.Context(), st); !errors.Is(err, store.ErrStatementTimeout) || time.Since(started) > 10*time.Second {
					t.Errorf("%v after %v", err, time.Since(started))
				}
			})
		}
	})
	t.Run("who asked leaves", func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := sandbox.Run(ctx, asked("SELECT pg_sleep(61), 'mine'"))
			ended <- err
		}()
		isRunning := func() bool {
			return storetest.Query(t, db, "postgres", pgx.RowTo[bool], `SELECT EXISTS (SELECT FROM pg_stat_activity
				WHERE datname = current_database() AND usename = 'rapport_sql' AND state = 'active' AND query LIKE '%mine%')`)[0]
		}
		for !isRunning() {
		}
		leave()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for isRunning() {
		}
	})
	noneLeft(t, db)
}

func TestOnlySoManyStatementsRunAtOnce(t *testing.T) {
	t.Parallel()
	db, sandbox := sandboxed(t)
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan error)
	for range 4 {
		go func() {
			_, err := sandbox.Run(ctx, asked("SELECT pg_sleep(61)"))
			ended <- err
		}()
	}
	running := func() int {
		return storetest.Query(t, db, "postgres", pgx.RowTo[int], `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND usename = 'rapport_sql' AND query LIKE '%pg_sleep%' AND state = 'active'`)[0]
	}
	for running() < 4 {
	}
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := sandbox.Run(short, asked("SELECT 1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a fifth: %v", err)
	}
	leave()
	for range 4 {
		<-ended
	}
	if answer, err := sandbox.Run(t.Context(), asked("SELECT 1")); err != nil || shown(answer) != "1" {
		t.Errorf("after them: %v", err)
	}
	noneLeft(t, db)
}

func TestALoginThatMayDoMoreIsRefused(t *testing.T) {
	t.Parallel()
	db, sandbox := sandboxed(t)
	if err := sandbox.Check(t.Context()); err != nil {
		t.Error(err)
	}
	for role, says := range map[string]string{
		"postgres":       "it has SUPERUSER",
		"rapport_owner":  "it is a member of",
		"rapport_server": "it is a member of rapport_eraser",
		"nobody_at_all":  "it can't connect",
	} {
		unsafe := newSandbox(t, db, role)
		for _, err := range []error{unsafe.Check(t.Context()), run(t, unsafe)} {
			if !errors.Is(err, store.ErrSandboxUnsafe) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v, want %q", role, err, says)
			}
		}
	}
	for grant, says := range map[string]string{
		"GRANT SELECT (note) ON public.leaky TO rapport_sql":                                                    "it has rights on public.leaky",
		"GRANT UPDATE ON analytics.one TO rapport_sql":                                                          "it has rights on analytics.one",
		"CREATE FUNCTION public.f() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'":                    "it may call public.f",
		"REVOKE SELECT ON analytics.sessions FROM rapport_sql; REVOKE SELECT ON analytics.sessions FROM PUBLIC": "it can't read the schema analytics",
	} {
		db := storetest.New(t)
		db.Exec(t, "rapport_owner", "CREATE TABLE public.leaky (note text); CREATE VIEW analytics.one AS SELECT 1 AS n")
		db.Exec(t, "rapport_owner", grant)
		if err := newSandbox(t, db, "rapport_sql").Check(t.Context()); !errors.Is(err, store.ErrSandboxUnsafe) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", grant, err, says)
		}
	}
}

func run(t *testing.T, s *store.Sandbox) error {
	_, err := s.Run(t.Context(), asked("SELECT 1"))
	return err
}
