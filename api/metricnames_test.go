package api

import (
	"math/rand/v2"
	"slices"
	"testing"

	"rapport"
)

// TestAlertsKnowTheMetricsOfTheStatistics: a threshold is compared with what /stats shows.
func TestAlertsKnowTheMetricsOfTheStatistics(t *testing.T) {
	t.Parallel()
	var names []string
	for _, m := range metrics {
		names = append(names, m.name)
	}
	if !slices.Equal(names, rapport.MetricNames()) {
		t.Errorf("the metrics %q, and here %q", rapport.MetricNames(), names)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var totals rapport.Totals
		for _, sum := range totals.Sums() {
			*sum.Value = rng.Int64N(1<<uint(rng.IntN(45)) + 1)
		}
		totals.SentimentThousandths *= -1
		for range rng.IntN(5) {
			totals.Duration.Add(rng.Int64N(1e7))
			totals.Response.Add(rng.Int64N(1e5))
		}
		for _, m := range metrics {
			want := m.of(&totals)
			other, _ := rapport.MetricNamed(m.name)
			n, known := other.Value(&totals)
			if known != want.known || n != want.n || other.Decimals != want.decimals || other.Percentile != m.percentile {
				t.Fatalf("%s is %v %v, and here %+v", m.name, n, known, want)
			}
		}
	}
}
