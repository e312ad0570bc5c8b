package aggregator

import "testing"

// follows counts the steps from one end of a log to the other, and the events
// that were found to be to blame.
func follows(t *testing.T, length int64, poison map[int64]bool) (steps int, aside []int64) {
	t.Helper()
	s := stride{limit: maxEvents}
	for at := int64(0); at < length; steps++ {
		if steps > 10_000 {
			t.Fatal("it never ends")
		}
		last, refused := min(at+int64(s.limit), length), false
		for p := at + 1; p <= last; p++ {
			refused = refused || poison[p]
		}
		switch {
		case !refused:
			at = last
			s.took(at)
		case s.refused(at, last, int(last-at)):
			at++
			aside = append(aside, at)
			s.took(at)
		}
	}
	return steps, aside
}

func TestStepsOnTheWayToAnEventThatIsToBlame(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		length int64
		poison []int64
		most   int // steps
	}{
		"none":                  {50_000, nil, 5},
		"one alone":             {1, []int64{1}, 3},
		"the first of a step":   {10_000, []int64{1}, 34},
		"the last of a step":    {10_000, []int64{10_000}, 20},
		"in the middle":         {10_000, []int64{5_001}, 34},
		"two neighbours":        {10_000, []int64{5_000, 5_001}, 38},
		"far apart":             {10_000, []int64{2, 9_999}, 60},
		"in two steps":          {20_000, []int64{5, 15_000}, 70},
		"a run":                 {1_000, []int64{500, 501, 502, 503, 504}, 60},
		"every second of a few": {8, []int64{2, 4, 6, 8}, 24},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			poison := make(map[int64]bool)
			for _, p := range test.poison {
				poison[p] = true
			}
			steps, aside := follows(t, test.length, poison)
			if steps > test.most {
				t.Errorf("it took %d steps, want at most %d", steps, test.most)
			}
			if len(aside) != len(test.poison) {
				t.Fatalf("put aside %v, want %v", aside, test.poison)
			}
			for i := range aside {
				if aside[i] != test.poison[i] {
					t.Errorf("put aside %v, want %v", aside, test.poison)
				}
			}
		})
	}
}
