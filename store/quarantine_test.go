package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store"
	"rapport/store/storetest"
)

// tally is the row of quarantine_tally, and what it has to add up to.
type tally struct{ Received, Pruned, Replayed, Seen int64 }

func quarantineTally(t *testing.T, db *storetest.Database) tally {
	t.Helper()
	rows := storetest.Query(t, db, "rapport_server", pgx.RowToStructByPos[tally], `
		SELECT received, pruned, replayed, (SELECT coalesce(sum(seen_count), 0)::bigint FROM quarantine) FROM quarantine_tally`)
	if len(rows) != 1 {
		t.Fatalf("%d tallies, want 1", len(rows))
	}
	return rows[0]
}

func TestTheQuarantineIsTallied(t *testing.T) {
	t.Parallel()
	keep := func(t *testing.T, db *store.DB, body string, at time.Time) int64 {
		t.Helper()
		id, err := db.Quarantine(t.Context(), []byte(body), "no event", nil, at)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}

	t.Run("each delivery is received, whether its body is new or not", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		keep(t, db.DB, "a", noon)
		keep(t, db.DB, "b", noon)
		if first, second := keep(t, db.DB, "c", noon), keep(t, db.DB, "c", noon); first != second {
			t.Errorf("entries %d and %d of one body", first, second)
		}
		if got, want := quarantineTally(t, db), (tally{Received: 4, Seen: 4}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})

	t.Run("what is pruned or replayed is counted by its deliveries", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		keep(t, db.DB, "old", noon.Add(-time.Hour))
		keep(t, db.DB, "old", noon.Add(-time.Hour))
		replayed := keep(t, db.DB, "event", noon)
		keep(t, db.DB, "event", noon)
		keep(t, db.DB, "event", noon)
		keep(t, db.DB, "stays", noon)
		pruned, err := db.QuarantinePrune(t.Context(), store.QuarantineBounds{MaxAge: time.Minute, MaxBytes: 1 << 20}, noon)
		if err != nil || pruned != 1 {
			t.Fatalf("pruned %d entries, %v; want 1", pruned, err)
		}
		if err := db.QuarantineDelete(t.Context(), []int64{replayed, 1_000_000}); err != nil {
			t.Fatal(err)
		}
		if got, want := quarantineTally(t, db), (tally{Received: 6, Pruned: 2, Replayed: 3, Seen: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})

	t.Run("of several servers at once none waits for ever, and it adds up", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		other, err := store.Open(t.Context(), db.URL("rapport_server"))
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		const rounds = 60
		var wg sync.WaitGroup
		for i, server := range []*store.DB{db.DB, other, db.DB, other} {
			wg.Go(func() {
				for n := range rounds {
					_, err := server.Quarantine(t.Context(), fmt.Append(nil, "body ", n*(i+1)%7), "no event", nil, noon.Add(time.Duration(n)*time.Second))
					if err != nil {
						t.Error(err)
					}
				}
			})
			wg.Go(func() {
				for n := range rounds / 4 {
					bounds := store.QuarantineBounds{MaxAge: time.Hour, MaxBytes: 3 * 520}
					if _, err := server.QuarantinePrune(t.Context(), bounds, noon); err != nil {
						t.Error(err)
					}
					entries, err := server.QuarantineList(t.Context(), 0, 10)
					if err != nil {
						t.Error(err)
					}
					var ids []int64
					for _, e := range entries[:min(n%4, len(entries))] {
						ids = append(ids, e.ID)
					}
					if err := server.QuarantineDelete(t.Context(), ids); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		got := quarantineTally(t, db)
		if got.Received != 4*rounds || got.Received != got.Seen+got.Pruned+got.Replayed || got.Pruned == 0 || got.Replayed == 0 {
			t.Errorf("%+v of %d deliveries does not add up", got, 4*rounds)
		}
	})

	t.Run("a tally that is missing keeps no delivery from being kept", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		db.Exec(t, "rapport_owner", "DELETE FROM quarantine_tally")
		keep(t, db.DB, "a", noon)
		if got, want := quarantineTally(t, db), (tally{Received: 1, Seen: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}
