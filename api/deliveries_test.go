package api

import (
	"fmt"
	"net/http"
	"testing"

	"rapport/store"
)

// buryDeliveries makes a dead delivery of each position.
func buryDeliveries(t *testing.T, l *live, positions ...int) {
	t.Helper()
	for _, position := range positions {
		_, err := l.db.Enqueue(t.Context(), store.Delivery{
			ID: fmt.Sprint("rule/", position), Rule: "rule", Destination: "crm", Position: int64(position),
			Subject: store.Conversation{AgentID: "A", SessionID: "s1"}, Body: []byte("{}"),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	l.db.Exec(t, "rapport_server", `UPDATE river_job SET state = 'discarded', attempt = 20, finalized_at = '2026-09-28T12:00:00.5Z',
		errors = ARRAY['{"error": "answered 500"}', '{"error": "answered 503"}']::jsonb[] WHERE state = 'available'`)
}

func TestDeadDeliveriesAreDeadLettersToo(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	bury(t, l, 2, 9, 10)
	buryDeliveries(t, l, 0, 9, 2, 9000)
	for _, limit := range []int{1, 2, 3, 50} {
		rows := allRows(t, l, "/dead-letters", limit)
		wantColumn(t, rows, "position", "9000", "10", "9", "9", "2", "2", "0")
		wantColumn(t, rows, "kind", "delivery", "event", "delivery", "event", "delivery", "event", "delivery")
		wantColumn(t, rows, "id", "d4", "10", "d2", "9", "d3", "2", "d1")
	}
	rows := allRows(t, l, "/dead-letters", 50)
	for name, want := range map[string]string{
		"destination": "crm", "rule": "rule", "delivery_id": "rule/9000", "error": "answered 503", "retry_count": "19",
		"failed_at": "2026-09-28T12:00:00.500000Z", "agent_id": "A", "session_id": "s1", "follower": "", "retry": "false",
	} {
		wantColumn(t, rows[:1], name, want)
	}
	wantColumn(t, rows[1:2], "error", "no")
	wantColumn(t, rows[1:2], "retry_count", "2")
	for _, agent := range []string{"A", "a"} {
		seen := allRows(t, as(l, l.key(t, agent, readScope, agent)), "/dead-letters", 2)
		for _, row := range seen {
			if row["agent_id"] != agent {
				t.Errorf("a key of %s sees %v", agent, row)
			}
		}
		if want := map[string]int{"A": 4, "a": 3}[agent]; len(seen) != want {
			t.Errorf("a key of %s sees %d, want %d", agent, len(seen), want)
		}
	}
}

func TestDeadDeliveriesAreTriedAgainOrDeleted(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	bury(t, l, 2)
	buryDeliveries(t, l, 1, 2, 3, 4)
	ask := func(method, path, counted string, want int, n any) {
		t.Helper()
		w := send(l, newRequest(method, path, nil))
		if w.Code != want {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		if want == http.StatusOK && decodeJSON(t, w)[counted] != n {
			t.Errorf("%s %s: %s, want %v", method, path, w.Body, n)
		}
	}
	ask(http.MethodPost, "/dead-letters/d1/retry", "retrying", http.StatusOK, 1.0)
	ask(http.MethodPost, "/dead-letters/d1/retry", "", http.StatusNotFound, nil) // it is not dead any more
	ask(http.MethodDelete, "/dead-letters/d2", "deleted", http.StatusOK, 1.0)
	for _, path := range []string{"/dead-letters/d2", "/dead-letters/2", "/dead-letters/d1", "/dead-letters/x"} {
		ask(http.MethodDelete, path, "", http.StatusNotFound, nil)
	}
	wantColumn(t, allRows(t, l, "/dead-letters", 50), "id", "d4", "d3", "2")
	if got := metricLines(t, l, "rapport_deliveries"); fmt.Sprint(got) != `[rapport_deliveries_dead{destination="crm"} 2 rapport_deliveries_waiting{destination="crm"} 1]` {
		t.Errorf("the metrics are %v", got)
	}
	ask(http.MethodPost, "/dead-letters/retry", "retrying", http.StatusOK, 3.0)
	wantColumn(t, allRows(t, l, "/dead-letters", 50), "id", "2")
	buryDeliveries(t, l)
	ask(http.MethodDelete, "/dead-letters", "deleted", http.StatusOK, 3.0)
	wantColumn(t, allRows(t, l, "/dead-letters", 50), "id", "2")
}
