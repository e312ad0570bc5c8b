package api

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rapport"
	"rapport/aggregator"
	"rapport/store"
)

// follow brings the rollups up to the log as a server does, some events at a time.
func (l *live) follow(t *testing.T, step int) {
	t.Helper()
	sessions, err := aggregator.NewSessions(rapport.DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	for {
		done, err := l.db.Follow(t.Context(), store.SessionsFollower, rapport.DefaultSettings(), step, sessions.Apply)
		if err != nil {
			t.Fatal(err)
		}
		if done.Position == done.Head {
			return
		}
	}
}

// talk makes n events of a conversation with equal times, gaps around the idle timeout,
// ends in the middle, and healed messages whose delivery comes too. They arrive in any
// order.
func talk(rng *rand.Rand, agent, session string, n int) []*rapport.Event {
	gaps := []time.Duration{
		0, time.Millisecond, 400 * time.Millisecond, time.Second, 3 * time.Second, 61 * time.Second, 29 * time.Minute,
		30 * time.Minute, 30*time.Minute + time.Microsecond, 45 * time.Minute,
	}
	texts := []string{"Hello!", "hello", "This is awful.", "Thanks, that is wonderful", "", "Where is it?"}
	types := []string{rapport.RoomJoin, rapport.ChatPush, rapport.ChatPush, rapport.ChatPush, rapport.ChatPush, rapport.SessionEnd, "test", "custom"}
	at := noon.Truncate(time.Microsecond).Add(-24 * time.Hour)
	var events []*rapport.Event
	add := func(e rapport.Event) {
		e.Fingerprint = sha256.Sum256(fmt.Append(nil, agent, session, len(events)))
		events = append(events, &e)
	}
	for range n {
		at = at.Add(gaps[rng.IntN(len(gaps))])
		e := rapport.Event{OccurredAt: at, AgentID: agent, SessionID: session, Type: types[rng.IntN(len(types))], Payload: []byte("{}")}
		switch e.Type {
		case rapport.ChatPush:
			e.Role, e.Text = []string{"user", "user", "agent"}[rng.IntN(3)], texts[rng.IntN(len(texts))]
			if rng.IntN(4) == 0 {
				healed := e
				healed.OccurredAt, healed.HealedFrom = at.Truncate(time.Second), "record"
				add(healed)
			}
		case rapport.SessionEnd:
			e.EndReason, e.Rating = []string{"", "error"}[rng.IntN(2)], new(float64(rng.IntN(5)))
		}
		add(e)
	}
	rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for i, e := range events {
		e.ReceivedAt = noon.Truncate(time.Microsecond).Add(time.Duration(i-len(events)) * time.Second)
	}
	return events
}

func asOf(target string, moment any) string {
	if at, ok := moment.(time.Time); ok {
		moment = url.QueryEscape(at.Format(time.RFC3339Nano))
	}
	return fmt.Sprintf("%s?as_of=%v", target, moment)
}

// knownThen are the sessions that the first n events of the log fold to.
func knownThen(t *testing.T, events []*rapport.Event, n int, at time.Time) []row {
	t.Helper()
	var then []*rapport.Event
	for _, e := range events[:n] {
		if e.InSession() {
			then = append(then, e)
		}
	}
	var rows []row
	for _, w := range rapport.NewFold(rapport.DefaultSettings()).Windows(then) {
		shown := sessionAt(&store.SessionRow{Session: w.Session, ClosesAt: w.ClosesAt(30 * time.Minute)}, at)
		text, err := json.Marshal(shown)
		if err != nil {
			t.Fatal(err)
		}
		var r row
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

func TestWhatWasKnownAtAMoment(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	conversations := map[string][]*rapport.Event{}
	var all []*rapport.Event
	for i := range 6 {
		name := fmt.Sprint("s", i)
		conversations[name] = talk(rng, "A", name, 10+rng.IntN(40))
		for _, e := range conversations[name] {
			appended, err := l.db.Append(t.Context(), []*rapport.Event{e})
			if err != nil {
				t.Fatal(err)
			}
			e.Position = appended[0].Position
		}
		all = append(all, conversations[name]...)
	}
	l.follow(t, 7)

	t.Run("is what the events that had come fold to, by position and by receipt", func(t *testing.T) {
		t.Parallel()
		for name, events := range conversations {
			n := 1 + rng.IntN(len(events))
			last := events[n-1]
			want := knownThen(t, events, n, last.ReceivedAt)
			for _, moment := range []any{last.Position, last.ReceivedAt} {
				if len(want) == 0 {
					wantProblem(t, get(l, asOf("/sessions/"+name, moment)), http.StatusNotFound)
				} else if diff := cmp.Diff(want, decodeRows(t, l, asOf("/sessions/"+name, moment))); diff != "" {
					t.Errorf("%s as of %v (-want +got):\n%s", name, moment, diff)
				}
			}
		}
	})

	t.Run("is at the head what is known now", func(t *testing.T) {
		t.Parallel()
		l.now.Store(new(all[len(all)-1].ReceivedAt)) // status is that of the receipt
		head := all[len(all)-1].Position
		for name := range conversations {
			for _, of := range []string{"", "/messages", "/events"} {
				path := "/sessions/" + name + of
				if diff := cmp.Diff(decodeRows(t, l, path), decodeRows(t, l, asOf(path, head))); diff != "" {
					t.Errorf("%s (-now +as of the head):\n%s", path, diff)
				}
			}
		}
	})

	t.Run("has the messages and events that had come, in their sessions", func(t *testing.T) {
		t.Parallel()
		for name, events := range conversations {
			n := len(events) / 2
			then := asOf("/sessions/"+name, events[n-1].Position)
			if got := allRows(t, l, asOf("/sessions/"+name+"/events", events[n-1].Position), 7); len(got) != n {
				t.Errorf("%s: %d events, want %d", name, len(got), n)
			}
			messages := allRows(t, l, asOf("/sessions/"+name+"/messages", events[n-1].Position), 3)
			in := map[string]float64{}
			for _, m := range messages {
				in[m["started_at"].(string)]++
			}
			for _, s := range decodeRows(t, l, then) {
				started := s["started_at"].(string)
				if in[started] != s["message_count"] {
					t.Errorf("%s of %s: %v messages, want %v", name, started, in[started], s["message_count"])
				}
				if got := allRows(t, l, asOf("/sessions/"+name+"/messages", events[n-1].Position)+"&started_at="+started, 5); float64(len(got)) != in[started] {
					t.Errorf("%s of %s alone: %d messages, want %v", name, started, len(got), in[started])
				}
			}
		}
	})
}

func TestAMomentThatCantBeTold(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("A", "s1", "user", "Hi", -7200), said("A", "s2", "user", "Hi", 2), said("A", "s1", "agent", "Yes", -7199))
	for _, of := range []string{"", "/messages", "/events"} {
		path := "/sessions/s1" + of
		wantProblem(t, get(l, asOf(path, 0)), http.StatusNotFound)
		wantBadParameter(t, get(l, asOf(path, 4)), "as_of")
		wantBadParameter(t, get(l, asOf(path, noon.Add(time.Second))), "as_of")
		wantBadParameter(t, get(l, asOf(path, "yesterday")), "as_of")
		wantBadParameter(t, get(l, asOf(path, -1)), "as_of")
		wantProblem(t, get(l, asOf(path, noon.Add(-time.Second))), http.StatusNotFound)
		wantProblem(t, get(l, asOf("/sessions/s2"+of, 1)), http.StatusNotFound)
	}
	wantColumn(t, decodeRows(t, l, asOf("/sessions/s1", 1)), "message_count", "1")
	if w := send(l, newRequest(http.MethodDelete, "/sessions/s1", nil)); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	l.follow(t, 100)
	wantProblem(t, get(l, asOf("/sessions/s1", 1)), http.StatusGone)
	wantProblem(t, get(l, asOf("/sessions/s1/messages", 1)), http.StatusGone)
	if diff := cmp.Diff(decodeRows(t, l, "/sessions/s1"), decodeRows(t, l, asOf("/sessions/s1", 3))); diff != "" {
		t.Errorf("an erased session of which all had come (-now +then):\n%s", diff)
	}
	b := bearerOf(l.key(t, "b", readScope, "B"))
	wantProblem(t, get(l, asOf("/sessions/s2", 2), b...), http.StatusNotFound)
	wantProblem(t, get(l, asOf("/sessions/s2/messages", 2), b...), http.StatusNotFound)
}

func TestWhatIsLeftOfTheLogBelowTheHorizon(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	first := time.Date(2024, 2, 1, 0, 0, 0, 0, time.UTC)
	received := time.Date(2024, 2, 20, 0, 0, 0, 0, time.UTC)
	for i, e := range []struct {
		session string
		at      time.Time
	}{
		{"old", first.Add(-240 * time.Hour)}, {"old", first.Add(-239 * time.Hour)},
		{"kiosk", first.Add(-240 * time.Hour)}, {"kiosk", first.Add(-240*time.Hour + time.Minute)},
		{"kiosk", first.Add(-10 * time.Minute)}, {"kiosk", first.Add(time.Minute)}, {"kiosk", first.Add(5 * time.Minute)},
		{"kiosk", first.Add(240 * time.Hour)}, {"kiosk", first.Add(240*time.Hour + time.Minute)},
	} {
		_, err := l.db.Append(t.Context(), []*rapport.Event{{
			OccurredAt: e.at, ReceivedAt: received.Add(time.Duration(i) * time.Minute), Type: rapport.ChatPush, AgentID: "A", SessionID: e.session,
			Role: "user", Text: "Hi", Fingerprint: sha256.Sum256([]byte{byte(i)}), Payload: []byte("{}"),
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	l.follow(t, 100)
	if _, err := l.db.Retain(t.Context(), store.Retention{Events: 30 * 24 * time.Hour}, "cli:test", first.Add(33*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	now := decodeRows(t, l, "/sessions/kiosk")
	wantColumn(t, now, "event_count", "2", "3", "2")
	for _, moment := range []any{9, received.Add(8 * time.Minute), received.Add(time.Hour)} {
		if diff := cmp.Diff(now, decodeRows(t, l, asOf("/sessions/kiosk", moment))); diff != "" {
			t.Errorf("as of %v (-now +then):\n%s", moment, diff)
		}
	}
	for _, moment := range []any{5, 6, received.Add(5 * time.Minute)} {
		wantProblem(t, get(l, asOf("/sessions/kiosk", moment)), http.StatusGone)
	}
	wantColumn(t, decodeRows(t, l, asOf("/sessions/kiosk", 4)), "event_count", "2")
	wantColumn(t, decodeRows(t, l, asOf("/sessions/kiosk", 8)), "event_count", "2", "3", "1")
	wantColumn(t, allRows(t, l, "/sessions/kiosk/history", 1), "position", "8", "9")
	wantProblem(t, get(l, "/sessions/old/history"), http.StatusGone)
}
