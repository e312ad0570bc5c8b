package store_test

import (
	"reflect"
	"testing"
	"time"

	"rapport/store"
)

// TestTotalsAreReadAnewWhereATableIsWrittenAnew has rows of one transaction come into
// each other's places, as VACUUM FULL does.
func TestTotalsAreReadAnewWhereATableIsWrittenAnew(t *testing.T) {
	t.Parallel()
	db := withSessions(t, 60)
	until := time.Date(2026, 9, 29, 0, 0, 0, 0, time.UTC)
	read := func(db *store.DB) any {
		totals, err := db.SessionTotalsByAgent(t.Context(), store.TotalsFilter{Percentiles: true}, until.AddDate(0, 0, -5), until)
		if err != nil {
			t.Fatal(err)
		}
		return totals
	}
	// The rows that are read are next to each other, so that each can move to another's place.
	db.Exec(t, "rapport_owner", "UPDATE session_totals SET agent_id = agent_id WHERE grain = 1440")
	db.Exec(t, "rapport_owner", "VACUUM FULL session_totals")
	before := read(db.DB)
	db.Exec(t, "rapport_owner", `DELETE FROM session_totals WHERE ctid IN (SELECT ctid FROM session_totals WHERE grain = 1440 AND NOT of_all LIMIT 1)`)
	db.Exec(t, "rapport_owner", `VACUUM FULL session_totals`)
	another, err := store.Open(t.Context(), db.URL("rapport_server"))
	if err != nil {
		t.Fatal(err)
	}
	defer another.Close() // it remembers nothing
	got, want := read(db.DB), read(another)
	if !reflect.DeepEqual(got, want) {
		t.Error("totals of rows that were in these places before")
	}
	if reflect.DeepEqual(before, want) {
		t.Error("the totals are the same without some of them")
	}
}
