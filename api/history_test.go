package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rapport"
)

// addUp applies the changes of a history, one after another, to what was there before,
// and gives what they add up to: for each started_at the fields that have a value.
func addUp(t *testing.T, told []row) map[string]row {
	t.Helper()
	sessions := map[string]row{}
	for _, event := range told {
		for _, c := range event["sessions"].([]any) {
			change := c.(row)
			started := change["started_at"].(string)
			was := sessions[started]
			for i, r := range change["replaces"].([]any) {
				old := sessions[r.(string)]
				if old == nil {
					t.Fatalf("position %v replaces %v, which is not there", event["position"], r)
				}
				if was == nil && i == 0 {
					was = old
				}
				delete(sessions, r.(string))
			}
			began := change["change"] == "began" || change["change"] == "cut"
			if began != (was == nil) {
				t.Fatalf("position %v: %v, but there was %v", event["position"], change, was)
			}
			now := row{}
			for name, value := range was {
				now[name] = value
			}
			for name, pair := range change["changes"].(row) {
				from, to := pair.([]any)[0], pair.([]any)[1]
				if before := now[name]; before != from && !(before == nil && from == 0.0) {
					t.Fatalf("position %v: %s was %v, and not %v", event["position"], name, before, from)
				}
				now[name] = to
			}
			sessions[started] = now
			if change["change"] == "vanished" {
				delete(sessions, started)
			}
		}
	}
	return sessions
}

// told are the fields of a session that its history tells, and that have a value.
func toldFields(s row) row {
	fields := row{}
	for name, value := range s {
		if untold[name] || value == nil || value == "" || value == 0.0 || name == "end_reason" && value == "idle" {
			continue
		}
		fields[name] = value
	}
	return fields
}

func TestAHistoryAddsUpToTheSessions(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range 5 {
		events := talk(rng, "A", fmt.Sprint("s", i), 5+rng.IntN(25))
		if i%2 == 0 { // mostly in order
			slices.SortStableFunc(events, func(a, b *rapport.Event) int {
				return a.OccurredAt.Add(time.Duration(rng.IntN(2)) * time.Hour).Compare(b.OccurredAt.Add(time.Duration(rng.IntN(2)) * time.Hour))
			})
		}
		for _, e := range events {
			if _, err := l.db.Append(t.Context(), []*rapport.Event{e}); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.follow(t, 9)
	for i := range 5 {
		path := fmt.Sprint("/sessions/s", i)
		history := allRows(t, l, path+"/history", 4)
		if diff := cmp.Diff(allRows(t, l, path+"/history", 1000), history); diff != "" {
			t.Errorf("%s: other pages tell another history:\n%s", path, diff)
		}
		want, got := map[string]row{}, map[string]row{}
		for _, s := range decodeRows(t, l, path) {
			want[s["started_at"].(string)] = toldFields(s)
		}
		for started, s := range addUp(t, history) {
			got[started] = toldFields(s)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-sessions +history):\n%s", path, diff)
		}
	}
}

func TestAHistoryReadsWell(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t,
		said("A", "s", "user", "Hello", 0), said("A", "s", "agent", "Hi!", 2),
		said("A", "s", "user", "Again", 3000), said("A", "s", "user", "Late", 1500),
		`{"event":"session_end","agentId":"A","sessionId":"s","timestamp":"2026-09-28T12:10:00Z"}`,
		`{"event_type":"test","agent_id":"A","session_id":"s"}`, said("B", "s2", "user", "x", 1), said("A", "s2", "user", "x", 1),
	)
	history := allRows(t, l, "/sessions/s/history", 2)
	wantColumn(t, history, "position", "1", "2", "3", "4", "5", "6")
	wantColumn(t, history, "left_out", "<nil>", "<nil>", "<nil>", "<nil>", "<nil>", "probe")
	type changed struct {
		StartedAt string `json:"started_at"`
		Change    string
		Replaces  []string
		CutFrom   *string `json:"cut_from"`
		Changes   map[string][]any
	}
	sessions := make([][]changed, len(history))
	for i, h := range history {
		text, err := json.Marshal(h["sessions"])
		if err == nil {
			err = json.Unmarshal(text, &sessions[i])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const first, second = "2026-09-28T12:00:00.000000Z", "2026-09-28T12:50:00.000000Z"
	for i, want := range []struct{ change, started string }{{"began", first}, {"grew", first}, {"began", second}, {"merged", first}, {"grew", first}} {
		if got := sessions[i][0]; got.Change != want.change || got.StartedAt != want.started {
			t.Errorf("position %d: %+v, want %+v", i+1, got, want)
		}
	}
	if got := sessions[1][0].Changes; !cmp.Equal(got["agent_message_count"], []any{0.0, 1.0}) || !cmp.Equal(got["first_response_ms"], []any{nil, 2000.0}) || got["user_message_count"] != nil {
		t.Errorf("an answer changes %v", got)
	}
	if got := sessions[3][0]; !slices.Equal(got.Replaces, []string{second}) || !cmp.Equal(got.Changes["message_count"], []any{2.0, 4.0}) {
		t.Errorf("a late event that joins two: %+v", got)
	}
	if got := sessions[4]; len(got) != 2 || got[1].Change != "cut" || *got[1].CutFrom != first || !cmp.Equal(got[0].Changes["end_reason"], []any{nil, "ended"}) {
		t.Errorf("a late end cuts: %+v", got)
	}

	wantBadParameter(t, get(l, "/sessions/s2/history"), "agent_id")
	wantColumn(t, allRows(t, l, "/sessions/s2/history?agent_id=B", 5), "position", "7")
	wantProblem(t, get(l, "/sessions/nobody/history"), http.StatusNotFound)
	if w := send(l, newRequest(http.MethodDelete, "/sessions/s", nil)); w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	l.follow(t, 100)
	wantProblem(t, get(l, "/sessions/s/history"), http.StatusGone)
}
