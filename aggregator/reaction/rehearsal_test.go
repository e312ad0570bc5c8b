package reaction_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator/reaction"
	"rapport/aggregator/reaction/rules"
)

const everything = `
rules:
  - {name: said, on: chat.push, when: 'event.role == "user" && event.text.hasWord(["hello"])', throttle: {per: 3m, by: [session_id]}, then: peer}
  - name: again
    on: chat.push
    when: event.role == "user" && (similarity(event.text, event.said_in_session) > 0.9 || similarity(event.text, event.said_by_user) > 0.9)
    then: peer
  - {name: burst, on: agent.error, count: {over: 10m, by: [agent_id, error.code], more_than: 2}, throttle: {per: 5m, by: [agent_id, error.code]}, then: peer}
  - {name: busy, on: [chat.push, room.join], count: {over: 1m, more_than: 4}, then: peer}
  - {name: kept, on: chat.push, when: 'event.payload.kept == true', then: peer}
  - {name: opened, on: session.opened, then: peer}
  - {name: closed, on: [session.closed, session.changed], when: session.message_count > 0, then: peer}
  - {name: many, on: session.closed, count: {over: 2h, by: [agent_id], more_than: 2}, then: peer}
`

// randomEvent is something that happens in one of a few conversations, mostly just now.
func randomEvent(rng *rand.Rand, now time.Time) *rapport.Event {
	e := &rapport.Event{AgentID: fmt.Sprint("a", rng.IntN(2)), SessionID: fmt.Sprint("s", rng.IntN(3)), OccurredAt: now}
	if rng.IntN(4) == 0 { // it comes late
		e.OccurredAt = now.Add(-time.Duration(rng.IntN(90)) * time.Minute)
	}
	switch rng.IntN(8) {
	case 0:
		e.Type = rapport.SessionEnd
	case 1:
		e.Type = rapport.RoomJoin
	case 2:
		e.Type, e.ErrorCode = rapport.AgentError, fmt.Sprint("E", rng.IntN(2))
	default:
		e.Type, e.Role = rapport.ChatPush, []string{rapport.RoleUser, rapport.RoleUser, rapport.RoleAgent}[rng.IntN(3)]
		e.Text = []string{"hello there", "where is my order", "goodbye", "thank you"}[rng.IntN(4)]
		e.Payload = fmt.Appendf(nil, `{"kept":%v}`, rng.IntN(2) == 0)
	}
	if e.SessionID != "s0" { // nobody knows who that is
		e.UserID = "u of " + e.AgentID
	}
	return e
}

// TestTheFollowerFiresWhatARehearsalTells plays random logs through processes that come and
// go, and through a rehearsal of the same log.
func TestTheFollowerFiresWhatARehearsalTells(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 6))
			h := newHouse(t)
			file := h.file(everything)
			set, err := rules.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			rehearsal := rules.NewRehearsal(set, rapport.NewFold(rapport.DefaultSettings()), nil)
			processes := []*reaction.Reaction{h.openFile(file), h.openFile(file)}
			var want []string
			tell := func(firings []rules.Firing, err error) {
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range firings {
					want = append(want, f.ID)
				}
			}
			for range 150 {
				for h.now = h.now.Add(time.Duration(rng.IntN(100)) * time.Second); rng.IntN(25) == 0; {
					h.now = h.now.Add(time.Duration(rng.IntN(60)) * time.Minute)
				}
				// Closed sessions are told when somebody looks: here before the next event comes.
				h.step(processes[rng.IntN(2)])
				e := randomEvent(rng, h.now)
				h.add(e)
				e.Position = int64(h.events)
				tell(rehearsal.Add(context.Background(), e))
				i := rng.IntN(2)
				if rng.IntN(10) == 0 {
					processes[i] = h.openFile(file)
				}
				if rng.IntN(5) == 0 {
					_ = processes[i].StepKilled(t.Context(), 1)
				}
				h.step(processes[i])
			}
			h.now = h.now.Add(2 * time.Hour)
			tell(rehearsal.Advance(context.Background(), h.now))
			h.step(processes[0])
			var got []string
			for _, f := range h.fired() {
				got = append(got, f.ID)
			}
			slices.Sort(got)
			slices.Sort(want)
			for _, id := range want {
				if !slices.Contains(got, id) {
					t.Errorf("%s did not fire", id)
				}
			}
			for _, id := range got {
				if !slices.Contains(want, id) {
					t.Errorf("%s has fired", id)
				}
			}
			if len(want) < 100 {
				t.Errorf("only %d firings", len(want))
			}
		})
	}
}
