package bi

import (
	"testing"
	"time"

	"rapport/aggregator"
	"rapport/internal/bench/history"
	"rapport/store"
	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var plan = history.Plan{Sessions: 400, Seed: 7, Until: time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC), Days: 40}

// folded is a database with the log of a plan and its rollups.
func folded(t *testing.T, plan history.Plan) *storetest.Database {
	t.Helper()
	db := storetest.New(t)
	if _, err := plan.Load(t.Context(), db.URL("rapport_owner"), func(int64, time.Time) {}); err != nil {
		t.Fatal(err)
	}
	rebuild(t, db)
	return db
}

func rebuild(t *testing.T, db *storetest.Database) {
	t.Helper()
	settings, err := db.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := aggregator.Rebuild(t.Context(), r, settings, func(aggregator.RebuildProgress) {}); err != nil {
		t.Fatal(err)
	}
}
