package verify_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/aggregator"
	"rapport/api/webhook"
	"rapport/internal/conformance"
	"rapport/internal/heal"
	"rapport/internal/verify"
	"rapport/store"
	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var noon = time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)

// decode is what the command decodes with.
func decode(payload []byte, healedFrom string, receivedAt time.Time) (rapport.Event, error) {
	if healedFrom != "" {
		return heal.Decode(payload, healedFrom, receivedAt)
	}
	return webhook.Decode(payload, receivedAt, noon)
}

func event(t testing.TB, payload, healedFrom string, receivedAt time.Time) *rapport.Event {
	t.Helper()
	e, err := decode([]byte(payload), healedFrom, receivedAt)
	if err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	return &e
}

// says is a message of a conversation with an agent.
func says(t testing.TB, agent, session, role, text string, at time.Time) *rapport.Event {
	t.Helper()
	words, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return event(t, fmt.Sprintf(`{"event_type": "chat.push", "agent_id": %q, "timestamp": "%s",
		"data": {"session_id": %q, "role": %q, "message": %s}}`, agent, at.Format(time.RFC3339Nano), session, role, words), "", noon)
}

// healed is a message of a conversation that was read in the sender's record.
func healed(t testing.TB, agent, session, role, text string, at time.Time) *rapport.Event {
	t.Helper()
	return event(t, fmt.Sprintf(`{"source":"runtime-sessions","agent_id":%q,"agent_code":%q,"session_id":%q,"room_name":"","timestamp":"%s","role":%q,"message":%q,"ordinal":0}`,
		agent, agent, session, at.Format(time.RFC3339Nano), role, text), "record", noon)
}

var lines = []string{
	"Hello!", "I need a table for two.", "This is terrible.", "Where are you?", "where are you", "Thanks, wonderful!", "No.", "",
}

// conversations are believable events of n conversations, in all wire generations.
func conversations(t testing.TB, seed uint64, n int) []*rapport.Event {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	dialogues := make([]conformance.Dialogue, n)
	for i := range dialogues {
		for turn := range 2 + random.IntN(8) {
			role := []string{"user", "assistant"}[turn%2]
			dialogues[i].Turns = append(dialogues[i].Turns, conformance.Turn{Role: role, Text: lines[random.IntN(len(lines))]})
		}
	}
	var events []*rapport.Event
	for _, d := range conformance.Generate(dialogues, conformance.Options{Seed: seed, Base: noon, Days: 40}) {
		events = append(events, event(t, string(d.Body), "", noon))
	}
	return events
}

// oddities are events that are unlike the others.
func oddities(t testing.TB) []*rapport.Event {
	t.Helper()
	undated := `{"event_type": "chat.push", "agent_id": "agent", "data": {"session_id": "odd", "role": "user", "message": "yes"}}`
	return []*rapport.Event{
		event(t, undated, "", noon),
		event(t, undated, "", noon.Add(10*time.Minute+time.Microsecond)),
		event(t, `{"event_type": "ping"}`, "", noon),
		event(t, `{"event_type": "test", "session_id": "odd", "agent_id": "agent", "timestamp": 1790000000}`, "", noon),
		event(t, `{"event_type": "room.join", "timestamp": 1790000001, "agent_id": "no session"}`, "", noon),
		event(t, "{\"event_type\": \"chat.push\", \"session_id\": \"odd\", \"timestamp\": 1790000002, \"message\": \"not \xff UTF-8\"}", "", noon),
		says(t, "agent", "odd", "user", "zero \x00", noon),
		healed(t, "agent", "healed", "user", "I was lost", noon),
		healed(t, "agent", "healed", "agent", "I came after all", noon.Add(time.Minute)),
		says(t, "agent", "healed", "agent", "I came after all, whole", noon.Add(time.Minute+time.Second)),
		says(t, "agent", "healed", "user", "yes", noon.Add(2*time.Minute)),
	}
}

func settings(t testing.TB, db *storetest.Database) rapport.Settings {
	t.Helper()
	s, err := db.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func projection(t testing.TB, db *storetest.Database) *aggregator.Sessions {
	t.Helper()
	sessions, err := aggregator.NewSessions(settings(t, db))
	if err != nil {
		t.Fatal(err)
	}
	return sessions
}

// follow folds at most limit events.
func follow(t testing.TB, db *storetest.Database, limit int) {
	t.Helper()
	if _, err := db.Follow(t.Context(), store.SessionsFollower, settings(t, db), limit, projection(t, db).Apply); err != nil {
		t.Fatal(err)
	}
}

// fill appends events in batches, folds them between, and delivers some twice.
func fill(t testing.TB, db *storetest.Database, events []*rapport.Event) {
	t.Helper()
	const size = 50
	for len(events) > 0 {
		batch := events[:min(size, len(events))]
		events = events[len(batch):]
		for _, b := range [][]*rapport.Event{batch, batch[:len(batch)/3]} {
			if _, err := db.Append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		follow(t, db, 10_000)
	}
}

// filled is a database with conversations that partly came late, and a quarantine.
func filled(t testing.TB, seed uint64, n int) *storetest.Database {
	t.Helper()
	db := storetest.New(t)
	if err := db.MakeWith(t.Context(), store.SessionsFollower, settings(t, db)); err != nil {
		t.Fatal(err)
	}
	events := append(conversations(t, seed, n), oddities(t)...)
	late := events[len(events)/2:]
	rand.New(rand.NewPCG(seed, 2)).Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
	fill(t, db, events)
	for _, body := range []string{"no", "event", "no"} {
		if _, err := db.Quarantine(t.Context(), []byte(body), "not JSON", nil, noon); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func run(t testing.TB, db *storetest.Database, spools ...verify.Spool) *verify.Report {
	t.Helper()
	report, err := verify.Run(t.Context(), verify.Options{DB: db.DB, Decode: decode, Spools: spools, MaxDifferences: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// texts are the differences, one a line.
func texts(r *verify.Report) string {
	var all strings.Builder
	for _, d := range r.Differences {
		all.WriteString(d.Kind + ": " + d.Text + "\n")
	}
	return all.String()
}

func requireClean(t testing.TB, r *verify.Report) {
	t.Helper()
	if r.DifferenceCount != 0 || r.Err() != nil {
		t.Fatalf("%d differences, want none:\n%s", r.DifferenceCount, texts(r))
	}
}

// requireFound wants each text to be in the differences.
func requireFound(t testing.TB, r *verify.Report, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(texts(r), want) {
			t.Errorf("%q was not found, but:\n%s", want, texts(r))
		}
	}
	if r.Err() == nil {
		t.Error("no error")
	}
}

// tamper changes the database as a superuser, whom no trigger stops.
func tamper(t testing.TB, db *storetest.Database, sql string) {
	t.Helper()
	db.Exec(t, "postgres", "SET session_replication_role = replica; "+sql)
}

// value is the only value of a query.
func value[T any](t testing.TB, db *storetest.Database, sql string, args ...any) T {
	t.Helper()
	values := storetest.Query(t, db, "postgres", pgx.RowTo[T], sql, args...)
	if len(values) != 1 {
		t.Fatalf("%s: %d rows, want 1", sql, len(values))
	}
	return values[0]
}
