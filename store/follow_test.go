package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rapport"
	"rapport/store"
	"rapport/store/storetest"
)

// followed are the events that a step gives, which is then rolled back.
func followed(t *testing.T, db *store.DB) []*rapport.Event {
	t.Helper()
	var got []*rapport.Event
	look := errors.New("only looking")
	_, err := db.Follow(t.Context(), store.SessionsFollower, rapport.DefaultSettings(), 100,
		func(_ context.Context, _ *store.Tx, events []*rapport.Event) error {
			got = events
			return look
		})
	if !errors.Is(err, look) {
		t.Fatal(err)
	}
	return got
}

func TestWhoAppendedFollowsTheSameAsWhoReads(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	other, err := store.Open(t.Context(), db.URL("rapport_server"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)

	told, rating := int32(3), 4.5
	join := &rapport.Event{
		Fingerprint: [32]byte{1}, OccurredAt: noon, ReceivedAt: noon, Type: rapport.RoomJoin, AgentID: "a", SessionID: "s",
		UserID: "u", Participants: &told, RoomName: "room", Payload: []byte("{}"),
	}
	end := &rapport.Event{
		Fingerprint: [32]byte{2}, OccurredAt: noon, ReceivedAt: noon, Type: rapport.SessionEnd, AgentID: "a", SessionID: "s",
		EndReason: "timeout", Rating: &rating, Payload: []byte("\xff"), Headers: map[string]string{"webhook-id": "1"},
	}
	healed := message("healed", noon)
	healed.HealedFrom = "https://example.org"
	appendAll(t, db, join, message("a", noon), message("a", noon), healed)
	appendAll(t, db, message("a", noon), end, message("b", noon))

	mine, read := followed(t, db.DB), followed(t, other)
	if diff := cmp.Diff(read, mine); diff != "" || len(mine) != 5 {
		t.Errorf("%d events (-read +from memory):\n%s", len(mine), diff)
	}
	if _, err := other.Append(t.Context(), []*rapport.Event{message("c", noon)}); err != nil {
		t.Fatal(err)
	}
	appendAll(t, db, message("d", noon))
	if got := followed(t, db.DB); len(got) != 7 {
		t.Errorf("beside another server: %d events, want 7", len(got))
	}
}
