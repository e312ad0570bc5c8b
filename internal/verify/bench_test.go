package verify_test

import (
	"testing"

	"rapport/internal/verify"
	"rapport/store"
	"rapport/store/storetest"
)

// BenchmarkVerify tells how many events a second are verified, of a log of about
// 100,000 in two months.
func BenchmarkVerify(b *testing.B) {
	db := storetest.New(b)
	if err := db.MakeWith(b.Context(), store.SessionsFollower, settings(b, db)); err != nil {
		b.Fatal(err)
	}
	events := conversations(b, 1, 12_000)
	for len(events) > 0 {
		batch := events[:min(5000, len(events))]
		events = events[len(batch):]
		if _, err := db.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		follow(b, db, 10_000)
	}
	var verified int64
	for b.Loop() {
		report, err := verify.Run(b.Context(), verify.Options{DB: db.DB, Decode: decode, MaxDifferences: 10})
		if err != nil {
			b.Fatal(err)
		}
		requireClean(b, report)
		verified += report.Events
	}
	b.ReportMetric(float64(verified)/b.Elapsed().Seconds(), "events/s")
}
