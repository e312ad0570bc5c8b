package rapport_test

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"rapport"
)

func histogramOf(values ...int64) rapport.Histogram {
	var h rapport.Histogram
	for _, v := range values {
		h.Add(v)
	}
	return h
}

func TestQuantilesOfSmallIntegersAreExact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []int64
		q      float64
		want   int64
	}{
		{[]int64{7}, 0.5, 7},
		{[]int64{1, 2, 3, 4}, 0.5, 2},
		{[]int64{1, 2, 3, 4}, 0.51, 3},
		{[]int64{4, 3, 2, 1}, 0.75, 3},
		{[]int64{1, 2, 3, 4}, 0, 1},
		{[]int64{1, 2, 3, 4}, 1, 4},
		{[]int64{0, 0, 127}, 0.95, 127},
		{[]int64{-5, 2}, 0.5, 0},
		{slices.Repeat([]int64{1}, 93), 0.95, 1},
		{append(slices.Repeat([]int64{1}, 7), slices.Repeat([]int64{2}, 93)...), 0.07, 1}, // 0.07·100 is 7, and no more
		{append(slices.Repeat([]int64{1}, 19), 2), 0.95, 1},
	} {
		if got, ok := histogramOf(c.values...).Quantile(c.q); !ok || got != c.want {
			t.Errorf("%v of %v is %d, %v; want %d", c.q, c.values, got, ok, c.want)
		}
	}
	if got, ok := (rapport.Histogram{}).Quantile(0.5); ok || got != 0 {
		t.Errorf("of nothing it is %d, %v", got, ok)
	}
}

// TestQuantilesAreOfTheNearestRank compares with ⌈q·n⌉ as fractions have it.
func TestQuantilesAreOfTheNearestRank(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n, part := rapid.Int64Range(1, 127).Draw(t, "n"), rapid.Int64Range(1, 100_000).Draw(t, "part")
		values := make([]int64, n)
		for i := range values {
			values[i] = int64(i) + 1
		}
		rank := new(big.Int).Mul(big.NewInt(part), big.NewInt(n))
		rank.Add(rank, big.NewInt(99_999)).Quo(rank, big.NewInt(100_000))
		q, _ := strconv.ParseFloat(fmt.Sprintf("%d.%05d", part/100_000, part%100_000), 64)
		if got, _ := histogramOf(values...).Quantile(q); got != rank.Int64() {
			t.Errorf("the part %v of %d is the %dth, want the %dth", q, n, got, rank)
		}
	})
}

func TestQuantilesAreWithinOnePercent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, math.MaxInt64), 1, 200).Draw(t, "values")
		rank := rapid.IntRange(1, len(values)).Draw(t, "rank")
		got, _ := histogramOf(values...).Quantile(float64(rank) / float64(len(values)))
		slices.Sort(values)
		// A quotient of two floats may be a hair above the rank.
		lower, upper := float64(values[rank-1]), float64(values[min(rank, len(values)-1)])
		if g := float64(got); g < lower*0.99 || g > upper*1.01 {
			t.Fatalf("rank %d is %d, want %d", rank, got, values[rank-1])
		}
	})
}

func TestHistogramsAddUpAndCanBeTakenAway(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOf(rapid.Int64Range(0, 1<<40))
		a, b := numbers.Draw(t, "a"), numbers.Draw(t, "b")
		sum := histogramOf(a...)
		sum.Merge(histogramOf(b...))
		if !sum.Equal(histogramOf(append(slices.Clone(b), a...)...)) || sum.Count() != int64(len(a)+len(b)) {
			t.Fatal("the parts are not the whole")
		}
		before := histogramOf(a...)
		copied := before
		copied.Merge(histogramOf(b...))
		if !before.Equal(histogramOf(a...)) {
			t.Fatal("a copy has changed the original")
		}
		sum.Sub(histogramOf(b...))
		if !sum.Equal(before) {
			t.Fatal("taking away leaves something else")
		}
		sum.Sub(before)
		if !sum.IsZero() || sum.Count() != 0 {
			t.Fatal("nothing is left, but it is not zero")
		}
	})
}

func TestManyHistogramsAddUpAtOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOfN(rapid.Int64(), 0, 20)
		parts := make([]rapport.Histogram, rapid.IntRange(0, 8).Draw(t, "parts"))
		mine := numbers.Draw(t, "mine")
		sum, one := histogramOf(mine...), histogramOf(mine...)
		for i := range parts {
			parts[i] = histogramOf(numbers.Draw(t, "of a part")...)
			one.Merge(parts[i])
		}
		last := slices.Clone(parts)
		sum.MergeAll(parts)
		if !sum.Equal(one) || !slices.EqualFunc(parts, last, rapport.Histogram.Equal) {
			t.Fatal("together they are not what they are one by one")
		}
	})
}

func TestHistogramsAreReadBackFromTheirColumns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := histogramOf(rapid.SliceOf(rapid.Int64()).Draw(t, "values")...)
		again, err := rapport.HistogramOf(h.Columns())
		if err != nil || !again.Equal(h) {
			t.Fatal(err)
		}
	})
	for name, c := range map[string]struct {
		bins   []int16
		counts []int64
	}{
		"of different lengths": {[]int16{1}, nil},
		"out of order":         {[]int16{2, 1}, []int64{1, 1}},
		"twice":                {[]int16{2, 2}, []int64{1, 1}},
		"empty":                {[]int16{2}, []int64{0}},
		"negative":             {[]int16{-1}, []int64{1}},
		"beyond all values":    {[]int16{3712}, []int64{1}},
	} {
		if _, err := rapport.HistogramOf(c.bins, c.counts); err == nil {
			t.Errorf("columns %s were taken", name)
		}
	}
}
