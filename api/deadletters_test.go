package api

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
)

// bury makes dead letters of the positions.
func bury(t *testing.T, l *live, positions ...int) {
	t.Helper()
	for _, position := range positions {
		l.db.Exec(t, "rapport_server", `INSERT INTO dead_letters VALUES ('sessions', $1, 'a', $2, 'chat.push', 'no', 3,
			'2026-09-28T12:00:00.5Z')`, position, fmt.Sprint("s", position))
	}
}

func TestTheDeadLetters(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	bury(t, l, 2, 9, 10)
	for _, limit := range []int{1, 2, 50} {
		rows := allRows(t, l, "/dead-letters", limit)
		wantColumn(t, rows, "position", "10", "9", "2")
		wantColumn(t, rows, "session_id", "s10", "s9", "s2")
		wantColumn(t, rows, "retry", "false", "false", "false")
		wantColumn(t, rows, "failed_at", "2026-09-28T12:00:00.500000Z", "2026-09-28T12:00:00.500000Z", "2026-09-28T12:00:00.500000Z")
	}
	wantFields(t, l, "/dead-letters", "id", "kind", "position", "agent_id", "session_id", "follower", "event_type", "destination", "rule",
		"delivery_id", "error", "retry_count", "failed_at", "retry", "reason", "attempts")
	wantBadParameter(t, get(l, "/dead-letters?limit=0"), "limit")
	wantBadParameter(t, get(l, "/dead-letters?cursor=x"), "cursor")
	if got := metricLines(t, l, "rapport_dead_letters"); !slices.Contains(got, `rapport_dead_letters{follower="sessions"} 3`) {
		t.Errorf("the metric is %v", got)
	}
}

func TestDeadLettersAreTriedAgain(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	again := func(path string, headers ...string) (int, any) {
		w := send(l, newRequest(http.MethodPost, path, nil, headers...))
		if w.Code != http.StatusOK {
			wantProblem(t, w, w.Code)
			return w.Code, nil
		}
		return w.Code, decodeJSON(t, w)["retrying"]
	}
	if code, n := again("/dead-letters/retry"); code != http.StatusOK || n != 0.0 {
		t.Errorf("none: %d, %v", code, n)
	}
	bury(t, l, 2, 9, 10)
	if code, n := again("/dead-letters/9/retry"); code != http.StatusOK || n != 1.0 {
		t.Errorf("one: %d, %v", code, n)
	}
	wantColumn(t, allRows(t, l, "/dead-letters", 50), "retry", "false", "true", "false")
	for _, path := range []string{
		"/dead-letters/3/retry", "/dead-letters/0/retry", "/dead-letters/-9/retry", "/dead-letters/x/retry",
		"/dead-letters/9999999999999999999/retry", "/dead-letters//retry", "/dead-letters/9/retry/", "/dead-letters/d9/retry", "/dead-letters/d/retry",
	} {
		if code, _ := again(path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, _ := again("/dead-letters/retry?all=true"); code != http.StatusBadRequest {
		t.Errorf("unknown parameter: %d", code)
	}
	for _, path := range []string{"/dead-letters/2/retry", "/dead-letters/retry"} {
		for name, value := range map[string]string{"Origin": "https://example.com", "X-Forwarded-For": "1.2.3.4"} {
			if code, _ := again(path, name, value); code != http.StatusUnauthorized {
				t.Errorf("%s with %s: %d", path, name, code)
			}
		}
		if w := get(l, path); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
			t.Errorf("GET %s: %d, Allow %q", path, w.Code, w.Header().Get("Allow"))
		}
	}
	wantColumn(t, allRows(t, l, "/dead-letters", 50), "retry", "false", "true", "false")
	if code, n := again("/dead-letters/retry"); code != http.StatusOK || n != 2.0 {
		t.Errorf("all: %d, %v", code, n)
	}
	wantColumn(t, allRows(t, l, "/dead-letters", 50), "retry", "true", "true", "true")
}

func TestTryingAgainNeedsTheToken(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{config: Config{APIToken: "s3cret"}})
	for _, path := range []string{"/dead-letters/2/retry", "/dead-letters/retry"} {
		wantProblem(t, send(h, newRequest(http.MethodPost, path, nil)), http.StatusUnauthorized)
		w := send(h, newRequest(http.MethodPost, path, nil, "Authorization", "Bearer s3cret"))
		wantProblem(t, w, http.StatusServiceUnavailable) // the database is away
	}
}
