package reaction_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/aggregator"
	"rapport/aggregator/reaction"
	"rapport/store"
	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var noon = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)

// house is a log with its sessions, and a clock.
type house struct {
	*storetest.Database
	t        testing.TB
	now      time.Time
	sessions *aggregator.Sessions
	told     *bytes.Buffer // what was logged
	mu       sync.Mutex
	events   int
}

func newHouse(t testing.TB) *house {
	t.Helper()
	sessions, err := aggregator.NewSessions(rapport.DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	return &house{Database: storetest.New(t), t: t, now: noon, sessions: sessions, told: new(bytes.Buffer)}
}

// Write takes the log's lines.
func (h *house) Write(line []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told.Write(line)
}

const toPeer = `
destinations:
  peer: {http: {url: "https://peer.example/in"}}
`

// file writes a file of rules.
func (h *house) file(text string) string {
	h.t.Helper()
	name := filepath.Join(h.t.TempDir(), "rules.yaml")
	if err := os.WriteFile(name, []byte(text+toPeer), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return name
}

// open opens a process with rules, which has begun.
func (h *house) open(text string) *reaction.Reaction {
	h.t.Helper()
	return h.openFile(h.file(text))
}

func (h *house) openFile(name string) *reaction.Reaction {
	h.t.Helper()
	r, err := reaction.Open(h.DB, h.Watch, reaction.Options{
		File: name, Logger: slog.New(slog.NewTextHandler(h, nil)), Now: func() time.Time { return h.now },
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.step(r)
	return r
}

// step does all there is to do.
func (h *house) step(r *reaction.Reaction) {
	h.t.Helper()
	for range 1000 {
		isAtHead, err := r.Step(h.t.Context(), 1000)
		if err != nil {
			h.t.Fatal(err)
		}
		if isAtHead {
			return
		}
	}
	h.t.Fatal("it comes to no end")
}

// add appends events, and folds them.
func (h *house) add(events ...*rapport.Event) {
	h.t.Helper()
	h.append(events...)
	h.fold()
}

// append appends events that are received now.
func (h *house) append(events ...*rapport.Event) {
	h.t.Helper()
	for _, e := range events {
		h.events++
		e.Fingerprint = sha256.Sum256(fmt.Append(nil, h.events))
		if e.ReceivedAt.IsZero() {
			e.ReceivedAt = h.now
		}
		if e.OccurredAt.IsZero() {
			e.OccurredAt = h.now
		}
		if e.Payload == nil {
			e.Payload = []byte("{}")
		}
	}
	if _, err := h.Append(h.t.Context(), events); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) fold() {
	h.t.Helper()
	for {
		step, err := h.Follow(h.t.Context(), store.SessionsFollower, h.sessions.Settings(), 1000, h.sessions.Apply)
		if err != nil {
			h.t.Fatal(err)
		}
		if step.Position == step.Head {
			return
		}
	}
}

// says is what a user says in a session.
func says(session, text string) *rapport.Event {
	return &rapport.Event{Type: rapport.ChatPush, AgentID: "agent", SessionID: session, Role: rapport.RoleUser, Text: text}
}

func at(e *rapport.Event, t time.Time) *rapport.Event {
	e.OccurredAt = t
	return e
}

// firing is what was enqueued.
type firing struct {
	ID, Rule string
	Body     []byte
}

func (f firing) data(t testing.TB) map[string]any {
	t.Helper()
	var data map[string]any
	if err := json.Unmarshal(f.Body, &data); err != nil {
		t.Fatal(err)
	}
	return data
}

// fired is what was enqueued so far, in that order.
func (h *house) fired() []firing {
	h.t.Helper()
	return storetest.Query(h.t, h.Database, "rapport_owner", pgx.RowToStructByPos[firing],
		"SELECT delivery_id, rule, body FROM deliveries ORDER BY job_id")
}

// rules are the rules that have fired so far.
func (h *house) rules() []string {
	var rules []string
	for _, f := range h.fired() {
		rules = append(rules, f.Rule)
	}
	return rules
}

func (h *house) count(sql string, args ...any) int {
	h.t.Helper()
	return storetest.Query(h.t, h.Database, "rapport_owner", pgx.RowTo[int], sql, args...)[0]
}

// wantRules compares the rules that have fired with others.
func (h *house) wantRules(want ...string) {
	h.t.Helper()
	if got := h.rules(); fmt.Sprint(got) != fmt.Sprint(want) {
		h.t.Errorf("fired %v, want %v", got, want)
	}
}
