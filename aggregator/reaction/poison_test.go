package reaction_test

import (
	"strings"
	"testing"
	"time"

	"rapport/aggregator/reaction"
)

// tryOn steps until nothing is left to do, whatever fails.
func (h *house) tryOn(r *reaction.Reaction) (failures int) {
	h.t.Helper()
	for range 100 {
		isAtHead, err := r.Step(h.t.Context(), r.Pace())
		if err != nil {
			failures++
		} else if isAtHead {
			return failures
		}
	}
	h.t.Fatal("it comes to no end")
	return failures
}

// refuseDeliveries has the database refuse what tells of an agent.
func (h *house) refuseDeliveries(agent, state string) {
	h.t.Helper()
	h.Exec(h.t, "rapport_owner", `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF NEW.agent_id = '`+agent+`' THEN RAISE EXCEPTION 'refused' USING ERRCODE = '`+state+`'; END IF;
			RETURN NEW;
		END $$`)
	h.Exec(h.t, "rapport_owner", "CREATE TRIGGER refuse BEFORE INSERT ON deliveries FOR EACH ROW EXECUTE FUNCTION refuse()")
}

func TestWhatTheDatabaseRefusesIsPassedOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(hello + "  - {name: closed, on: session.closed, then: peer}\n")
	h.refuseDeliveries("poison", "22000")
	for i := range 40 {
		e := says("s", "hello")
		if i == 17 || i == 30 {
			e.AgentID = "poison"
		}
		h.add(e)
	}
	if failures := h.tryOn(r); failures > 40 {
		t.Errorf("%d steps failed", failures)
	}
	if got := len(h.rules()); got != 38 {
		t.Errorf("%d firings, want 38", got)
	}
	if got := strings.Count(h.told.String(), "never will be"); got != 2 {
		t.Errorf("logged %d times: %s", got, h.told)
	}
	h.now = h.now.Add(time.Hour)
	h.tryOn(r)
	if got := len(h.rules()); got != 39 {
		t.Errorf("%d firings, want 39", got)
	}
}

func TestADatabaseThatFailsIsNoEventsFault(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(hello)
	h.refuseDeliveries("poison", "53100") // the disk is full
	e := says("s", "hello")
	e.AgentID = "poison"
	h.add(says("s", "hello"), e, says("s", "hello"))
	for range 20 {
		if _, err := r.Step(t.Context(), r.Pace()); err == nil {
			t.Fatal("the step is done")
		}
	}
	h.wantRules()
	h.Exec(t, "rapport_owner", "DROP TRIGGER refuse ON deliveries")
	h.step(r)
	h.wantRules("hello", "hello", "hello")
}
