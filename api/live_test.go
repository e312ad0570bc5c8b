package api

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rapport"
	"rapport/store"
	"rapport/store/storetest"
)

// live is a server with a database of its own. Nobody follows the log but fold.
type live struct {
	http.Handler
	db  *storetest.Database
	now atomic.Pointer[time.Time]
}

func newLive(t *testing.T, config Config) *live {
	t.Helper()
	l := &live{db: storetest.New(t)}
	l.now.Store(new(noon))
	config.DB, config.Watch = l.db.DB, l.db.Watch
	config.Now = func() time.Time { return *l.now.Load() }
	config.Sandbox = sandboxOf(t, l.db.URL("rapport_sql"))
	l.Handler = newServer(t, options{log: l.db.DB, config: config})
	return l
}

// fold brings the rollups up to the log, whose events must be of no session that
// has rollups already.
func (l *live) fold(t *testing.T) {
	t.Helper()
	settings := rapport.DefaultSettings()
	_, err := l.db.Follow(t.Context(), store.SessionsFollower, settings, 100_000, func(ctx context.Context, tx *store.Tx, events []*rapport.Event) error {
		groups := map[store.Conversation][]*rapport.Event{}
		for _, e := range events {
			if e.InSession() {
				c := store.Conversation{AgentID: e.AgentID, SessionID: e.SessionID}
				groups[c] = append(groups[c], e)
			}
		}
		var change store.Change
		for _, group := range groups {
			change.Written = append(change.Written, rapport.NewFold(settings).Windows(group)...)
		}
		return tx.Write(ctx, change, settings.IdleTimeout)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// deliver sends events as webhooks, and folds them.
func (l *live) deliver(t *testing.T, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if w := post(l, body); w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	l.fold(t)
}

// said is the delivery of a message, some seconds after noon.
func said(agent, session, role, text string, seconds float64) string {
	body, err := json.Marshal(map[string]any{
		"event_type": "chat.push", "agent_id": agent, "timestamp": float64(noon.Unix()) + seconds,
		"data": map[string]any{"role": role, "message": text, "session_id": session},
	})
	if err != nil {
		panic(err) // only texts and numbers
	}
	return string(body)
}

type row = map[string]any

// allRows reads all pages of a list.
func allRows(t *testing.T, h http.Handler, target string, limit int) []row {
	t.Helper()
	separator := "?"
	if strings.Contains(target, "?") {
		separator = "&"
	}
	target = fmt.Sprintf("%s%slimit=%d", target, separator, limit)
	var rows []row
	next := target
	for {
		w := get(h, next)
		if w.Code != http.StatusOK {
			t.Fatalf("GET %s: %d %s", next, w.Code, w.Body)
		}
		var p struct {
			Data       []row   `json:"data"`
			NextCursor *string `json:"next_cursor"`
			HasMore    *bool   `json:"has_more"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if p.Data == nil || p.HasMore == nil || *p.HasMore != (p.NextCursor != nil) || len(p.Data) > limit {
			t.Fatalf("GET %s: %s", next, w.Body)
		}
		rows = append(rows, p.Data...)
		if p.NextCursor == nil {
			return rows
		}
		next = target + "&cursor=" + *p.NextCursor
	}
}

func column(rows []row, name string) []string {
	values := make([]string, len(rows))
	for i, r := range rows {
		values[i] = fmt.Sprint(r[name])
	}
	return values
}

func wantColumn(t *testing.T, rows []row, name string, want ...string) {
	t.Helper()
	if got := column(rows, name); !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

// randomEvents are of sessions whose numbers tie often.
func randomEvents(rng *rand.Rand, n int) []*rapport.Event {
	texts := []string{"Hello!", "This is awful.", "Thanks, wonderful", "", "Where is it?"}
	types := []string{rapport.RoomJoin, rapport.ChatPush, rapport.ChatPush, rapport.ChatPush, rapport.SessionEnd, "custom"}
	events := make([]*rapport.Event, n)
	for i := range events {
		e := &rapport.Event{
			OccurredAt: noon.Truncate(time.Microsecond).Add(time.Duration(rng.IntN(40)) * 3 * time.Minute),
			ReceivedAt: noon.Truncate(time.Microsecond),
			Type:       types[rng.IntN(len(types))],
			AgentID:    fmt.Sprint("agent", rng.IntN(3)),
			SessionID:  fmt.Sprint("session", rng.IntN(6)),
			Payload:    []byte("{}"),
		}
		if e.Type == rapport.ChatPush {
			e.Role, e.Text = []string{"user", "agent"}[rng.IntN(2)], texts[rng.IntN(len(texts))]
		}
		e.Fingerprint[0], e.Fingerprint[1] = byte(i), byte(i>>8)
		events[i] = e
	}
	return events
}

func (l *live) appendAll(t *testing.T, events []*rapport.Event) {
	t.Helper()
	appended, err := l.db.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range appended {
		events[i].Position = a.Position
	}
	l.fold(t)
}

func decodeRows(t *testing.T, h http.Handler, target string) []row {
	t.Helper()
	w := get(h, target)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", target, w.Code, w.Body)
	}
	var rows []row
	for _, r := range decodeJSON(t, w)["data"].([]any) {
		rows = append(rows, r.(row))
	}
	return rows
}

func wantFields(t *testing.T, h http.Handler, target string, names ...string) {
	t.Helper()
	var p struct{ Data []json.RawMessage }
	if err := json.Unmarshal(get(h, target).Body.Bytes(), &p); err != nil || len(p.Data) == 0 {
		t.Fatal(err, len(p.Data))
	}
	if got := fieldsOf(t, p.Data[0]); !slices.Equal(got, names) {
		t.Errorf("fields %q, want %q", got, names)
	}
}
