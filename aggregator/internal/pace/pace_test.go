package pace_test

import (
	"testing"
	"time"

	"rapport/aggregator/internal/pace"
)

func TestWhoComesLastGivesWay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)
	const (
		took     = 100 * time.Millisecond
		idleRest = 500 * time.Millisecond
	)
	for name, c := range map[string]struct {
		head, later int64 // of the log, at first and a second later
		folded      int64 // a second later
		limit       int
		rest        time.Duration
	}{
		"while the log rests, it works all the time":       {1_000_000, 1_000_000, 1_000_000, 2000, 0},
		"while the log grows slowly, too":                  {1_000_000, 1_000_100, 1_000_100, 2000, 0},
		"while it grows quickly, a tenth of the time":      {1_000_000, 1_001_000, 1_001_000, 500, 9 * took},
		"the sessions may be behind a little":              {1_000_000, 1_000_000, 998_000, 2000, 0},
		"while the sessions are behind, it does nothing":   {1_000_000, 1_000_000, 997_999, 0, 0},
		"while they are far behind and the log grows, too": {1_000_000, 1_020_000, 900_000, 0, 9 * took},
	} {
		p := pace.Pace{Events: 2000, Hurried: 500, Quick: 100, IdleRest: idleRest}
		p.Limit(c.head, c.head, now)
		limit := p.Limit(c.later, c.folded, now.Add(time.Second))
		if limit != c.limit {
			t.Errorf("%s: %d events, want %d", name, limit, c.limit)
		}
		if rest := p.Rest(took, false); rest != c.rest {
			t.Errorf("%s: a rest of %v, want %v", name, rest, c.rest)
		}
		if rest := p.Rest(took, true); rest != max(c.rest, idleRest) {
			t.Errorf("%s: a rest of %v at the head, want %v", name, rest, max(c.rest, idleRest))
		}
	}
}

func TestWhoHasPatienceTakesASmallStepInTheEnd(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)
	p := pace.Pace{Events: 2000, Hurried: 500, Quick: 100, Patience: 10 * time.Second}
	steps := 0
	for second := range 31 {
		switch limit := p.Limit(1_000_000, 900_000, now.Add(time.Duration(second)*time.Second)); limit {
		case 0:
		case 500:
			steps++
		default:
			t.Errorf("a step of %d events, want a small one of 500", limit)
		}
	}
	if steps != 3 {
		t.Errorf("%d steps in half a minute, want 3", steps)
	}
}
