package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"rapport/store/ingest"
	"rapport/store/ingest/spool"
)

func newSpool(t *testing.T, o spool.Options) *spool.Spool {
	t.Helper()
	o.Logger = discard()
	s, err := spool.Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// spoolServer is a server whose database is away, with a spool.
func spoolServer(t *testing.T, o spool.Options) http.Handler {
	t.Helper()
	return newServer(t, options{
		log:    &memoryLog{err: errors.New("connection refused")},
		ingest: ingest.Options{Spools: []ingest.Spool{newSpool(t, o)}},
	})
}

func TestTheSpoolKeepsWhatTheDatabaseCant(t *testing.T) {
	t.Parallel()
	server := spoolServer(t, spool.Options{MinFreeBytes: 1})
	do := func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	if code, body := do("POST", "/webhook", `{"event_type":"ping"}`); code != 200 || body != `{"status":"success","spooled":true}`+"\n" {
		t.Errorf("a delivery: %d %s", code, body)
	}
	if code, body := do("POST", "/webhook", `{`); code != 422 {
		t.Errorf("a body that is no event: %d %s", code, body)
	}
	code, body := do("GET", "/readyz", "")
	if code != 200 || !strings.Contains(body, `"status":"in_use"`) || !strings.Contains(body, `"records":2`) {
		t.Errorf("readiness: %d %s", code, body)
	}
	if code, body := do("GET", "/readyz?for=reads", ""); code != 503 {
		t.Errorf("readiness for reads: %d %s", code, body)
	}
	_, metrics := do("GET", "/metrics", "")
	for _, want := range []string{
		`webhook_requests_total{event_type="ping",status="spooled"} 1`, `rapport_spool_records 2`, `rapport_circuit_open 1`,
		`rapport_spooled_total 2`, `rapport_spool_age_seconds`, `rapport_spool_bytes`, `rapport_spool_room 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestAFullSpoolIsTold(t *testing.T) {
	t.Parallel()
	server := spoolServer(t, spool.Options{MaxBytes: 1, MinFreeBytes: 1})
	for range 2 {
		w := httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest("POST", "http://localhost/webhook", strings.NewReader(`{"event_type":"ping"}`)))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "full") {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
	}
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/readyz", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), `"full"`) {
		t.Errorf("readiness: %d %s", w.Code, w.Body)
	}
}
