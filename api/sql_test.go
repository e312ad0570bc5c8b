package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rapport/store"
	"rapport/store/embedpg"
	"rapport/store/storetest"
)

func sandboxOf(t testing.TB, url string) *store.Sandbox {
	t.Helper()
	sandbox, err := store.NewSandbox(url, store.SandboxOptions{Restrain: embedpg.Restrain, Terminate: embedpg.Terminate})
	if err != nil {
		t.Fatal(err)
	}
	return sandbox
}

// askSQL posts a statement, and whatever else belongs to its body.
func askSQL(h http.Handler, target, query string, more map[string]any, headers ...string) *httptest.ResponseRecorder {
	body := map[string]any{"query": query}
	for name, value := range more {
		body[name] = value
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // only texts and numbers
	}
	return send(h, newRequest(http.MethodPost, target, strings.NewReader(string(text)), append(headers, "Content-Type", "application/json")...))
}

func TestAStatementIsAnswered(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("A", "s1", "user", "=1+1", 1), said("A", "s1", "agent", "Hello", 2))
	const query = "SELECT position, text, occurred_at, NULL AS nothing, ARRAY[1, 2] AS list, text FROM messages ORDER BY position"
	w := askSQL(l, "/sql", query, nil)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var got sqlAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.ElapsedMS <= 0 {
		t.Errorf("elapsed_ms: %v", got.ElapsedMS)
	}
	want := sqlAnswer{
		Columns: []sqlColumn{
			{"position", "bigint"}, {"text", "text"}, {"occurred_at", "timestamp with time zone"}, {"nothing", "text"}, {"list", "integer[]"}, {"text", "text"},
		},
		Rows: [][]any{
			{1.0, "=1+1", "2026-09-28T12:00:01.000000Z", nil, []any{1.0, 2.0}, "=1+1"},
			{2.0, "Hello", "2026-09-28T12:00:02.000000Z", nil, []any{1.0, 2.0}, "Hello"},
		},
		RowCount: 2, ElapsedMS: got.ElapsedMS,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for target, want := range map[string]string{
		"/sql?format=csv": "position,text,occurred_at,nothing,list,text\n" +
			"1,'=1+1,2026-09-28T12:00:01.000000Z,,\"[1,2]\",'=1+1\n2,Hello,2026-09-28T12:00:02.000000Z,,\"[1,2]\",Hello\n",
		"/sql?format=ndjson": `{"position":1,"text":"=1+1","occurred_at":"2026-09-28T12:00:01.000000Z","nothing":null,"list":[1,2],"text_2":"=1+1"}` + "\n" +
			`{"position":2,"text":"Hello","occurred_at":"2026-09-28T12:00:02.000000Z","nothing":null,"list":[1,2],"text_2":"Hello"}` + "\n",
	} {
		w := askSQL(l, target, query, nil)
		if w.Code != http.StatusOK || w.Body.String() != want || w.Header().Get("X-Row-Count") != "2" || w.Header().Get("X-Truncated") != "false" {
			t.Errorf("%s: %d %v\n%s", target, w.Code, w.Header(), w.Body)
		}
	}
	if w := askSQL(l, "/sql", query, nil, "Accept", "text/csv"); !strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv") {
		t.Errorf("Accept: %v", w.Header())
	}
	wantProblem(t, askSQL(l, "/sql", query, nil, "Accept", "image/png"), http.StatusNotAcceptable)
}

func TestAStatementHasParametersAndBounds(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	w := askSQL(l, "/sql", "SELECT $1::bigint, $2::text, $3::int[], $4::jsonb", map[string]any{
		"params": []any{json.Number("9007199254740993"), nil, []int{1, 2}, map[string]any{"a": "b"}},
	})
	if !strings.Contains(w.Body.String(), `[9007199254740993,null,[1,2],{"a":"b"}]`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = askSQL(l, "/sql", "SELECT generate_series(1, 10)", map[string]any{"limit": 3})
	if !strings.Contains(w.Body.String(), "\"row_count\":3,\"truncated\":true") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := askSQL(l, "/sql", "SELECT generate_series(1, 1001)", nil); w.Header().Get("X-Row-Count") != "1000" || w.Header().Get("X-Truncated") != "true" {
		t.Errorf("by default: %v", w.Header())
	}
	for _, wrong := range []map[string]any{
		{"limit": 0}, {"limit": 50001}, {"timeout_ms": 0}, {"timeout_ms": 60001}, {"timeout": 5}, {"query": ""}, {"query": 5}, {"params": 1}, {"params": "x"},
	} {
		wantProblem(t, askSQL(l, "/sql", "SELECT 1", wrong), http.StatusBadRequest)
	}
	wantProblem(t, askSQL(l, "/sql?format=xml", "SELECT 1", nil), http.StatusBadRequest)
	wantProblem(t, askSQL(l, "/sql?limit=5", "SELECT 1", nil), http.StatusBadRequest)
	wantProblem(t, send(l, newRequest(http.MethodPost, "/sql", strings.NewReader(""), "Content-Type", "application/json")), http.StatusBadRequest)
}

func TestAWrongStatementIsAProblem(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	p := wantProblem(t, askSQL(l, "/sql", "SELECT stared_at FROM sessions", nil), http.StatusBadRequest)
	if p["sqlstate"] != "42703" || p["position"] != 8.0 || p["detail"] != `column "stared_at" does not exist` || !strings.Contains(fmt.Sprint(p["hint"]), "started_at") {
		t.Errorf("%v", p)
	}
	if p := wantProblem(t, askSQL(l, "/sql", "SELECT * FROM public.events", nil), http.StatusBadRequest); p["sqlstate"] != "42501" {
		t.Errorf("%v", p)
	}
	if p := wantProblem(t, askSQL(l, "/sql", "SELECT pg_sleep(61)", map[string]any{"timeout_ms": 20}), http.StatusGatewayTimeout); p["sqlstate"] != "57014" {
		t.Errorf("%v", p)
	}
	if p := wantProblem(t, askSQL(l, "/sql", "SELECT repeat('x', 100000)::int", nil), http.StatusBadRequest); len(p["detail"].(string)) > 3000 {
		t.Errorf("%d bytes", len(p["detail"].(string)))
	}
	wantProblem(t, askSQL(l, "/sql", "DELETE FROM sessions", nil), http.StatusBadRequest)
}

func TestEveryStatementIsInTheAudit(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	key := bearerOf(l.key(t, "analyst", []string{"sql"}))
	askSQL(l, "/sql", "SELECT $1::int", map[string]any{"params": []int{4711}}, key...)
	askSQL(l, "/sql", "SELECT nothing", nil, key...)
	askSQL(l, "/sql", "SELECT pg_sleep(61)", map[string]any{"timeout_ms": 10}, key...)
	askSQL(l, "/sql", "SELECT '"+strings.Repeat("é", 6000)+"'", nil, key...)
	entries := storetest.Query(t, l.db, "postgres", pgx.RowTo[string], `
		SELECT format('%s %s %s rows=%s %s %s %s', actor, left(subject, 20), details->>'outcome', details->>'rows', details->>'sqlstate', details->>'params', details->>'query_bytes')
		FROM audit WHERE action = 'sql.query' AND (details->>'duration_ms')::numeric > 0 AND length(subject) < 10000 AND details::text NOT LIKE '%4711%' ORDER BY id`)
	want := []string{
		"key:analyst SELECT $1::int answered rows=1  1 ", "key:analyst SELECT nothing error rows= 42703  ",
		"key:analyst SELECT pg_sleep(61) timeout rows=   ", "key:analyst SELECT 'éééééééééééé answered rows=1   12009",
	}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Error(diff)
	}
}

func TestAClientThatGoesAwayCancelsItsStatement(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	server := httptest.NewServer(l)
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/sql", strings.NewReader(`{"query": "SELECT pg_sleep(61)", "timeout_ms": 60000}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	gone := make(chan error)
	go func() {
		response, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = response.Body.Close()
		}
		gone <- err
	}()
	running := func() int {
		return storetest.Query(t, l.db, "postgres", pgx.RowTo[int], `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND usename = 'rapport_sql' AND state = 'active' AND query LIKE '%pg_sleep%'`)[0]
	}
	for running() == 0 {
	}
	leave()
	if err := <-gone; err == nil {
		t.Error("it was answered")
	}
	for began := time.Now(); running() > 0; {
		if time.Since(began) > 5*time.Second {
			t.Fatal("it still runs")
		}
	}
}

func TestWithoutASafeLoginNoStatementRuns(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	config := Config{DB: l.db.DB, Watch: l.db.Watch}
	p := wantProblem(t, askSQL(newServer(t, options{log: l.db.DB, config: config}), "/sql", "SELECT 1", nil), http.StatusNotImplemented)
	if !strings.Contains(p["detail"].(string), "RAPPORT_SQL_DATABASE_URL") {
		t.Errorf("%v", p)
	}
	config.Sandbox = sandboxOf(t, l.db.URL("rapport_server"))
	p = wantProblem(t, askSQL(newServer(t, options{log: l.db.DB, config: config}), "/sql", "SELECT 1", nil), http.StatusNotImplemented)
	if strings.Contains(p["detail"].(string), "eraser") {
		t.Errorf("it tells too much: %v", p)
	}
	config.Sandbox = sandboxOf(t, "postgres://rapport_sql@127.0.0.1:1/none?sslmode=disable")
	wantProblem(t, askSQL(newServer(t, options{log: l.db.DB, config: config}), "/sql", "SELECT 1", nil), http.StatusServiceUnavailable)
}

func TestKeysOfAnswersAreToldApart(t *testing.T) {
	t.Parallel()
	var columns []store.SQLColumn
	for _, name := range []string{"a", "a", "a_2", "?column?", "?column?", "a"} {
		columns = append(columns, store.SQLColumn{Name: name})
	}
	keys, err := objectKeys(columns)
	if got := strings.Join(keys, ""); err != nil || got != `"a":,"a_3":,"a_2":,"?column?":,"?column?_2":,"a_4":` {
		t.Error(got, err)
	}
}
