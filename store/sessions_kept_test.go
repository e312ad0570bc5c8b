package store_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"rapport/store"
)

// TestAKeptPageIsAsTheDatabaseHasIt changes sessions in every way that there is, and
// compares pages that are kept with those that are read anew.
func TestAKeptPageIsAsTheDatabaseHasIt(t *testing.T) {
	t.Parallel()
	db := withSessions(t, 60)
	random := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- the same each time
	queries := []store.SessionQuery{
		{Sort: store.SortStartedAt, Descending: true, Limit: 10},
		{Sort: store.SortLastActivityAt, Descending: true, Limit: 20},
		{Sort: store.SortStartedAt, AgentID: pages(t, db, store.SessionQuery{Sort: store.SortStartedAt, Limit: 1})[0].AgentID, Limit: 10},
		{Sort: store.SortStartedAt, AgentID: "nobody", Limit: 10},
	}
	kept := 0
	for range 40 {
		for _, query := range queries {
			query.Now = time.Now()
			want, wantBehind, err := db.Sessions(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			query.Keep = true
			got, behind, err := db.Sessions(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if got[i].Shown != nil {
					kept++
					row := *got[i]
					row.Shown = nil
					got[i] = &row // the other one is kept
				}
			}
			requireSameSessions(t, got, want)
			if (behind == nil) != (wantBehind == nil) || behind != nil && (behind.Key != wantBehind.Key || *behind.Value != *wantBehind.Value) {
				t.Fatalf("behind %v, want %v", behind, wantBehind)
			}
		}
		some := fmt.Sprintf("(SELECT ctid FROM sessions ORDER BY started_at DESC OFFSET %d LIMIT %d)", random.IntN(20), 1+random.IntN(3))
		switch random.IntN(5) {
		case 0:
			db.Exec(t, "rapport_owner", "UPDATE sessions SET message_count = message_count + 1 WHERE ctid IN "+some)
		case 1:
			db.Exec(t, "rapport_owner", "DELETE FROM sessions WHERE ctid IN "+some)
		case 2:
			db.Exec(t, "rapport_owner", "UPDATE sessions SET last_activity_at = last_activity_at + interval '1 s' WHERE ctid IN "+some)
		case 3:
			db.Exec(t, "rapport_owner", "UPDATE sessions SET room_name = 'another' WHERE ctid IN "+some)
			db.Exec(t, "rapport_owner", "VACUUM sessions") // whose places others take
		case 4:
			db.Exec(t, "rapport_owner", "DELETE FROM sessions WHERE ctid IN "+some)
			db.Exec(t, "rapport_owner", "VACUUM FULL sessions") // places are others', of the same transaction
		}
	}
	if kept < 500 {
		t.Errorf("%d sessions were kept", kept)
	}
}

// TestWhatIsLongIsNotKept has a sender who calls a room by a hundred kilobytes.
func TestWhatIsLongIsNotKept(t *testing.T) {
	t.Parallel()
	db := withSessions(t, 10)
	db.Exec(t, "rapport_owner", "UPDATE sessions SET room_name = repeat('x', 100000) WHERE started_at = (SELECT max(started_at) FROM sessions)")
	query := store.SessionQuery{Sort: store.SortStartedAt, Descending: true, Limit: 5, Keep: true}
	var rows []*store.SessionRow
	for range 3 {
		var err error
		if rows, _, err = db.Sessions(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	for i, row := range rows {
		if isLong := i == 0; isLong != (len(row.RoomName) == 100_000) || isLong == (row.Shown != nil) {
			t.Errorf("session %d has a room of %d bytes, and is kept: %t", i, len(row.RoomName), row.Shown != nil)
		}
	}
}
