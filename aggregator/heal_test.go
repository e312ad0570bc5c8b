package aggregator_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rapport"
	"rapport/store/storetest"
)

// randomHealed makes n messages and ends of one conversation that pair as often as
// possible: half of the messages are healed, most come within the second, and their
// texts begin with each other.
func randomHealed(rng *rand.Rand, conversation string, n int) []*rapport.Event {
	gaps := []time.Duration{
		0, 0, 100 * time.Millisecond, 100 * time.Millisecond, 400 * time.Millisecond, 900 * time.Millisecond,
		time.Second, time.Second + time.Microsecond, 2 * time.Second, 2*time.Second + time.Microsecond,
		30*time.Minute - 500*time.Millisecond, 30 * time.Minute, 30*time.Minute + 500*time.Millisecond,
	}
	texts := []string{"", "no", "no", "no", "no, never", "not"}
	events := make([]*rapport.Event, n)
	at := noon
	for i := range events {
		at = at.Add(gaps[rng.IntN(len(gaps))])
		e := &rapport.Event{
			Fingerprint: sha256.Sum256(fmt.Append(nil, conversation, i)), OccurredAt: at, ReceivedAt: noon,
			Type: rapport.ChatPush, AgentID: "agent", SessionID: conversation, Payload: []byte("{}"),
			Role: []string{rapport.RoleUser, rapport.RoleUser, rapport.RoleUser, rapport.RoleAgent}[rng.IntN(4)],
			Text: texts[rng.IntN(len(texts))],
		}
		switch rng.IntN(8) {
		case 0:
			e.Type, e.Role, e.Text = rapport.SessionEnd, "", ""
		case 1, 2, 3, 4:
			e.HealedFrom = "https://record.test/" + conversation
		}
		events[i] = e
	}
	return events
}

func TestHealedMessagesGiveTheSameSessionsInAnyOrderAndAnySplit(t *testing.T) {
	t.Parallel()
	for name, arrange := range map[string]func(*rand.Rand, []*rapport.Event) []*rapport.Event{
		"in time": func(_ *rand.Rand, events []*rapport.Event) []*rapport.Event { return events },
		"in any order": func(rng *rand.Rand, events []*rapport.Event) []*rapport.Event {
			return arranged(events, rng.Perm(len(events)))
		},
		"the healed ones last": func(_ *rand.Rand, events []*rapport.Event) []*rapport.Event {
			return append(healedOf(events, false), healedOf(events, true)...)
		},
		"the healed ones first": func(_ *rand.Rand, events []*rapport.Event) []*rapport.Event {
			return append(healedOf(events, true), healedOf(events, false)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			stop := follow(t, db, 2)
			defer stop()
			conversations := make(map[string][]*rapport.Event)
			var queues [][]*rapport.Event
			for i := range 60 {
				id := fmt.Sprint("conversation ", i)
				conversations[id] = randomHealed(rng, id, 1+rng.IntN(40))
				queues = append(queues, arrange(rng, conversations[id]))
			}
			all := interleave(rng, queues)
			appendAll(t, db, rng, all)
			appendAll(t, db, rng, arranged(all, rng.Perm(len(all))[:len(all)/4])) // again
			caughtUp(t, db)
			for id, events := range conversations {
				if diff := cmp.Diff(folded(events), stored(t, db, id)); diff != "" {
					t.Errorf("%s: the rollups are not what the events fold to (-want +got):\n%s", id, diff)
				}
			}
		})
	}
}

func arranged(events []*rapport.Event, order []int) []*rapport.Event {
	var arranged []*rapport.Event
	for _, i := range order {
		arranged = append(arranged, events[i])
	}
	return arranged
}

func healedOf(events []*rapport.Event, healed bool) []*rapport.Event {
	var some []*rapport.Event
	for _, e := range events {
		if e.IsHealed() == healed {
			some = append(some, e)
		}
	}
	return some
}

// interleave takes from the queues at random, and keeps the order of each.
func interleave(rng *rand.Rand, queues [][]*rapport.Event) []*rapport.Event {
	var all []*rapport.Event
	for {
		var left [][]*rapport.Event
		for _, q := range queues {
			if len(q) > 0 {
				left = append(left, q)
			}
		}
		if len(left) == 0 {
			return all
		}
		queues = left
		i := rng.IntN(len(queues))
		all, queues[i] = append(all, queues[i][0]), queues[i][1:]
	}
}

// A pair at one end of a chain through thousands of short sessions decides what
// counts at the other end.
func TestPairsGiveWayThroughManySessions(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	const links = 500
	var events []*rapport.Event
	add := func(at time.Duration, kind, healedFrom string) {
		e := &rapport.Event{
			Fingerprint: sha256.Sum256(fmt.Append(nil, at, kind)), OccurredAt: noon.Add(at), ReceivedAt: noon, Type: kind,
			AgentID: "agent", SessionID: "s", HealedFrom: healedFrom, Payload: []byte("{}"),
		}
		if kind == rapport.ChatPush {
			e.Role, e.Text = rapport.RoleUser, "no"
		}
		events = append(events, e)
	}
	for i := range time.Duration(links) {
		add(2*i*time.Second+time.Second, rapport.ChatPush, "record") // pairs with the one before, or with the next
		add(2*i*time.Second+2*time.Second, rapport.ChatPush, "")
		add(2*i*time.Second+2*time.Second+time.Millisecond, rapport.SessionEnd, "")
	}
	add(2*links*time.Second+time.Second, rapport.ChatPush, "record") // is left over
	add(0, rapport.ChatPush, "")                                     // and so it has one

	stop := follow(t, db, 1)
	defer stop()
	rng := rand.New(rand.NewPCG(4, 4))
	for i, want := range []int{links + 1, links} {
		from, to := 0, len(events)-1
		if i == 1 {
			from, to = to, to+1
		}
		appendAll(t, db, rng, events[from:to])
		caughtUp(t, db)
		got := stored(t, db, "s")
		if len(got) != want {
			t.Errorf("%d sessions, want %d", len(got), want)
		}
		if diff := cmp.Diff(folded(append([]*rapport.Event(nil), events[:to]...)), got); diff != "" {
			t.Errorf("the rollups are not what the events fold to (-want +got):\n%s", diff)
		}
	}
}
