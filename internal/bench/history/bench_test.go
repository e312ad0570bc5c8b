package history_test

import (
	"testing"
	"time"

	"rapport"
	"rapport/internal/bench/history"
	"rapport/store/storetest"
)

// BenchmarkEvents tells how many events a second are made, and BenchmarkLoad how
// many are in the log.
func BenchmarkEvents(b *testing.B) {
	p := history.Plan{Sessions: 10_000, Seed: 1, Until: plan.Until, Days: 90}
	made := 0
	for b.Loop() {
		if err := p.Events(b.Context(), func(events []*rapport.Event) error { made += len(events); return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(made)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkLoad(b *testing.B) {
	p := history.Plan{Sessions: 5000, Seed: 1, Until: plan.Until, Days: 90}
	var loaded int64
	for b.Loop() {
		db := storetest.New(b)
		n, err := p.Load(b.Context(), db.URL("rapport_owner"), func(int64, time.Time) {})
		if err != nil {
			b.Fatal(err)
		}
		loaded += n
	}
	b.ReportMetric(float64(loaded)/b.Elapsed().Seconds(), "events/s")
}
