package store_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"rapport/aggregator"
	"rapport/internal/bench/history"
	"rapport/store"
	"rapport/store/storetest"
)

// withSessions is a database with conversations of many agents.
func withSessions(t *testing.T, n int) *storetest.Database {
	t.Helper()
	db := storetest.New(t)
	plan := history.Plan{Sessions: n, Seed: 3, Until: time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC), Days: 3}
	if _, err := plan.Load(t.Context(), db.URL("rapport_owner"), func(int64, time.Time) {}); err != nil {
		t.Fatal(err)
	}
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
	return db
}

// pages reads a list to its end, a page at a time.
func pages(t *testing.T, db *storetest.Database, query store.SessionQuery) []*store.SessionRow {
	t.Helper()
	var all []*store.SessionRow
	for {
		rows, behind, err := db.Sessions(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rows...)
		if behind == nil {
			return all
		}
		query.After = behind
	}
}

func TestAListIsTheSameInPagesOfAnySizeAndForAnyAgents(t *testing.T) {
	t.Parallel()
	db := withSessions(t, 150)
	now := time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)
	for _, sort := range []store.SessionSort{
		store.SortStartedAt, store.SortLastActivityAt, store.SortMessageCount, store.SortQualityScore,
	} {
		for _, descending := range []bool{false, true} {
			query := store.SessionQuery{Sort: sort, Descending: descending, Limit: 1000, Now: now}
			whole := pages(t, db, query)
			if len(whole) < 100 {
				t.Fatalf("%d sessions", len(whole))
			}
			query.Agents = agentsOf(whole)
			requireSameSessions(t, pages(t, db, query), whole)
			query.Agents, query.Limit = nil, 7
			requireSameSessions(t, pages(t, db, query), whole)
			for _, agents := range [][]string{
				{whole[0].AgentID},
				{whole[0].AgentID, history.BiggestAgent, "nobody", history.BiggestAgent},
				agentsOf(whole),
			} {
				query.Agents = agents
				requireSameSessions(t, pages(t, db, query), slices.DeleteFunc(slices.Clone(whole), func(r *store.SessionRow) bool {
					return !slices.Contains(agents, r.AgentID)
				}))
			}
		}
	}
}

func agentsOf(rows []*store.SessionRow) []string {
	var agents []string
	for i := range rows {
		agents = append(agents, rows[i].AgentID)
	}
	slices.Sort(agents)
	return slices.Compact(agents)
}

// requireSameSessions also compares a column that may be null, so that no row shows
// another's.
func requireSameSessions(t *testing.T, got, want []*store.SessionRow) {
	t.Helper()
	same := func(a, b *store.SessionRow) bool { return reflect.DeepEqual(a, b) }
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("%d sessions in another order or with other values, want %d", len(got), len(want))
	}
}
