package store_test

import (
	"reflect"
	"testing"
	"time"

	"rapport/store"
)

// TestMessagesAreTheSameForWhateverIsFiltered asks for the first page with and without
// filters that leave nothing out, which are different statements.
func TestMessagesAreTheSameForWhateverIsFiltered(t *testing.T) {
	t.Parallel()
	db := withSessions(t, 60)
	sessions := pages(t, db, store.SessionQuery{Sort: store.SortStartedAt, Limit: 1000, Now: time.Now()})
	read := 0
	for _, s := range sessions {
		for _, limit := range []int{3, 1000} {
			plain, behind, err := db.Messages(t.Context(), store.TranscriptQuery{SessionID: s.SessionID, Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			filtered, filteredBehind, err := db.Messages(t.Context(), store.TranscriptQuery{
				SessionID: s.SessionID, Agents: agentsOf(sessions), Limit: limit,
			})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(plain, filtered) || !reflect.DeepEqual(behind, filteredBehind) {
				t.Errorf("%s: %d and %d messages, behind %v and %v", s.SessionID, len(plain), len(filtered), behind, filteredBehind)
			}
			read += len(plain)
		}
	}
	if read < 100 {
		t.Errorf("only %d messages were read", read)
	}
}
