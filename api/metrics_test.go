package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"rapport/store/ingest"
)

func TestMetricsWithoutADatabase(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	w := get(h, "/metrics")
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	for _, name := range []string{"active_avatar_sessions", "rapport_log_head", "rapport_follower", "rapport_quarantine"} {
		if strings.Contains(w.Body.String(), name) {
			t.Errorf("%s is told though nobody knows it", name)
		}
	}
	for _, name := range []string{"webhook_processing_seconds_count 0", "rapport_duplicates_total 0", "go_goroutines", "process_open_fds"} {
		if !strings.Contains(w.Body.String(), name) {
			t.Errorf("no %s", name)
		}
	}
}

func TestTypesOfEventsShareALabel(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	for _, eventType := range []string{"room.join", "chat.push", "session.end", "agent.error", "test", "ping", "x1", "x2", "agent.ready"} {
		post(h, `{"type":"`+eventType+`"}`)
	}
	wantWebhooks(t, h,
		`{event_type="room.join",status="success"} 1`, `{event_type="chat.push",status="success"} 1`,
		`{event_type="session.end",status="success"} 1`, `{event_type="agent.error",status="success"} 1`,
		`{event_type="test",status="success"} 1`, `{event_type="ping",status="success"} 1`,
		`{event_type="other",status="success"} 3`)
}

func TestMetricsAreOfOneServer(t *testing.T) {
	t.Parallel()
	one, other := newServer(t, options{}), newServer(t, options{})
	post(one, join)
	if got := metricLines(t, other, "webhook_requests_total"); len(got) != 0 {
		t.Errorf("the other server tells %v", got)
	}
	metrics := NewMetrics()
	newServer(t, options{config: Config{Metrics: metrics}})
	db, _ := noDatabase(t)
	if err := metrics.watch(db, ingest.New(&memoryLog{}, ingest.Options{Logger: discard()}), newSources(t, nil, nil), nil); err == nil {
		t.Error("metrics serve two servers")
	}
}

func TestGaugesAreOfTheDatabase(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("a", "s1", "user", "hi", 0), said("a", "s2", "user", "hi", -7200))
	post(l, said("a", "s3", "user", "hi", 0))
	post(l, "no event")
	later := noon.Add(90 * time.Second)
	l.now.Store(&later)
	for name, want := range map[string]string{
		"active_avatar_sessions": "1", "rapport_log_head_position": "3",
		`rapport_follower_position{follower="sessions"}`: "2", `rapport_follower_lag_events{follower="sessions"}`: "1",
		`rapport_follower_lag_seconds{follower="sessions"}`: "90", "rapport_quarantine_entries": "1", "rapport_quarantine_bytes": "8",
	} {
		if got := metricLines(t, l, name+" "); len(got) != 1 || !strings.HasPrefix(got[0], name+" "+want) {
			t.Errorf("%v, want %s %s", got, name, want)
		}
	}
}
