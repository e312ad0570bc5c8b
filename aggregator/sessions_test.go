package aggregator_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rapport"
	"rapport/aggregator"
	"rapport/store"
	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var noon = time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)

// random makes n events of one conversation that collide as often as possible:
// equal times, gaps at and around the idle timeout, ends in the middle.
func random(rng *rand.Rand, conversation string, n int) []*rapport.Event {
	gaps := []time.Duration{
		0, 0, time.Microsecond, time.Second, 3 * time.Second, 61 * time.Second, 29 * time.Minute,
		30 * time.Minute, 30*time.Minute + time.Microsecond, 45 * time.Minute,
	}
	texts := []string{"Hello!", "hello", "This is awful.", "Thanks, that is wonderful", "", "no", "Where is it?"}
	types := []string{
		rapport.RoomJoin, rapport.ChatPush, rapport.ChatPush, rapport.ChatPush, rapport.ChatPush,
		rapport.SessionEnd, rapport.AgentError, "custom",
	}
	roles := []string{rapport.RoleUser, rapport.RoleUser, rapport.RoleAgent, "observer"}
	events := make([]*rapport.Event, n)
	at := noon
	for i := range events {
		at = at.Add(gaps[rng.IntN(len(gaps))])
		e := &rapport.Event{
			Fingerprint: sha256.Sum256(fmt.Append(nil, conversation, i)),
			OccurredAt:  at,
			ReceivedAt:  noon,
			Type:        types[rng.IntN(len(types))],
			AgentID:     "agent",
			SessionID:   conversation,
			Payload:     []byte("{}"),
		}
		switch e.Type {
		case rapport.ChatPush:
			e.Role, e.Text = roles[rng.IntN(len(roles))], texts[rng.IntN(len(texts))]
		case rapport.RoomJoin:
			people := int32(rng.IntN(4))
			e.Participants, e.RoomName = &people, fmt.Sprint("room ", i)
		case rapport.SessionEnd:
			rating := float64(rng.IntN(10)) / 2
			e.Rating, e.EndReason = &rating, []string{"", "user_disconnect"}[rng.IntN(2)]
		}
		events[i] = e
	}
	return events
}

// follow runs followers until the rollups contain the log, and stops them.
func follow(t *testing.T, db *storetest.Database, followers int) (stop func()) {
	t.Helper()
	sessions, err := aggregator.NewSessions(rapport.DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range followers {
		f := aggregator.NewFollower(db.DB, db.Watch, sessions, storetest.Logger())
		wg.Go(func() {
			if err := f.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

func caughtUp(t *testing.T, db *storetest.Database) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	head, err := db.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.WaitForFollower(ctx, db.Watch, store.SessionsFollower, head); err != nil {
		t.Fatalf("the follower did not come to %d: %v", head, err)
	}
}

// stored are the sessions of a conversation as the rollups have them.
func stored(t *testing.T, db *storetest.Database, conversation string) []rapport.Session {
	t.Helper()
	rows, err := db.SessionsOfID(t.Context(), conversation, "")
	if err != nil {
		t.Fatal(err)
	}
	var sessions []rapport.Session
	for _, row := range rows {
		sessions = append(sessions, row.Session)
	}
	return sessions
}

// folded are the sessions of a conversation, computed at once from all its events.
func folded(events []*rapport.Event) []rapport.Session {
	var sessions []rapport.Session
	for _, w := range rapport.NewFold(rapport.DefaultSettings()).Windows(events) {
		sessions = append(sessions, w.Session)
	}
	return sessions
}

// appendAll appends in batches of random sizes, and notes the positions.
func appendAll(t *testing.T, db *storetest.Database, rng *rand.Rand, events []*rapport.Event) {
	t.Helper()
	for len(events) > 0 {
		n := min(1+rng.IntN(40), len(events))
		appended, err := db.Append(t.Context(), events[:n])
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range appended {
			events[i].Position = a.Position
		}
		events = events[n:]
	}
}

func TestAnyOrderAndAnySplitGiveTheSameSessions(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	conversations := make(map[string][]*rapport.Event)
	var all []*rapport.Event
	for i := range 60 {
		name := fmt.Sprint("conversation ", i)
		conversations[name] = random(rng, name, 1+rng.IntN(40))
		all = append(all, conversations[name]...)
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })

	stop := follow(t, db, 2)
	defer stop()
	appendAll(t, db, rng, all)
	caughtUp(t, db)
	for name, events := range conversations {
		if diff := cmp.Diff(folded(events), stored(t, db, name)); diff != "" {
			t.Errorf("%s: the rollups are not what the events fold to (-want +got):\n%s", name, diff)
		}
	}
}

func TestEventsInOrderAreCarriedOn(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rng := rand.New(rand.NewPCG(1, 1))
	events := random(rng, "s", 120)
	stop := follow(t, db, 1)
	defer stop()
	for _, e := range events {
		appendAll(t, db, rng, []*rapport.Event{e})
		caughtUp(t, db)
	}
	if diff := cmp.Diff(folded(events), stored(t, db, "s")); diff != "" {
		t.Errorf("the rollups are not what the events fold to (-want +got):\n%s", diff)
	}
}

func TestALateEventJoinsTwoSessions(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rng := rand.New(rand.NewPCG(2, 2))
	at := func(minutes int) *rapport.Event {
		return &rapport.Event{
			Fingerprint: sha256.Sum256(fmt.Append(nil, minutes)), OccurredAt: noon.Add(time.Duration(minutes) * time.Minute),
			ReceivedAt: noon, Type: rapport.ChatPush, AgentID: "agent", SessionID: "s", Role: rapport.RoleUser,
			Text: "again", Payload: []byte("{}"),
		}
	}
	events := []*rapport.Event{at(0), at(50), at(100), at(25)}
	stop := follow(t, db, 1)
	defer stop()
	for i, want := range []int{1, 2, 3, 2} {
		appendAll(t, db, rng, events[i:i+1])
		caughtUp(t, db)
		if got := stored(t, db, "s"); len(got) != want {
			t.Fatalf("after event %d: %d sessions, want %d", i, len(got), want)
		}
	}
	if diff := cmp.Diff(folded(events), stored(t, db, "s")); diff != "" {
		t.Errorf("the rollups are not what the events fold to (-want +got):\n%s", diff)
	}
}

func TestAFrozenFollowerIsReplaced(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	appendAll(t, db, rand.New(rand.NewPCG(3, 3)), random(rand.New(rand.NewPCG(3, 3)), "s", 10))

	// A peer that has taken the checkpoint and then does nothing more.
	taken, release := make(chan struct{}), make(chan struct{})
	var peer sync.WaitGroup
	peer.Go(func() {
		_, err := db.Follow(context.Background(), store.SessionsFollower, rapport.DefaultSettings(), 10,
			func(context.Context, *store.Tx, []*rapport.Event) error { close(taken); <-release; return nil })
		if err == nil {
			t.Error("the frozen peer moved the checkpoint after it was replaced")
		}
	})
	<-taken
	stop := follow(t, db, 1)
	defer stop()
	caughtUp(t, db)
	close(release)
	peer.Wait()
}

func TestScoresOfAnotherVersionAreRefused(t *testing.T) {
	t.Parallel()
	settings := rapport.DefaultSettings()
	settings.ScoreVersion++
	if _, err := aggregator.NewSessions(settings); err == nil {
		t.Error("rollups of another version would be mixed with this one's")
	}
}
