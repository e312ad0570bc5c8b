package store

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPiecesAreTheWhole: every moment of the buckets is in one piece, rows are aligned,
// and what has no row is shorter than two of the least.
func TestPiecesAreTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		bounds := []time.Time{time.UnixMicro(rapid.Int64Range(1_700_000_000_000_000, 1_800_000_000_000_000).Draw(t, "from")).UTC()}
		for range rapid.IntRange(0, 5).Draw(t, "buckets") {
			step := rapid.OneOf(
				rapid.Map(rapid.Int64Range(0, 40*86_400_000_000), func(us int64) time.Duration { return time.Duration(us) * time.Microsecond }),
				rapid.Map(rapid.Int64Range(0, 400), func(n int64) time.Duration { return time.Duration(n) * quarterHour * time.Minute }),
			).Draw(t, "step")
			bounds = append(bounds, bounds[len(bounds)-1].Add(step))
		}
		whole, ragged := piecesOf(bounds)
		var sum time.Duration
		for _, p := range append(whole, ragged...) {
			sum += p.till.Sub(p.since)
			if !p.since.Before(p.till) || p.since.Before(bounds[0]) || p.till.After(bounds[len(bounds)-1]) {
				t.Fatalf("%+v is no piece of %v", p, bounds)
			}
			if p.grain != 0 && (!grainStart(p.grain, p.since).Equal(p.since) || !grainStart(p.grain, p.till).Equal(p.till)) {
				t.Fatalf("%+v is not aligned", p)
			}
			for _, bound := range bounds {
				start := grainStart(max(p.grain, 1), bound)
				if p.grain != 0 && !start.Equal(bound) && !start.Before(p.since) && start.Before(p.till) {
					t.Fatalf("a row of %+v is in two buckets, for %v cuts it", p, bound)
				}
			}
			for _, other := range append(whole, ragged...) {
				if other != p && other.since.Before(p.till) && p.since.Before(other.till) {
					t.Fatalf("%+v and %+v overlap", p, other)
				}
			}
		}
		if sum != bounds[len(bounds)-1].Sub(bounds[0]) {
			t.Fatalf("the pieces are %v of %v", sum, bounds)
		}
	})
}

func TestTextsAreCutAsTheDatabaseDoes(t *testing.T) {
	t.Parallel()
	long := ""
	for range 120 {
		long += "é"
	}
	if got := countText(long); got != long[:200] {
		t.Errorf("%d bytes", len(got))
	}
	if got := countText(long[:180]); got != long[:180] {
		t.Errorf("%d bytes", len(got))
	}
}
