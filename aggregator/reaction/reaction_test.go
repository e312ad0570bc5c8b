package reaction_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator/reaction"
	"rapport/store"
)

const hello = `
rules:
  - {name: hello, on: chat.push, when: 'event.text == "hello"', then: peer}
`

func TestAnEventFiresOnceWhateverIsKilled(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(hello)
	h.add(says("s", "hello"), says("s", "bye"), says("s", "hello"))
	for range 3 {
		if err := r.StepKilled(t.Context(), 2); !errors.Is(err, reaction.ErrKilled) {
			t.Fatal(err)
		}
	}
	h.wantRules()
	h.step(r)
	h.step(r)
	h.step(h.open(hello))
	h.wantRules("hello", "hello")
}

func TestSeveralProcessesFireOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	processes := []*reaction.Reaction{h.open(hello), h.open(hello), h.open(hello)}
	const n = 60
	for i := range n {
		h.add(says(fmt.Sprint("s", i%7), "hello"))
	}
	var working sync.WaitGroup
	for _, r := range processes {
		working.Go(func() {
			for range n {
				if _, err := r.Step(t.Context(), 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	working.Wait()
	h.step(processes[0]) // what was left, while another was at it
	if got := len(h.rules()); got != n {
		t.Errorf("%d firings, want %d", got, n)
	}
}

func TestRulesBeginAtTheEndOfTheLog(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add(says("s", "hello"), says("s", "hello"))
	r := h.open(hello)
	h.step(r)
	h.wantRules()
	if !strings.Contains(h.told.String(), "events=2") {
		t.Errorf("logged %s", h.told)
	}
	h.add(says("s", "hello"))
	h.step(r)
	h.wantRules("hello")
}

func TestRulesThatWereAwayForLongBeginAtTheEndOfTheLog(t *testing.T) {
	t.Parallel()
	for away, want := range map[time.Duration]int{23 * time.Hour: 1, 25 * time.Hour: 0} {
		h := newHouse(t)
		h.open(hello)
		h.add(says("s", "hello"))
		h.Exec(t, "rapport_owner", "UPDATE followers SET updated_at = $1 WHERE name = 'reaction'", h.now)
		h.now = h.now.Add(away)
		h.open(hello)
		if got := len(h.rules()); got != want {
			t.Errorf("%v away: %d firings, want %d", away, got, want)
		}
		if at, err := h.FollowerLag(t.Context(), store.ReactionFollower, h.now); err != nil || at.Events != 0 {
			t.Errorf("%v, %v", at, err)
		}
	}
}

func TestWhatWasReceivedADayAgoFiresNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(hello + "  - {name: closed, on: session.closed, then: peer}\n")
	old := says("imported", "hello")
	old.OccurredAt, old.ReceivedAt = h.now.Add(-25*time.Hour), h.now.Add(-25*time.Hour)
	h.add(old, says("s", "hello"))
	h.step(r)
	h.wantRules("hello")
	h.now = h.now.Add(time.Hour)
	h.step(r)
	h.wantRules("hello", "closed")
}

func TestCountsAndThrottlesOutliveTheProcess(t *testing.T) {
	t.Parallel()
	const burst = `
rules:
  - name: burst
    on: agent.error
    count: {over: 10m, by: [error.code], more_than: 2}
    throttle: {per: 5m, by: [error.code]}
    then: peer
`
	h := newHouse(t)
	fails := func(code string) {
		h.add(&rapport.Event{Type: rapport.AgentError, AgentID: "agent", ErrorCode: code})
		h.step(h.open(burst)) // another process each time
		h.now = h.now.Add(time.Minute)
	}
	h.open(burst)
	for range 4 { // minutes 0 to 3: the third one fires, the fourth is throttled
		fails("E1")
	}
	fails("E2")
	h.wantRules("burst")
	for range 4 { // minutes 5 to 8: that of minute 7 is five minutes after the first firing
		fails("E1")
	}
	h.wantRules("burst", "burst")
	if got := h.fired()[1].data(t)["count"]; got != 7.0 {
		t.Errorf("it counted %v, want 7", got)
	}
	h.now = h.now.Add(25 * time.Minute) // the window has passed, and the throttle
	fails("E1")
	h.wantRules("burst", "burst")
}

func TestWhatIsTooOldIsForgotten(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(`
rules:
  - {name: many, on: chat.push, count: {over: 10m, more_than: 1}, throttle: {per: 1m}, then: peer}
  - {name: closed, on: session.closed, then: peer}
`)
	h.add(says("s", "a"), says("s", "b"))
	h.step(r)
	h.now = h.now.Add(71 * time.Minute)
	h.step(r)
	if n := h.count("SELECT (SELECT count(*) FROM rule_counts) + (SELECT count(*) FROM rule_throttles)"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if n := h.count("SELECT count(*) FROM told_sessions"); n != 1 {
		t.Errorf("%d sessions are told, want 1", n)
	}
	h.now = h.now.Add(reaction.ToldFor)
	h.step(r)
	if n := h.count("SELECT count(*) FROM told_sessions"); n != 0 {
		t.Errorf("%d sessions are told, want 0", n)
	}
}

func TestOtherRulesAreInForceFromTheNextStepOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	name := h.file(hello)
	r := h.openFile(name)
	rewrite := func(text string) error {
		if err := os.WriteFile(name, []byte(text+toPeer), 0o600); err != nil {
			t.Fatal(err)
		}
		return r.Reload()
	}
	if err := rewrite("rules:\n  - {name: other, on: chat.push, when: 'no', then: peer}\n"); err == nil || !strings.Contains(err.Error(), "rules.yaml:2") {
		t.Errorf("wrong rules: %v", err)
	}
	h.add(says("s", "hello"))
	h.step(r)
	h.wantRules("hello")
	if err := rewrite("rules:\n  - {name: other, on: chat.push, then: peer}\n"); err != nil {
		t.Fatal(err)
	}
	h.add(says("s", "hello"))
	h.step(r)
	h.wantRules("hello", "other")
}

func TestAConditionThatFailsIsLoggedAndTheOthersFire(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(`
rules:
  - {name: wrong, on: chat.push, when: '1 / (event.position - event.position) == 1', then: peer}
  - {name: right, on: chat.push, then: peer}
`)
	h.add(says("s", "hello"))
	h.step(r)
	h.wantRules("right")
	if !strings.Contains(h.told.String(), "rule=wrong") {
		t.Errorf("logged %s", h.told)
	}
}

func TestTheAnnouncementOfAnErasureFiresAndWhatWasErasedDoesNot(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.now = time.Now().UTC().Truncate(time.Microsecond) // by which erasures are announced
	r := h.open(hello + "  - {name: erased, on: rapport.erased, then: peer}\n")
	h.add(says("s", "hello"), says("other", "hello"), &rapport.Event{Type: store.ErasedEvent, AgentID: "agent"})
	plan, err := h.PlanErasure(t.Context(), store.ErasureRequest{Kind: store.EraseSession, SessionID: "s", By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Erase(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	h.fold()
	h.step(r)
	h.wantRules("hello", "erased")
}

func TestAnErasureTakesWhatIsRememberedAlong(t *testing.T) {
	t.Parallel()
	const many = `
rules:
  - {name: many, on: chat.push, count: {over: 10m, by: [session_id], more_than: 1}, throttle: {per: 1m, by: [session_id]}, then: peer}
  - {name: loose, on: room.join, throttle: {per: 1m, by: [user_id]}, then: peer}
  - {name: closed, on: session.closed, then: peer}
`
	for name, request := range map[string]store.ErasureRequest{
		"a session": {Kind: store.EraseSession, SessionID: "s"},
		"an agent":  {Kind: store.EraseAgent, AgentID: "agent"},
		"a user":    {Kind: store.EraseUser, UserID: "u"},
	} {
		h := newHouse(t)
		r := h.open(many)
		mine, alone := says("s", "a"), &rapport.Event{Type: rapport.RoomJoin, AgentID: "agent", UserID: "u"}
		mine.UserID = "u"
		h.add(mine, says("s", "b"), alone)
		h.step(r)
		h.now = h.now.Add(40 * time.Minute)
		h.step(r)
		h.add(at(says("s", "late"), noon.Add(time.Second)))
		h.step(r)
		const rows = `SELECT (SELECT count(*) FROM rule_counts) + (SELECT count(*) FROM rule_throttles)
			+ (SELECT count(*) FROM told_sessions) + (SELECT count(*) FROM due_conversations)`
		if n := h.count(rows); n != 7 {
			t.Fatalf("%s: %d rows, want 7", name, n)
		}
		request.By = "test"
		plan, err := h.PlanErasure(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Erase(t.Context(), plan, nil); err != nil {
			t.Fatal(err)
		}
		want := 0
		if request.Kind == store.EraseSession {
			want = 1 // who joined is in no session
		}
		if n := h.count(rows); n != want {
			t.Errorf("%s: %d rows are left, want %d", name, n, want)
		}
		h.fold()
		h.step(r)
	}
}
