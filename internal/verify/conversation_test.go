package verify

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rapport"
)

var noon = time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)

// dense makes n events of one conversation, some of them healed, in the order of
// time, with gaps around those that matter.
func dense(random *rand.Rand, n int) []*rapport.Event {
	gaps := []time.Duration{
		0, time.Microsecond, time.Second / 2, time.Second, time.Second + time.Microsecond, 2 * time.Second, 3 * time.Second,
		time.Minute, 31 * time.Minute,
	}
	at := noon
	events := make([]*rapport.Event, n)
	for i := range events {
		at = at.Add(gaps[random.IntN(len(gaps))])
		events[i] = &rapport.Event{
			Position: int64(i + 1), Fingerprint: sha256.Sum256(fmt.Append(nil, i)), OccurredAt: at, Type: rapport.ChatPush,
			AgentID: "a", SessionID: "s", Role: []string{"user", "agent"}[random.IntN(2)],
			Text: []string{"yes", "yes, please", "no"}[random.IntN(3)], HealedFrom: []string{"", "", "record"}[random.IntN(3)],
		}
		if random.IntN(20) == 0 {
			events[i].Type, events[i].HealedFrom = rapport.SessionEnd, ""
		}
	}
	return events
}

func TestAStretchIsCutWhereNothingPairsAcross(t *testing.T) {
	t.Parallel()
	fold := rapport.NewFold(rapport.DefaultSettings())
	cuts := 0
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		events := dense(random, 60)
		c := &conversation{}
		for i, e := range events {
			c.pending = append(c.pending, e)
			if i%3 == 2 {
				n := c.cut()
				c.fold(fold, n)
				cuts += min(n, 1)
			}
		}
		g := &group{conversations: map[string]*conversation{"a": c}}
		var to chunk
		g.end(fold, &to)

		want := fold.Windows(slices.Clone(events))
		if diff := cmp.Diff(sessionsOf(want), sessionsOf(to.windows)); diff != "" {
			t.Fatalf("seed %d:\n%s", seed, diff)
		}
		if counted, _ := rapport.Reconcile(slices.Clone(events)); len(to.superseded) != len(events)-len(counted) {
			t.Errorf("seed %d: %d superseded, want %d", seed, len(to.superseded), len(events)-len(counted))
		}
	}
	if cuts < 1000 {
		t.Errorf("only %d cuts", cuts)
	}
}

func sessionsOf(windows []*rapport.Window) []rapport.Session {
	var sessions []rapport.Session
	for _, w := range windows {
		sessions = append(sessions, w.Session)
	}
	return sessions
}

func TestAConversationKeepsNoMoreThanAStretch(t *testing.T) {
	t.Parallel()
	fold := rapport.NewFold(rapport.DefaultSettings())
	c := &conversation{limit: stretchBytes}
	text := string(make([]byte, 10_000))
	most := 0
	for i := range 2000 {
		c.add(fold, &rapport.Event{
			Position: int64(i), Fingerprint: sha256.Sum256(fmt.Append(nil, i)), OccurredAt: noon.Add(time.Duration(i) * time.Second),
			Type: rapport.AgentError, AgentID: "a", SessionID: "s", Text: text,
		})
		most = max(most, len(c.pending))
	}
	if most > 2*stretchBytes/len(text) {
		t.Errorf("%d events were kept at once", most)
	}
}

func TestAFoldThatPanicsIsFound(t *testing.T) {
	t.Parallel()
	fold := rapport.NewFold(rapport.DefaultSettings())
	g := newGroup("s")
	g.add(fold, &rapport.Event{AgentID: "a", SessionID: "s", Type: rapport.ChatPush})
	g.conversations["a"].pending = append(g.conversations["a"].pending, nil)
	var to chunk
	g.end(fold, &to)
	if len(to.differences) != 1 || len(to.windows) != 0 {
		t.Errorf("%d differences, %d windows; want 1 and none", len(to.differences), len(to.windows))
	}
}
