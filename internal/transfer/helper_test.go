package transfer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/aggregator"
	"rapport/api/webhook"
	"rapport/internal/heal"
	"rapport/internal/transfer"
	"rapport/store"
	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// noon is of the past, as whatever was received is.
var noon = time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)

func said(session, role, text string, seconds float64) string {
	body, err := json.Marshal(map[string]any{
		"event_type": "chat.push", "agent_id": "A", "timestamp": float64(noon.Unix()) + seconds,
		"data": map[string]any{"role": role, "message": text, "session_id": session},
	})
	if err != nil {
		panic(err) // only texts and numbers
	}
	return string(body)
}

// bodies have what is awkward: line breaks, bytes that are no UTF-8, no time, escapes,
// types of which the bytes are the fingerprint; of two months.
func bodies() []string {
	return []string{
		fmt.Sprintf("{\"event_type\":\"room.join\",\"agent_id\":\"A\",\r\n \"timestamp\":%d.5,\n\t\"data\":{\"room_name\":\"r\",\"participant_count\":2,\"session_id\":\"s1\"}}\n", noon.Unix()),
		said("s1", "assistant", "Hello <b>& welcome</b>\u2028", 1), said("s1", "user", "yes\u0000", 2.25),
		said("s1", "user", "Where is it?", 4), said("s2", "user", "late", 86400), said("s1", "assistant", "Here.", 6),
		`{"event":"session_end","agentId":"A","sessionId":"s1","timestamp":"2026-03-31T12:10:00Z","session":{"endReason":"user_disconnect","userSatisfaction":4.5}}`,
		"{\"event\":\"custom\",\"agentId\":\"A\",\"sessionId\":\"s2\",\"timestamp\":\"2026-04-01T12:00:01Z\",\"note\":\"\xff\xfe\"}",
		`{"event_type":"chat.push","agent_id":"A","data":{"role":"user","message":"no time","session_id":"s3"}}`,
		`{"event":"agent_error","agentId":"B","sessionId":"s4","timestamp":"2026-03-31T12:00:00Z","error":{"code":"X","severity":"high","category":"llm"}}`,
		`{"event_type":"test"}`,
		said("s1", "user", "before all", -3000),
	}
}

func decoded(t *testing.T, body string, receivedAt time.Time) *rapport.Event {
	t.Helper()
	e, err := webhook.Decode([]byte(body), receivedAt, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	e.Headers = map[string]string{"webhook-id": "id <" + e.Type + ">"}
	return &e
}

// filled is a log with all of them, received a second apart, and a healed message.
func filled(t *testing.T) *storetest.Database {
	t.Helper()
	db := storetest.New(t)
	var events []*rapport.Event
	for i, body := range bodies() {
		events = append(events, decoded(t, body, noon.Add(48*time.Hour+time.Duration(i)*time.Second)))
	}
	healed, err := heal.Decode([]byte(`{"source":"runtime-sessions","agent_id":"A","agent_code":"A","session_id":"s2","room_name":"","timestamp":"2026-04-01T12:00:02Z","role":"user","message":"healed","ordinal":0}`),
		"https://record.example/s2", noon.Add(72*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Append(t.Context(), append(events, &healed)); err != nil {
		t.Fatal(err)
	}
	follow(t, db)
	return db
}

func follow(t *testing.T, db *storetest.Database) {
	t.Helper()
	settings := rapport.DefaultSettings()
	sessions, err := aggregator.NewSessions(settings)
	if err != nil {
		t.Fatal(err)
	}
	for {
		step, err := db.Follow(t.Context(), store.SessionsFollower, settings, 1000, sessions.Apply)
		if err != nil {
			t.Fatal(err)
		}
		if step.Position == step.Head {
			return
		}
	}
}

func exportTo(t *testing.T, e transfer.Export) (string, transfer.Exported) {
	t.Helper()
	var out bytes.Buffer
	if e.Out == "" {
		e.Out, e.Stdout = transfer.Stdout, &out
	}
	e.Now = noon.Add(96 * time.Hour)
	done, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), done
}

func exported(t *testing.T, db *storetest.Database) string {
	t.Helper()
	text, _ := exportTo(t, transfer.Export{DB: db.DB, What: transfer.Events, Format: transfer.NDJSON})
	return text
}

func importing(db *storetest.Database) *transfer.Import {
	return &transfer.Import{
		DB: db.DB, MaxBody: 1 << 20, Now: noon.Add(96 * time.Hour), Undated: noon, Logger: storetest.Logger(),
	}
}

func imported(t *testing.T, i *transfer.Import, text string) transfer.Imported {
	t.Helper()
	done, err := i.Run(t.Context(), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// texts are the rows of a query, each as one text.
func texts(t *testing.T, db *storetest.Database, sql string) []string {
	t.Helper()
	return storetest.Query(t, db, "rapport_server", pgx.RowTo[string], sql)
}

// What is stored of sessions and of events, to the byte.
const (
	allSessions = "SELECT s::text FROM sessions s ORDER BY session_id, agent_id, started_at"
	allEvents   = "SELECT e::text FROM events e ORDER BY position"
)
