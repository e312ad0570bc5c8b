package store_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"rapport/store"
	"rapport/store/storetest"
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

// TestASessionIDThatIsUsedForEver has more sessions than a page has rows: a page of the
// messages reads no more of them.
func TestASessionIDThatIsUsedForEver(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	const conversations = 40
	for i := range conversations {
		said := message("", noon.Add(time.Duration(i)*time.Hour))
		said.SessionID, said.AgentID, said.Text = "kiosk", "a", fmt.Sprint("visitor ", i)
		appendAll(t, db, said)
	}
	foldAll(t, db)
	query := store.TranscriptQuery{SessionID: "kiosk", Limit: 5}
	var texts []string
	for {
		sessions, messages, behind, err := db.SessionsAndMessages(t.Context(), query)
		if err != nil || len(sessions) != conversations {
			t.Fatalf("%d sessions, %v", len(sessions), err)
		}
		for _, m := range messages {
			if m.SessionStartedAt == nil || !m.SessionStartedAt.Equal(m.OccurredAt) {
				t.Errorf("%s is in the session of %v", m.Text, m.SessionStartedAt)
			}
			texts = append(texts, m.Text)
		}
		if query.After = behind; behind == nil {
			break
		}
	}
	for i, text := range texts {
		if text != fmt.Sprint("visitor ", i) {
			t.Errorf("message %d is %q", i, text)
		}
	}
	if len(texts) != conversations {
		t.Errorf("%d messages", len(texts))
	}
}
