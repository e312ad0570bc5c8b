package api

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
)

func TestWhatIsNotThere(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	for _, path := range []string{"/nothing", "/sessions/", "/sessions/a/b", "/sessions//messages", "/docs/x", "/schemas/x"} {
		t.Run("404 for "+path, func(t *testing.T) {
			t.Parallel()
			wantProblem(t, get(h, path), http.StatusNotFound)
		})
	}
	for target, allow := range map[string][]string{
		"/sessions":            {"GET", "HEAD"},
		"/sessions/a%2Fb":      {"GET", "HEAD", "DELETE"},
		"/sessions/x/messages": {"GET", "HEAD"},
		"/healthz":             {"GET", "HEAD"},
		"/metrics":             {"GET", "HEAD"},
		"/openapi.json":        {"GET", "HEAD"},
	} {
		t.Run("405 for PATCH "+target, func(t *testing.T) {
			t.Parallel()
			w := send(h, newRequest(http.MethodPatch, target, nil))
			wantProblem(t, w, http.StatusMethodNotAllowed)
			if got := w.Header().Values("Allow"); !slices.Equal(got, allow) {
				t.Errorf("Allow %v, want %v", got, allow)
			}
		})
	}
	t.Run("405 for GET /webhook", func(t *testing.T) {
		t.Parallel()
		w := get(h, "/webhook")
		wantProblem(t, w, http.StatusMethodNotAllowed)
		if got := w.Header().Values("Allow"); !slices.Equal(got, []string{"POST"}) {
			t.Errorf("Allow %v", got)
		}
	})
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	for name, test := range map[string]struct {
		sent string
		kept bool
	}{
		"a sane id is kept":         {"req_1.A-z", true},
		"64 characters are kept":    {strings.Repeat("a", 64), true},
		"65 characters are not":     {strings.Repeat("a", 65), false},
		"a space is not":            {"a b", false},
		"a line break is not":       {"a\nb", false},
		"another alphabet is not":   {"é", false},
		"without one a new is made": {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := get(h, "/nothing", "X-Request-Id", test.sent)
			wantProblem(t, w, http.StatusNotFound)
			if got := w.Header().Get("X-Request-Id"); (got == test.sent) != test.kept || len(got) > 64 {
				t.Errorf("got %q", got)
			}
		})
	}
	t.Run("every answer has one", func(t *testing.T) {
		t.Parallel()
		for _, w := range []*httptest.ResponseRecorder{
			get(h, "/healthz"), get(h, "/metrics"), get(h, "/sessions?limit=0"), post(h, `{"event_type":"test"}`),
		} {
			if w.Header().Get("X-Request-Id") == "" {
				t.Errorf("%d without X-Request-Id", w.Code)
			}
		}
	})
}

func TestAPanicIs500AndTellsNothing(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := &server{Config: Config{Logger: slog.New(slog.NewJSONHandler(&log, nil))}}
	h := s.observe(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("the innermost secret") }))
	w := get(h, "/sessions", "X-Request-Id", "r1")
	wantProblem(t, w, http.StatusInternalServerError)
	if strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the panic leaked: %s", w.Body)
	}
	for _, want := range []string{"the innermost secret", `"request_id":"r1"`, "problem_test.go", `"status":500`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s: %s", want, &log)
		}
	}
}

// TestAReadThatHearsNothingIs503 has a database that says nothing at all.
func TestAReadThatHearsNothingIs503(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	router := chi.NewRouter()
	s := &server{Config: Config{Logger: slog.New(slog.NewJSONHandler(&log, nil))}, readTime: time.Millisecond, api: humachi.New(router, humaConfig("1"))}
	hear := func(ctx context.Context, in *numbersInput) (*answer[page[number]], error) {
		if in.Cursor == "" && in.streams() {
			return newPage([]number{{}}, func(n *number) number { return *n }, "behind"), nil
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	list(s, huma.Operation{OperationID: "hear", Path: "/hear"}, hear)
	h := s.observe(router)
	if w := get(h, "/hear"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("answered %d", w.Code)
	}
	if !strings.Contains(log.String(), `"msg":"a read failed","request_id":"","error":"context deadline exceeded"`) {
		t.Errorf("the log says %s", &log)
	}
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("the second page of a stream is waited for")
		}
	}()
	get(h, "/hear?format=ndjson")
}

func TestAPanicCutsAnAnswerThatHasBegun(t *testing.T) {
	t.Parallel()
	s := &server{Config: Config{Logger: discard()}}
	h := s.observe(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data":[`))
		panic("half way")
	}))
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("the connection is not cut")
		}
	}()
	get(h, "/sessions")
}

func TestTheAccessLog(t *testing.T) {
	t.Parallel()
	record := func(level slog.Level) string {
		var log bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: level}))
		h := newServer(t, options{config: Config{Logger: logger}})
		post(h, `{"event_type":"test","note":"bodysecret"}`, "X-Custom", "headersecret")
		get(h, "/openapi.json?token=querysecret", "X-Custom", "headersecret")
		get(h, "/healthz")
		return log.String()
	}
	for _, log := range []string{record(slog.LevelInfo), record(slog.LevelDebug)} {
		if strings.Contains(log, "secret") {
			t.Errorf("it has what it must not: %s", log)
		}
		if !strings.Contains(log, `"path":"/openapi.json"`) {
			t.Errorf("it lacks a read: %s", log)
		}
	}
	if log := record(slog.LevelInfo); strings.Contains(log, "/healthz") {
		t.Errorf("probes are for the debug level: %s", log)
	}
	if log := record(slog.LevelInfo); strings.Contains(log, "delivery") {
		t.Errorf("deliveries are for the debug level: %s", log)
	}
	if log := record(slog.LevelDebug); !strings.Contains(log, `"msg":"delivery","event_type":"test","status":"success"`) {
		t.Errorf("it lacks the delivery: %s", log)
	}
}

func TestHeadIsAnsweredAsGet(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	if w := send(h, newRequest(http.MethodHead, "/healthz", nil)); w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
}
