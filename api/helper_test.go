package api

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rapport"
	"rapport/store"
	"rapport/store/ingest"
	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var noon = time.Date(2026, 9, 28, 12, 0, 0, 123456789, time.UTC)

// memoryLog is a log that fails as it is told to.
type memoryLog struct {
	mu          sync.Mutex
	events      []*rapport.Event
	bodies      []string
	reasons     []string
	headers     []map[string]string
	fingerprint map[rapport.Fingerprint]int64
	err         error
}

func (l *memoryLog) Ping(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *memoryLog) QuarantineDrained(ctx context.Context, _ store.SpoolRecord, body []byte, reason string, headers map[string]string, at time.Time) error {
	_, err := l.Quarantine(ctx, body, reason, headers, at)
	return err
}

func (l *memoryLog) SpoolDrained(context.Context, store.SpoolRecord) error { return nil }

func (l *memoryLog) Prepared(*rapport.Event) bool { return true }

func (l *memoryLog) Prepare(context.Context, *rapport.Event) error { return nil }

func (l *memoryLog) Append(_ context.Context, events []*rapport.Event) ([]store.Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	if l.fingerprint == nil {
		l.fingerprint = make(map[rapport.Fingerprint]int64)
	}
	appended := make([]store.Appended, len(events))
	for i, e := range events {
		position, known := l.fingerprint[e.Fingerprint]
		if !known {
			l.events = append(l.events, e)
			position = int64(len(l.events))
			l.fingerprint[e.Fingerprint] = position
		}
		appended[i] = store.Appended{Position: position, Duplicate: known}
	}
	return appended, nil
}

func (l *memoryLog) Quarantine(_ context.Context, body []byte, reason string, headers map[string]string, _ time.Time) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil && !store.IsDataError(l.err) {
		return 0, l.err
	}
	l.bodies, l.reasons, l.headers = append(l.bodies, string(body)), append(l.reasons, reason), append(l.headers, headers)
	return int64(len(l.bodies)), nil
}

func (l *memoryLog) QuarantinePrune(context.Context, store.QuarantineBounds, time.Time) (int64, error) {
	return 0, nil
}

// options of a server under test.
type options struct {
	log     ingest.Log // a memoryLog
	ingest  ingest.Options
	stopped bool // the ingest doesn't run any more
	config  Config
	made    func(Config) // is told what it has become
	secrets []string
	tokens  []string
}

// newServer makes a handler whose database can't be reached, unless one is given.
func newServer(t testing.TB, o options) http.Handler {
	t.Helper()
	if o.config.Sources == nil {
		o.config.Sources = newSources(t, o.secrets, o.tokens)
	}
	if o.config.DB == nil {
		o.config.DB, o.config.Watch = noDatabase(t)
		if o.config.Keys == nil {
			o.config.Keys = noKeys(o.config.DB)
		}
	}
	if o.log == nil {
		o.log = &memoryLog{}
	}
	if o.config.Metrics == nil {
		o.config.Metrics = NewMetrics()
	}
	if o.config.Now == nil {
		o.config.Now = func() time.Time { return noon }
	}
	if o.config.patience == 0 {
		o.config.patience = time.Minute // the machine may be busy
	}
	o.ingest.Logger, o.ingest.OnCommit = discard(), o.config.Metrics.OnCommit
	o.config.Ingest = runIngest(t, ingest.New(o.log, o.ingest), o.stopped)
	if o.made != nil {
		o.made(o.config)
	}
	handler, err := New(o.config)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func newSources(t testing.TB, secrets, tokens []string) *Sources {
	t.Helper()
	sources, err := NewSources(secrets, tokens, false)
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

func noDatabase(t testing.TB) (*store.DB, *store.Watch) {
	t.Helper()
	const nobody = "postgres://rapport@127.0.0.1:1/none?sslmode=disable"
	db, err := store.Open(t.Context(), nobody)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db, store.NewWatch(nobody)
}

// noKeys knows that there are none, from a time when the database was there.
func noKeys(db *store.DB) *Keys {
	keys := NewKeys(db, discard())
	keys.set = &keySet{}
	return keys
}

func runIngest(t testing.TB, in *ingest.Ingest, stopped bool) *ingest.Ingest {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = in.Run(ctx)
	}()
	stop := func() { cancel(); <-ended }
	if stopped {
		stop()
	}
	t.Cleanup(stop)
	return in
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newRequest is one from this machine. Header values come in pairs with names.
func newRequest(method, target string, body io.Reader, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, body)
	r.Host = "localhost:8080"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func send(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	if r.URL.Path == livePath {
		leaving, r := untilFlushed(w, r)
		h.ServeHTTP(leaving, r)
		return w
	}
	h.ServeHTTP(w, r)
	return w
}

func get(h http.Handler, target string, headers ...string) *httptest.ResponseRecorder {
	return send(h, newRequest(http.MethodGet, target, nil, headers...))
}

func post(h http.Handler, body string, headers ...string) *httptest.ResponseRecorder {
	return send(h, newRequest(http.MethodPost, "/webhook", strings.NewReader(body), headers...))
}

// wantProblem checks what every error has, and returns it.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int) map[string]any {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d; body %s", w.Code, status, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	p := decodeJSON(t, w)
	if p["type"] != "about:blank" || p["title"] != http.StatusText(status) || p["status"] != float64(status) {
		t.Errorf("type, title and status: %v", p)
	}
	if p["detail"] == "" || p["detail"] == nil {
		t.Errorf("no detail: %v", p)
	}
	if id := w.Header().Get("X-Request-Id"); id == "" || p["request_id"] != id {
		t.Errorf("request_id %v, header %q", p["request_id"], id)
	}
	return p
}

// wantBadParameter checks a 400 that names a parameter.
func wantBadParameter(t *testing.T, w *httptest.ResponseRecorder, name string) {
	t.Helper()
	p := wantProblem(t, w, http.StatusBadRequest)
	if !strings.Contains(p["detail"].(string), name) {
		t.Errorf("the detail does not name %s: %v", name, p["detail"])
	}
	wrong, _ := p["errors"].([]any)
	if len(wrong) == 0 || wrong[0].(map[string]any)["location"] != "query."+name {
		t.Errorf("errors = %v, want location query.%s", p["errors"], name)
	}
}

func decodeJSON(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return v
}

// metricLines are the lines of a scrape that begin with a name.
// Counters that are still 0 are left out.
func metricLines(t *testing.T, h http.Handler, name string) []string {
	t.Helper()
	w := get(h, "/metrics")
	if w.Code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", w.Code, w.Body)
	}
	lines := map[string]bool{}
	isCounter := strings.Contains(name, "_total")
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, name) && !(isCounter && strings.HasSuffix(line, " 0\n")) {
			lines[strings.TrimSpace(line)] = true
		}
	}
	return slices.Sorted(maps.Keys(lines))
}
