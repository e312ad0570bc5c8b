package store_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"rapport"
	"rapport/store"
	"rapport/store/storetest"
)

var statsNoon = time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)

// ratedSessions are folded sessions with numbers that are hard to round.
func ratedSessions(t *testing.T, db *storetest.Database) []*store.SessionRow {
	t.Helper()
	rng := rand.New(rand.NewPCG(9, 10))
	ratings := []float64{3.2005, -0.0005, 0.0005, 1e300, math.Inf(-1), math.NaN(), 4.9995, 2.5}
	texts := []string{"Hello!", "This is awful.", "I hate it, terrible, the worst", "Thanks, wonderful"}
	var events []*rapport.Event
	for i := range 400 {
		e := &rapport.Event{
			OccurredAt: statsNoon.Add(time.Duration(rng.IntN(200_000_000)) * time.Microsecond * time.Duration(rng.IntN(60))),
			ReceivedAt: statsNoon, Type: rapport.ChatPush, Role: []string{"user", "agent"}[rng.IntN(2)], Text: texts[rng.IntN(4)],
			AgentID: fmt.Sprint("agent", rng.IntN(3)), SessionID: fmt.Sprint("session", rng.IntN(40)), Payload: []byte("{}"),
			RoomName: []string{"", "a", "A", "ä"}[rng.IntN(4)], UserID: []string{"", "u"}[rng.IntN(2)],
		}
		switch rng.IntN(8) {
		case 0:
			e.Type, e.Role, e.Text, e.Rating = "session.userSatisfaction", "", "", &ratings[rng.IntN(len(ratings))]
		case 1:
			e.Type, e.Role, e.Text = rapport.RoomJoin, "", ""
		}
		e.Fingerprint[0], e.Fingerprint[1] = byte(i), byte(i>>8)
		events = append(events, e)
	}
	if _, err := db.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	foldAll(t, db)
	rows, _, err := db.Sessions(t.Context(), store.SessionQuery{Sort: store.SortStartedAt, Limit: 1000})
	if err != nil || len(rows) < 50 {
		t.Fatal(len(rows), err)
	}
	return rows
}

// foldAll brings the rollups of a new log up to it.
func foldAll(t *testing.T, db *storetest.Database) {
	t.Helper()
	settings := rapport.DefaultSettings()
	_, err := db.Follow(t.Context(), store.SessionsFollower, settings, 100_000, func(ctx context.Context, tx *store.Tx, events []*rapport.Event) error {
		of := map[store.Conversation][]*rapport.Event{}
		for _, e := range events {
			c := store.Conversation{AgentID: e.AgentID, SessionID: e.SessionID}
			of[c] = append(of[c], e)
		}
		var change store.Change
		for _, group := range of {
			change.Written = append(change.Written, rapport.NewFold(settings).Windows(group)...)
		}
		return tx.Write(ctx, change, settings.IdleTimeout)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sumOf(rows []*store.SessionRow, holds func(*store.SessionRow) bool) rapport.Totals {
	var sum rapport.Totals
	for i := range rows {
		if holds(rows[i]) {
			sum.Add(rapport.TotalsOf(&rows[i].Session))
		}
	}
	return sum
}

// TestTotalsAreTheSameFromSQLFromGoAndFromWhatIsKept compares every sum and every bin.
func TestTotalsAreTheSameFromSQLFromGoAndFromWhatIsKept(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rows := ratedSessions(t, db)
	middle := rows[len(rows)/2].StartedAt
	bounds := []time.Time{statsNoon, statsNoon.Add(7 * time.Minute), statsNoon.Add(7 * time.Minute), middle, statsNoon.Add(2 * time.Hour), statsNoon.Add(24 * time.Hour)}
	within := func(i int) func(*store.SessionRow) bool {
		return func(r *store.SessionRow) bool {
			return !r.StartedAt.Before(bounds[i]) && r.StartedAt.Before(bounds[i+1])
		}
	}
	for _, c := range []struct {
		filter store.SessionFilter
		holds  func(*store.SessionRow) bool
	}{
		{store.SessionFilter{}, func(*store.SessionRow) bool { return true }},
		{store.SessionFilter{TotalsFilter: store.TotalsFilter{AgentID: "agent1"}}, func(r *store.SessionRow) bool { return r.AgentID == "agent1" }},
		{store.SessionFilter{TotalsFilter: store.TotalsFilter{Agents: []string{"agent0", "agent2"}}}, func(r *store.SessionRow) bool { return r.AgentID != "agent1" }},
		{store.SessionFilter{TotalsFilter: store.TotalsFilter{AgentID: "agent1", Agents: []string{"agent0"}}}, func(*store.SessionRow) bool { return false }},
		{store.SessionFilter{RoomName: "a"}, func(r *store.SessionRow) bool { return r.RoomName == "a" }},
		{store.SessionFilter{UserID: "u"}, func(r *store.SessionRow) bool { return r.UserID == "u" }},
		{store.SessionFilter{MinMessages: 3}, func(r *store.SessionRow) bool { return r.MessageCount >= 3 }},
		{store.SessionFilter{EngagementTier: rapport.TierContinued}, func(r *store.SessionRow) bool { return r.EngagementTier() == rapport.TierContinued }},
	} {
		c.filter.Percentiles = true
		filtered, err := db.FilteredTotals(t.Context(), c.filter, bounds)
		if err != nil {
			t.Fatal(err)
		}
		kept := filtered
		if c.filter.IsOfAgents() {
			if kept, err = db.SessionTotals(t.Context(), c.filter.TotalsFilter, bounds); err != nil {
				t.Fatal(err)
			}
		}
		for i := range len(bounds) - 1 {
			want := sumOf(rows, func(r *store.SessionRow) bool { return c.holds(r) && within(i)(r) })
			if !filtered[i].Equal(want) || !kept[i].Equal(want) {
				t.Errorf("%+v, bucket %d:\n%+v\n%+v, want\n%+v", c.filter, i, filtered[i], kept[i], want)
			}
		}
	}
}

func TestTotalsOfEachGroup(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rows := ratedSessions(t, db)
	for by, keyOf := range map[store.SessionColumn]func(*store.SessionRow) string{
		store.ByAgent: func(r *store.SessionRow) string { return r.AgentID },
		store.ByTier:  func(r *store.SessionRow) string { return r.EngagementTier() },
		store.ByRoom:  func(r *store.SessionRow) string { return r.RoomName },
	} {
		for _, percentiles := range []bool{false, true} {
			var all rapport.Totals
			filter := store.SessionFilter{TotalsFilter: store.TotalsFilter{Percentiles: percentiles}}
			err := db.GroupedTotals(t.Context(), filter, by, statsNoon, statsNoon.Add(24*time.Hour), func(key string, got rapport.Totals) {
				want := sumOf(rows, func(r *store.SessionRow) bool { return keyOf(r) == key })
				if !percentiles {
					want.Duration, want.Response = rapport.Histogram{}, rapport.Histogram{}
				}
				if want.Sessions == 0 || !got.Equal(want) {
					t.Errorf("%s %q: %+v, want %+v", by, key, got, want)
				}
				all.Add(got)
			})
			if err != nil || all.Sessions != int64(len(rows)) {
				t.Errorf("%s: %d sessions of %d, %v", by, all.Sessions, len(rows), err)
			}
		}
	}
}

func TestABinInSQLIsThatOfTheHistogram(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rows := ratedSessions(t, db)
	for i, ms := range []int64{0, 127, 128, 129, 255, 256, 1 << 40, math.MaxInt64} {
		room := fmt.Sprint("room", i)
		db.Exec(t, "rapport_server", "UPDATE sessions SET duration_ms = $1, room_name = $2 WHERE session_id = $3 AND agent_id = $4 AND started_at = $5",
			ms, room, rows[i].SessionID, rows[i].AgentID, rows[i].StartedAt)
		var want rapport.Histogram
		want.Add(ms)
		filter := store.SessionFilter{TotalsFilter: store.TotalsFilter{Percentiles: true}, RoomName: room}
		got, err := db.FilteredTotals(t.Context(), filter, []time.Time{statsNoon, statsNoon.Add(24 * time.Hour)})
		if err != nil || got[0].Sessions != 1 || !got[0].Duration.Equal(want) {
			t.Errorf("%d ms: %+v, %v; want %+v", ms, got, err, want)
		}
	}
}
