package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
)

var lists = []string{"/sessions", "/sessions/s1/messages", "/sessions/s1/events", "/quarantine"}

var reads = append([]string{"/sessions/s1"}, lists...)

func TestBadParametersAreNamed(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	test := func(path, query, name string) {
		t.Run(path+"?"+query, func(t *testing.T) {
			t.Parallel()
			wantBadParameter(t, get(h, path+"?"+query), name)
		})
	}
	for _, path := range reads {
		test(path, "colour=blue", "colour")
		test(path, "min_position=-1", "min_position")
		test(path, "min_position=1.5", "min_position")
		test(path, "min_position=1&min_position=2", "min_position")
		test(path, "min_position=99999999999999999999", "min_position")
		test(path, "wait=5x", "wait")
		test(path, "wait=-1s", "wait")
		test(path, "wait=61s", "wait")
		test(path, "wait=NaNs", "wait")
		test(path, "wait", "wait")
	}
	for _, path := range lists {
		test(path, "limit=0", "limit")
		test(path, "limit=-1", "limit")
		test(path, "limit=1001", "limit")
		test(path, "limit=many", "limit")
		test(path, "limit=", "limit")
		test(path, "limit", "limit")
		test(path, "limit=5&limit=6", "limit")
		test(path, "Limit=5", "Limit")
		test(path, "cursor=", "cursor")
		test(path, "cursor=x", "cursor")
		test(path, "cursor=%00", "cursor")
		test(path, "cursor=a&cursor=b", "cursor")
	}
	for _, query := range []string{
		"from=yesterday", "from=2026-01-31", "from=2026-01-31T09:30:00", "from=2026-01-31T09:30:00+02:00",
		"from=1767225600", "from=2026-02-30T00:00:00Z", "from=",
		"from=2026-01-31T00:00:00Z&to=2026-01-31T00:00:00Z",
		"from=2026-01-31T01:00:00%2B01:00&to=2026-01-31T00:00:00Z",
		"from=2026-02-01T00:00:00Z&to=2026-01-31T00:00:00Z",
	} {
		test("/sessions", query, "from")
	}
	test("/sessions", "to=soon", "to")
	test("/sessions", "status=ended", "status")
	test("/sessions", "engagement_tier=fans", "engagement_tier")
	test("/sessions", "min_messages=-1", "min_messages")
	test("/sessions", "sort=user_id", "sort")
	test("/sessions", "sort=--started_at", "sort")
	test("/sessions", "agent_id=a&agent_id=b", "agent_id")
	test("/sessions", "session_id=", "session_id")
	test("/sessions/s1/messages", "started_at=now", "started_at")
	test("/sessions/s1", "session_id=s2", "session_id")
	test("/sessions/s1", "limit=5", "limit")
	test("/readyz", "for=writes", "for")
	test("/healthz", "now=1", "now")
}

func TestAQueryThatCannotBeRead(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	for _, query := range []string{"limit=%zz", "limit=5;sort=started_at"} {
		r := newRequest(http.MethodGet, "/sessions", nil)
		r.URL.RawQuery = query
		wantProblem(t, send(h, r), http.StatusBadRequest)
	}
}

func TestSeveralBadParametersAreAllNamed(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	p := wantProblem(t, get(h, "/sessions?limit=0&min_messages=-1"), http.StatusBadRequest)
	if wrong := p["errors"].([]any); len(wrong) != 2 {
		t.Errorf("errors = %v", wrong)
	}
}

func TestGoodParametersReachTheDatabase(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	for _, query := range []string{
		"", "limit=1000&sort=-quality_score", "from=2026-01-31T09:30:00Z&to=2026-01-31T09:30:00.000001Z",
		"from=2026-01-31T09:30:00.123456789%2B02:00", "status=open&engagement_tier=deep&min_messages=0",
		"from=0000-01-01T00:00:00Z&to=9999-12-31T23:59:59.999999999-12:00", "agent_id=%00&session_id=%FF", "min_position=0&wait=0s", "wait=60s&min_position=1",
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			w := get(h, "/sessions?"+query) // it is away, which is no fault of the parameters
			wantProblem(t, w, http.StatusServiceUnavailable)
			if w.Header().Get("Retry-After") != "1" {
				t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
			}
		})
	}
	for _, path := range reads {
		wantProblem(t, get(h, path), http.StatusServiceUnavailable)
	}
}

func TestTheEndsOfARange(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"2026-01-31T09:30:00Z":             "2026-01-31T09:30:00Z",
		"2026-01-31T09:30:00.000001Z":      "2026-01-31T09:30:00.000001Z",
		"2026-01-31T09:30:00.000000001Z":   "2026-01-31T09:30:00.000001Z",
		"2026-01-31T09:30:00.123456+02:00": "2026-01-31T07:30:00.123456Z",
		"0001-01-01T00:00:00Z":             "1970-01-01T00:00:00Z",
		"0000-01-01T00:00:00Z":             "1970-01-01T00:00:00Z",
		"9999-12-31T23:59:59.999999999Z":   "9999-12-31T23:59:59.999999Z",
	} {
		var p timeParam
		if err := p.UnmarshalText([]byte(given)); err != nil {
			t.Fatal(err)
		}
		if got := p.bound().Format(time.RFC3339Nano); got != want {
			t.Errorf("%s: %s, want %s", given, got, want)
		}
	}
}

func TestIdsOfThePathAreDecodedOnce(t *testing.T) {
	t.Parallel()
	router := chi.NewRouter()
	s := &server{Config: Config{Logger: discard()}, readTime: maxReadTime, api: humachi.New(router, humaConfig("1"))}
	echo := func(_ context.Context, in *sessionInput) (*answer[string], error) {
		return &answer[string]{in.SessionID}, nil
	}
	read(s, huma.Operation{OperationID: "echo", Path: "/sessions/{session_id}"}, echo)
	for _, id := range []string{
		"a/b", "a%b", "100%25", "a b", "a+b", "ünï", "日本", "..", "?x=1", "#", "a\x00b", "%2F", "a;b", "a:b@c",
	} {
		w := get(router, "/sessions/"+url.PathEscape(id))
		var got string
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got != id {
			t.Errorf("%q became %q (%v)", id, got, err)
		}
	}
}
