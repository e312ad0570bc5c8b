package store_test

import (
	"testing"
	"time"

	"rapport/store"
	"rapport/store/storetest"
)

// TestTotalsOfVeryManyRows is of more rows than a server holds at once.
func TestTotalsOfVeryManyRows(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	const quarters = 20_100
	db.Exec(t, "postgres", `
		INSERT INTO session_totals
		SELECT 15, true, '', timestamptz '2026-01-01 00:00:00Z' + n * interval '15 min', 1, 0, 0, 0, 0, 0, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		       0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ARRAY[(n % 100)::smallint], ARRAY[1::bigint], '{}', '{}'
		FROM generate_series(0, $1::integer - 1) n`, quarters)
	bounds := make([]time.Time, quarters+1)
	for i := range bounds {
		bounds[i] = time.Date(2026, 1, 1, 0, 15*i, 0, 0, time.UTC)
	}
	for _, count := range []int{1500, quarters} {
		for _, percentiles := range []bool{true, false, true} {
			totals, err := db.SessionTotals(t.Context(), store.TotalsFilter{Percentiles: percentiles}, bounds[:count+1])
			if err != nil || len(totals) != count {
				t.Fatal(len(totals), err)
			}
			for i := range totals {
				median, ok := totals[i].Duration.Quantile(0.5)
				if totals[i].Sessions != 1 || totals[i].Messages != int64(i) || ok != percentiles || ok && median != int64(i%100) {
					t.Fatalf("%d of %d: %+v", i, count, totals[i])
				}
			}
		}
	}
}
