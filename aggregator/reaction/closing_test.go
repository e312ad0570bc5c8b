package reaction_test

import (
	"testing"
	"time"

	"rapport"
	"rapport/aggregator"
	"rapport/aggregator/reaction"
	"rapport/store"
)

const sessions = `
rules:
  - {name: opened, on: session.opened, then: peer}
  - {name: closed, on: session.closed, then: peer}
  - {name: changed, on: session.changed, then: peer}
`

// after lets time pass.
func (h *house) after(d time.Duration, r *reaction.Reaction) {
	h.t.Helper()
	h.now = h.now.Add(d)
	h.step(r)
}

func end(session string) *rapport.Event {
	return &rapport.Event{Type: rapport.SessionEnd, AgentID: "agent", SessionID: session}
}

func TestASessionIsToldToOpenAndToCloseOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(sessions)
	h.add(says("s", "a"), says("s", "b"))
	h.step(r)
	h.after(29*time.Minute+59*time.Second, r)
	h.wantRules("opened")
	h.after(time.Second, r)
	h.wantRules("opened", "closed")
	if at := h.fired()[1].data(t)["at"]; at != "2026-03-02T12:30:00.000000Z" {
		t.Errorf("told at %v", at)
	}
	h.after(time.Hour, r)
	h.step(h.open(sessions))
	h.wantRules("opened", "closed")
}

func TestASessionThatIsEndedIsToldAMinuteAfterItsLastEvent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(sessions)
	h.add(says("s", "a"))
	h.now = h.now.Add(10 * time.Second)
	h.add(end("s"))
	h.step(r)
	h.after(50*time.Second, r)
	h.add(at(says("s", "b"), noon.Add(5*time.Second)))
	h.step(r)
	h.after(59*time.Second, r)
	h.wantRules("opened")
	h.after(time.Second, r)
	h.wantRules("opened", "closed")
	h.after(time.Hour, r)
	h.wantRules("opened", "closed")
}

func TestALateEventTellsThatAClosedSessionHasChanged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(sessions)
	h.add(says("s", "a"))
	h.step(r)
	h.after(2*time.Hour, r)
	h.add(at(says("s", "later"), noon.Add(10*time.Minute)))
	h.step(r)
	h.after(time.Minute, r)
	h.wantRules("opened", "closed", "changed")
	if replaces := h.fired()[2].data(t)["replaces"]; replaces != nil {
		t.Errorf("it replaces %v", replaces)
	}
	h.add(at(says("s", "earlier"), noon.Add(-10*time.Minute)))
	h.step(r)
	h.after(time.Minute, r)
	h.after(time.Hour, r)
	h.wantRules("opened", "closed", "changed", "changed")
	if replaces := h.fired()[3].data(t)["replaces"]; replaces != "2026-03-02T12:00:00.000000Z" {
		t.Errorf("it replaces %v", replaces)
	}
	if n := h.count("SELECT count(*) FROM told_sessions"); n != 1 {
		t.Errorf("%d sessions are told, want 1", n)
	}
}

func TestALateEndTellsOfTheSessionBehindIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(sessions)
	h.add(says("s", "a"), at(says("s", "b"), noon.Add(10*time.Minute)))
	h.step(r)
	h.after(2*time.Hour, r)
	h.wantRules("opened", "closed")
	h.add(at(end("s"), noon.Add(5*time.Minute)))
	h.step(r)
	h.after(time.Minute, r)
	h.after(time.Hour, r)
	h.wantRules("opened", "closed", "changed", "closed")
}

func TestSessionsThatAreJoinedAreToldAsOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(sessions)
	h.add(says("s", "a"), at(says("s", "b"), noon.Add(50*time.Minute)))
	h.step(r)
	h.after(3*time.Hour, r)
	h.wantRules("opened", "opened", "closed", "closed")
	h.add(at(says("s", "between"), noon.Add(25*time.Minute)))
	h.step(r)
	h.after(time.Minute, r)
	h.after(time.Hour, r)
	h.wantRules("opened", "opened", "closed", "closed", "changed")
	if n := h.count("SELECT count(*) FROM told_sessions"); n != 1 {
		t.Errorf("%d sessions are told, want 1", n)
	}
}

func TestSessionsThatClosedBeforeThereWereRulesAreNotTold(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add(says("closed", "a"), at(says("closed", "z"), noon.Add(2*time.Hour)), at(says("open", "a"), noon.Add(2*time.Hour)))
	h.now = noon.Add(2 * time.Hour)
	r := h.open(hello)
	h.step(r)
	h.now = h.now.Add(time.Minute)
	r = h.open(sessions) // only now a rule is on them
	h.after(20*time.Minute, r)
	h.wantRules()
	h.add(at(says("closed", "late"), noon.Add(2*time.Hour+time.Minute)))
	h.step(r)
	h.after(time.Hour, r)
	h.wantRules("closed", "closed") // both that were open
}

func TestARebuildFiresNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(sessions + "  - {name: said, on: chat.push, then: peer}\n")
	h.add(says("s", "a"), end("s"), says("open", "a"))
	h.step(r)
	h.after(time.Minute, r)
	before := len(h.rules())
	rebuild, err := store.BeginRebuild(t.Context(), h.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer rebuild.Close()
	if _, err := aggregator.Rebuild(t.Context(), rebuild, rapport.DefaultSettings(), func(aggregator.RebuildProgress) {}); err != nil {
		t.Fatal(err)
	}
	h.fold()
	h.step(r)
	h.after(time.Minute, r)
	if got := h.rules(); len(got) != before {
		t.Errorf("%v have fired, %d before", got, before)
	}
	h.after(time.Hour, r)
	h.wantRules("said", "opened", "said", "opened", "closed", "closed")
}

func TestRetentionWaitsForNoRules(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(sessions + "  - {name: said, on: chat.push, count: {over: 7d, more_than: 9}, then: peer}\n")
	old := noon.AddDate(0, -2, 0)
	h.add(at(says("s", "a"), old), at(says("s", "late"), old.Add(time.Second)))
	h.step(r)
	h.after(time.Minute, r)
	h.wantRules("opened", "closed")
	h.add(at(says("s", "not seen by rules"), old.Add(time.Minute)))
	retained, err := h.Retain(t.Context(), store.Retention{Events: 24 * time.Hour}, "test", noon)
	if err != nil || !retained.HorizonMoved || len(retained.Months) == 0 {
		t.Fatalf("%+v, %v", retained, err)
	}
	if n := h.count("SELECT (SELECT count(*) FROM told_sessions) + (SELECT count(*) FROM due_conversations)"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	h.step(r)
	h.after(time.Hour, r)
	h.wantRules() // deliveries about what has gone are gone as well
	h.add(says("s", "new"))
	h.step(r)
	h.wantRules("opened")
}

func TestASessionDoesNotCloseWhileItsEventsWaitToBeFolded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(sessions)
	h.add(says("s", "a"))
	h.step(r)
	h.now = h.now.Add(20 * time.Minute)
	h.append(says("s", "b"))
	h.after(20*time.Minute, r)
	h.wantRules("opened")
	h.fold()
	h.step(r)
	h.wantRules("opened")
	h.after(10*time.Minute, r)
	h.wantRules("opened", "closed")
}
