package browser

import (
	"fmt"
	"testing"
	"time"

	"rapport/store"
)

// fill gives a site some of everything that its pages show.
func (s *site) fill(t *testing.T) {
	t.Helper()
	sessions := 20
	if *pictures != "" {
		sessions = 300
	}
	s.live(t, sessions)
	s.quarantine(t)
	s.bury(t)
	s.buryEvents(t, 3)
	s.alert(t)
}

// quarantine sends what is no event.
func (s *site) quarantine(t *testing.T) {
	t.Helper()
	for _, body := range []string{
		`{"agent_id":"agent-7","data":{"role":"user"}}`, "not JSON at all <script>alert(1)</script>", "\xff\xfe\x00binary",
		`{"event_type":"chat.push","agent_id":"agent-7","timestamp":"1066-10-14T09:00:00Z","data":{"role":"user","message":"Hello","session_id":"s1"}}`,
	} {
		if status, answer := s.post(t, body); status != 422 {
			t.Fatalf("%q: %d %s", body, status, answer)
		}
	}
}

// bury makes dead deliveries, which nobody took.
func (s *site) bury(t *testing.T) {
	t.Helper()
	for i, destination := range []string{"crm", "crm", "operations"} {
		s.enqueue(t, destination, fmt.Sprint("delivery-", i))
	}
	s.db.Exec(t, "rapport_server", `UPDATE river_job SET state = 'discarded', attempt = 20, finalized_at = now() - interval '10 minutes',
		errors = ARRAY['{"error": "answered 503 Service Unavailable: the CRM is being moved to another place"}']::jsonb[]`)
}

// buryEvents makes dead letters of the first messages of the log, as if they could not be folded.
func (s *site) buryEvents(t *testing.T, n int) {
	t.Helper()
	s.db.Exec(t, "rapport_server", `INSERT INTO dead_letters
		SELECT 'sessions', position, agent_id, session_id, event_type, 'panicked: index out of range [7] with length 3', 3, now() - interval '2 hours'
		FROM events WHERE event_type = 'chat.push' ORDER BY position LIMIT $1`, n)
}

func (s *site) enqueue(t *testing.T, destination, id string) {
	t.Helper()
	_, err := s.db.Enqueue(t.Context(), store.Delivery{
		ID: id, Rule: "frustrated visitors", Destination: destination, Position: 12,
		Subject: store.Conversation{AgentID: "agent-7", SessionID: "s1"}, Body: []byte(`{"hello":"peer"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// alert makes alerts in each of their states, and a history.
func (s *site) alert(t *testing.T) {
	t.Helper()
	now := time.Now()
	for _, row := range [][]any{
		{"quality drops", "Visitors are unhappy: have a look at what was said.", "high", "avg_quality", `{"agent_id":"agent-7","min_messages":2}`, 3600, nil, 50.0, "keep", "firing", 41.25},
		{"nobody comes", "", "medium", "sessions", "{}", 600, nil, 1.0, "alert", "ok", 17.0},
		{"slow answers", "Nineteen of twenty answers should come within 5 seconds.", "low", "p95_response_s", "{}", 86400, 5.0, nil, "ok", "no_data", nil},
		{"bounces", "", "critical", "bounce_rate", "{}", 604800, 0.5, nil, "ok", "ok", 0.125},
	} {
		s.db.Exec(t, "rapport_owner", `INSERT INTO alerts (rule, description, severity, metric, filter, window_s, above, below, no_data, state, value, since, evaluated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`, append(row, now.Add(-25*time.Minute), now.Add(-20*time.Second))...)
	}
	for i, state := range []string{"firing", "resolved", "firing"} {
		s.db.Exec(t, "rapport_owner", `INSERT INTO alert_changes (rule, state, value, at) VALUES ('quality drops', $1, $2, $3)`,
			state, 40.5+float64(i), now.Add(time.Duration(i-3)*25*time.Minute))
	}
}
