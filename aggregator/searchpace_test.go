package aggregator

import (
	"testing"
	"time"

	"rapport/store"
)

func TestTheSearchGivesWay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)
	const took = 100 * time.Millisecond
	for name, c := range map[string]struct {
		head, later int64 // of the log, at first and a second later
		folded      int64 // a second later
		limit       int
		rest        time.Duration
	}{
		"while the log rests, it works all the time":       {1_000_000, 1_000_000, 1_000_000, searchEvents, 0},
		"while the log grows slowly, too":                  {1_000_000, 1_000_100, 1_000_100, searchEvents, 0},
		"while it grows quickly, a tenth of the time":      {1_000_000, 1_001_000, 1_001_000, hurryEvents, 9 * took},
		"the sessions may be behind a little":              {1_000_000, 1_000_000, 998_000, searchEvents, 0},
		"while the sessions are behind, it does nothing":   {1_000_000, 1_000_000, 997_999, 0, 0},
		"while they are far behind and the log grows, too": {1_000_000, 1_020_000, 900_000, 0, 9 * took},
	} {
		var pace searchPace
		pace.limit(store.SearchStanding{Head: c.head, Folded: c.head}, now)
		limit := pace.limit(store.SearchStanding{Head: c.later, Folded: c.folded}, now.Add(time.Second))
		if limit != c.limit {
			t.Errorf("%s: %d events, want %d", name, limit, c.limit)
		}
		if rest := pace.rest(took, false); rest != c.rest {
			t.Errorf("%s: a rest of %v, want %v", name, rest, c.rest)
		}
		if rest := pace.rest(took, true); rest != max(c.rest, idleRest) {
			t.Errorf("%s: a rest of %v at the head, want %v", name, rest, max(c.rest, idleRest))
		}
	}
}

func TestTheSearchTakesSmallerStepsAfterOneThatFailed(t *testing.T) {
	t.Parallel()
	var pace searchPace
	limit := func() int { return pace.limit(store.SearchStanding{}, time.Time{}) }
	for range 20 {
		pace.failed()
	}
	if got := limit(); got != 1 {
		t.Errorf("after failures %d, want 1", got)
	}
	for range 20 {
		pace.took(limit())
	}
	if got := limit(); got != searchEvents {
		t.Errorf("after all went well %d, want %d", got, searchEvents)
	}
}
