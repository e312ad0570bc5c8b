package verify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator"
	"rapport/internal/verify"
	"rapport/store"
	"rapport/store/storetest"
)

func TestACleanLog(t *testing.T) {
	t.Parallel()

	t.Run("an empty one passes", func(t *testing.T) {
		t.Parallel()
		requireClean(t, run(t, storetest.New(t)))
	})

	t.Run("one with late, repeated, undated, healed and odd events passes, and adds up", func(t *testing.T) {
		t.Parallel()
		for seed := range uint64(3) {
			db := filled(t, seed, 40)
			report := run(t, db)
			requireClean(t, report)
			c := report.Counts
			head := value[int64](t, db, "SELECT position FROM log_head")
			duplicates := value[int64](t, db, "SELECT duplicates FROM log_head")
			if c.InLog != head || report.Events != head || c.Received != head-2+duplicates+3 || c.Answered200 != c.Received-3 {
				t.Errorf("head %d, %d duplicates, 3 quarantined, 2 healed: %+v", head, duplicates, c)
			}
			if c.Healed != 2 || c.Superseded != 1 || c.Delivered != head-2 || c.NotFolded != 0 || c.PutAside != 0 {
				t.Errorf("2 healed, 1 superseded: %+v", c)
			}
			if c.InSessions != head-c.NoSession-1 || c.NoSession < 3 || c.InSessions == 0 {
				t.Errorf("the sessions do not add up: %+v", c)
			}
		}
	})

	t.Run("what is not folded yet is counted, and no difference", func(t *testing.T) {
		t.Parallel()
		db := filled(t, 1, 10)
		events := conversations(t, 2, 5)
		if _, err := db.Append(t.Context(), events); err != nil {
			t.Fatal(err)
		}
		follow(t, db, 7)
		report := run(t, db)
		requireClean(t, report)
		if c := report.Counts; c.NotFolded == 0 || c.NotFolded > int64(len(events)-7) {
			t.Errorf("%d of %d not folded, want all but 7 or a few less", c.NotFolded, len(events))
		}
	})

	t.Run("what was put aside is counted, and no difference", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		fill(t, db, conversations(t, 1, 5))
		appended, err := db.Append(t.Context(), []*rapport.Event{says(t, "agent", "aside", "user", "one", noon), says(t, "agent", "aside", "user", "two", noon)})
		if err != nil {
			t.Fatal(err)
		}
		tamper(t, db, fmt.Sprintf(`INSERT INTO dead_letters (follower, position, agent_id, session_id, event_type, reason, attempts, failed_at)
			VALUES ('sessions', %d, 'agent', 'aside', 'chat.push', 'it panicked', 3, now())`, appended[0].Position))
		follow(t, db, 100)
		report := run(t, db)
		requireClean(t, report)
		if report.Counts.PutAside != 1 {
			t.Errorf("%d put aside, want 1", report.Counts.PutAside)
		}
	})

	t.Run("a conversation longer than any stretch passes, of several agents at once", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		var events []*rapport.Event
		at := noon.AddDate(0, 0, -40)
		filler := strings.Repeat("so to speak ", 80)
		for i := range 2600 {
			at = at.Add([]time.Duration{0, time.Millisecond, time.Second, time.Minute, 5 * time.Second, 31 * time.Minute}[(i*i+i/11)%6])
			say := []func(t testing.TB, agent, session, role, text string, at time.Time) *rapport.Event{says, says, says, healed}[i%4]
			agent, role := []string{"agent", "agent", "another"}[i%3], []string{"user", "agent"}[i%2]
			events = append(events, say(t, agent, "kiosk", role, fmt.Sprint(i/3, filler), at))
		}
		fill(t, db, events)
		requireClean(t, run(t, db))
	})

	t.Run("it passes beside servers that append and fold", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 2 {
			follower := aggregator.NewFollower(db.DB, db.Watch, projection(t, db), storetest.Logger())
			wg.Go(func() { _ = follower.Run(ctx) })
		}
		batches := make(chan int, 1000)
		wg.Go(func() {
			for seed := uint64(10); ctx.Err() == nil; seed++ {
				events := append(conversations(t, seed%17, 6), conversations(t, seed, 3)...)
				if _, err := db.Append(ctx, events); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				_, _ = db.Quarantine(ctx, fmt.Append(nil, seed%5), "not JSON", nil, noon)
				_, _ = db.QuarantinePrune(ctx, store.QuarantineBounds{MaxBytes: 1500, MaxAge: 1e6 * time.Hour}, noon)
				select {
				case batches <- 1:
				default:
				}
			}
		})
		for range 6 {
			<-batches // so that each run sees something new
			requireClean(t, run(t, db))
		}
		stop()
		wg.Wait()
	})
}

func TestARunThatIsInterruptedSaysSo(t *testing.T) {
	t.Parallel()
	db := filled(t, 1, 5)
	ctx, cancel := context.WithCancel(t.Context())
	slow := func(payload []byte, healedFrom string, receivedAt time.Time) (rapport.Event, error) {
		cancel()
		return decode(payload, healedFrom, receivedAt)
	}
	if _, err := verify.Run(ctx, verify.Options{DB: db.DB, Decode: slow}); !errors.Is(err, verify.ErrInterrupted) {
		t.Errorf("%v, want %v", err, verify.ErrInterrupted)
	}
	requireClean(t, run(t, db))
}

func TestProgressComesToTheEnd(t *testing.T) {
	t.Parallel()
	db := filled(t, 1, 20)
	var last, total int64
	_, err := verify.Run(t.Context(), verify.Options{DB: db.DB, Decode: decode, Progress: func(done, of int64) {
		if done < last {
			t.Errorf("%d after %d", done, last)
		}
		last, total = done, of
	}})
	if head := value[int64](t, db, "SELECT position FROM log_head"); err != nil || last != head || total != head {
		t.Errorf("%d of %d, %v; want %d", last, total, err, head)
	}
}
