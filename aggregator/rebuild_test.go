package aggregator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rapport"
	"rapport/aggregator"
	"rapport/store"
	"rapport/store/storetest"
)

// rebuild runs one to its end.
func rebuild(ctx context.Context, db *storetest.Database, settings rapport.Settings, show func(aggregator.RebuildProgress)) (aggregator.Rebuilt, error) {
	r, err := store.BeginRebuild(ctx, db.URL("rapport_owner"))
	if err != nil {
		return aggregator.Rebuilt{}, err
	}
	defer r.Close()
	return aggregator.Rebuild(ctx, r, settings, show)
}

func mustRebuild(t *testing.T, db *storetest.Database, settings rapport.Settings) aggregator.Rebuilt {
	t.Helper()
	rebuilt, err := rebuild(t.Context(), db, settings, quietly)
	if err != nil {
		t.Fatal(err)
	}
	return rebuilt
}

func quietly(aggregator.RebuildProgress) {}

// rollups are all rows of the tables, with all columns.
func rollups(t *testing.T, db *storetest.Database) []string {
	t.Helper()
	return storetest.Query(t, db, "rapport_owner", pgx.RowTo[string], `
		SELECT s::text FROM (SELECT * FROM sessions ORDER BY session_id, agent_id, started_at) s
		UNION ALL
		SELECT x::text FROM (SELECT * FROM session_texts ORDER BY session_id, agent_id, started_at, text_hash) x
		UNION ALL
		SELECT x::text FROM (SELECT * FROM superseded ORDER BY position) x`)
}

// busyLog makes a log of several months, with late events, ends, events of no
// session, agents that share a session_id, and healed messages beside delivered
// ones; in the order in which it arrives.
func busyLog(rng *rand.Rand, name string, conversations int) []*rapport.Event {
	var all []*rapport.Event
	for i := range conversations {
		id := fmt.Sprint(name, " ", i)
		for _, e := range random(rng, id, 1+rng.IntN(60)) {
			e.OccurredAt = e.OccurredAt.AddDate(0, -rng.IntN(2)*(i%4), 0)
			switch rng.IntN(20) {
			case 0:
				e.Type = rapport.Ping
			case 1:
				e.SessionID = ""
			case 2:
				e.AgentID = "another agent"
			case 3, 4:
				if e.Type == rapport.ChatPush {
					e.HealedFrom = "the sender's record"
				}
			}
			all = append(all, e)
		}
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func newRandom(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestARebuildGivesTheSameRows(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rng := newRandom(t)
	events := busyLog(rng, "conversation", 150)
	stop := follow(t, db, 1)
	defer stop()
	appendAll(t, db, rng, events)
	caughtUp(t, db)
	before := rollups(t, db)
	made := mustRebuild(t, db, rapport.DefaultSettings())
	if diff := cmp.Diff(before, rollups(t, db)); diff != "" {
		t.Errorf("the rebuild changed rows (-before +after):\n%s", diff)
	}
	if made.Events != int64(len(events)) {
		t.Errorf("rebuilt from %d events, want %d", made.Events, len(events))
	}
	t.Run("and the follower goes on from there", func(t *testing.T) {
		more := busyLog(rng, "conversation", 20)
		for i, e := range more {
			e.Fingerprint[0] ^= 0xff
			e.OccurredAt = e.OccurredAt.Add(time.Duration(i) * time.Millisecond)
		}
		appendAll(t, db, rng, more)
		caughtUp(t, db)
		live := rollups(t, db)
		mustRebuild(t, db, rapport.DefaultSettings())
		if diff := cmp.Diff(live, rollups(t, db)); diff != "" {
			t.Errorf("rows differ (-live +rebuilt):\n%s", diff)
		}
	})
}

func TestALongConversationIsFoldedInStretches(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rng := newRandom(t)
	events := random(rng, "kiosk", 4500)
	long := strings.Repeat("This is fine, and I am happy to wait. ", 8000)
	for i, e := range events {
		if i%1000 == 0 && e.Type == rapport.ChatPush {
			e.Text = long
		}
		if i%7 == 0 && e.Type == rapport.ChatPush {
			e.HealedFrom = "the sender's record"
		}
	}
	// Out of order, each batch would fold the whole conversation again.
	appendAll(t, db, rng, slices.Clone(events))
	stop := follow(t, db, 1)
	caughtUp(t, db)
	stop()
	before := rollups(t, db)
	mustRebuild(t, db, rapport.DefaultSettings())
	if diff := cmp.Diff(before, rollups(t, db)); diff != "" {
		t.Errorf("the rebuild changed rows (-before +after):\n%s", diff)
	}
}

func TestARebuildOfAnEmptyLog(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	if made := mustRebuild(t, db, rapport.DefaultSettings()); made.Sessions != 0 || made.Events != 0 {
		t.Errorf("made %+v of nothing", made)
	}
	rng := newRandom(t)
	events := random(rng, "s", 20)
	stop := follow(t, db, 1)
	defer stop()
	appendAll(t, db, rng, events)
	caughtUp(t, db)
	if diff := cmp.Diff(folded(events), stored(t, db, "s")); diff != "" {
		t.Errorf("the follower does not go on (-want +got):\n%s", diff)
	}
}

// TestARebuildUnderLoad has deliveries, followers and readers at work all the time.
func TestARebuildUnderLoad(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rng := newRandom(t)
	stop := follow(t, db, 2)
	defer stop()
	appendAll(t, db, rng, busyLog(rng, "before", 200))
	caughtUp(t, db)

	pool, err := pgxpool.New(t.Context(), db.URL("rapport_owner")+"&application_name=reader")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	defer load.Wait()
	defer cancel()
	var appended, reads atomic.Int64
	load.Go(func() {
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			for batch := range slices.Chunk(busyLog(rng, fmt.Sprint("during ", n), 10), 20) {
				<-pace.C
				// Not to be interrupted: it could still be kept after the last look.
				if _, err := db.Append(t.Context(), batch); err != nil {
					t.Error("a delivery failed: ", err)
				}
				appended.Add(1)
			}
		}
	})
	for _, read := range []func() (int64, error){
		func() (n int64, err error) {
			err = pool.QueryRow(ctx, "SELECT count(*) FROM analytics.sessions").Scan(&n)
			return n, err
		},
		func() (n int64, err error) {
			err = pool.QueryRow(ctx, `SELECT count(*) FROM (SELECT * FROM analytics.sessions LIMIT 50) s
				JOIN analytics.messages m USING (session_id, agent_id, started_at)`).Scan(&n)
			return n, err
		},
		func() (int64, error) {
			rows, _, err := db.Sessions(ctx, store.SessionQuery{Sort: store.SortStartedAt, Limit: 50, Now: noon})
			return int64(len(rows)), err
		},
		func() (int64, error) {
			head, err := db.Head(ctx)
			if err != nil {
				return 0, err
			}
			err = db.WaitForFollower(ctx, db.Watch, store.SessionsFollower, head)
			return 1, err
		},
	} {
		load.Go(func() {
			for ctx.Err() == nil {
				if n, err := read(); ctx.Err() == nil && (err != nil || n == 0) {
					t.Errorf("a read found %d rows: %v", n, err)
				}
				reads.Add(1)
			}
		})
	}
	for range 2 {
		a, r := appended.Load(), reads.Load()
		mustRebuild(t, db, rapport.DefaultSettings())
		if appended.Load() == a || reads.Load() == r {
			t.Error("deliveries or reads stood still")
		}
	}
	cancel()
	load.Wait()
	caughtUp(t, db)
	live := rollups(t, db)
	mustRebuild(t, db, rapport.DefaultSettings())
	if diff := cmp.Diff(live, rollups(t, db)); diff != "" {
		t.Errorf("rows differ (-live +rebuilt):\n%s", diff)
	}
}

func TestARebuildWithOtherSettings(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rng := newRandom(t)
	events := random(rng, "s", 60)
	stop := follow(t, db, 2)
	defer stop()
	appendAll(t, db, rng, slices.Clone(events[:40]))
	caughtUp(t, db)

	settings := rapport.DefaultSettings()
	settings.IdleTimeout, settings.ActiveGapCap, settings.QuickAnswer = 20*time.Second, 2*time.Second, 0
	settings.FrustrationWords, settings.FrustrationSentiment = []string{"hello"}, -1000
	mustRebuild(t, db, settings)
	kept, err := db.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(settings, kept); diff != "" {
		t.Errorf("the settings in the database (-want +got):\n%s", diff)
	}
	// The followers at work adopt them.
	appendAll(t, db, rng, slices.Clone(events[40:]))
	caughtUp(t, db)
	var want []rapport.Session
	for i, e := range events { // appended one after the other
		e.Position = int64(i + 1)
	}
	for _, w := range rapport.NewFold(settings).Windows(slices.Clone(events)) {
		want = append(want, w.Session)
	}
	if diff := cmp.Diff(want, stored(t, db, "s")); diff != "" {
		t.Errorf("the sessions are not of the new settings (-want +got):\n%s", diff)
	}
}

func TestALongReaderDelaysTheSwapAlone(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rng := newRandom(t)
	stop := follow(t, db, 1)
	defer stop()
	appendAll(t, db, rng, random(rng, "s", 50))
	caughtUp(t, db)
	before := rollups(t, db)

	reader, err := pgx.Connect(t.Context(), db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close(context.Background()) }()
	tx, err := reader.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT count(*) FROM analytics.sessions"); err != nil {
		t.Fatal(err)
	}
	waits := make(chan aggregator.RebuildProgress, 1000)
	done := make(chan error, 1)
	go func() {
		_, err := rebuild(t.Context(), db, rapport.DefaultSettings(), func(p aggregator.RebuildProgress) {
			if p.Phase == aggregator.PhaseSwap {
				waits <- p
			}
		})
		done <- err
	}()
	for range 3 {
		select {
		case p := <-waits:
			if pid := int32(reader.PgConn().PID()); !slices.Contains(p.Readers, pid) {
				t.Errorf("it waits for %v, want %d among them", p.Readers, pid)
			}
		case err := <-done:
			t.Fatalf("the rebuild did not wait for the reader: %v", err)
		}
		began := time.Now()
		if n := len(stored(t, db, "s")); n == 0 {
			t.Error("another reader finds nothing")
		}
		appendAll(t, db, rng, random(rng, fmt.Sprint("another ", rng.Uint64()), 3))
		caughtUp(t, db)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("others waited for %v", took)
		}
	}
	// What the long reader reads stays as it was, to its end.
	var n int
	if err := tx.QueryRow(t.Context(), "SELECT count(*) FROM analytics.sessions").Scan(&n); err != nil || n == 0 {
		t.Errorf("the long reader finds %d sessions: %v", n, err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	after := rollups(t, db)
	for _, row := range before {
		if !slices.Contains(after, row) {
			t.Errorf("a row is gone: %s", row)
		}
	}
}

func TestARebuildThatEndsLeavesTheOldRollups(t *testing.T) {
	t.Parallel()
	rng := newRandom(t)
	ends := map[string]func(t *testing.T, db *storetest.Database, cancel func()){
		"by its context": func(_ *testing.T, _ *storetest.Database, cancel func()) { cancel() },
		"with its backends": func(t *testing.T, db *storetest.Database, _ func()) {
			db.Exec(t, "rapport_owner", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE application_name = 'rapport rebuild' AND datname = current_database()`)
		},
	}
	for name, end := range ends {
		for _, phase := range []string{aggregator.PhaseFold, aggregator.PhaseIndex, aggregator.PhaseCatchUp, aggregator.PhaseSwap} {
			seed := rng.Uint64()
			t.Run(name+" while "+phase, func(t *testing.T) {
				t.Parallel()
				db := storetest.New(t)
				rng := rand.New(rand.NewPCG(seed, 0))
				stop := follow(t, db, 1)
				appendAll(t, db, rng, busyLog(rng, "s", 30))
				caughtUp(t, db)
				stop()
				before := rollups(t, db)
				if phase == aggregator.PhaseSwap {
					defer hold(t, db)()
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var once sync.Once
				_, err := rebuild(ctx, db, rapport.DefaultSettings(), func(p aggregator.RebuildProgress) {
					if p.Phase == phase {
						once.Do(func() { end(t, db, cancel) })
					}
				})
				if err == nil {
					t.Fatal("it went on")
				}
				if diff := cmp.Diff(before, rollups(t, db)); diff != "" {
					t.Errorf("the old rollups have changed (-before +after):\n%s", diff)
				}
				if n := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int64],
					"SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'rapport\\_%'"); n[0] != 0 {
					t.Error("its schema was left behind")
				}
			})
		}
	}
}

// hold reads the sessions in a transaction that stays open.
func hold(t *testing.T, db *storetest.Database) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "BEGIN; SELECT count(*) FROM analytics.sessions"); err != nil {
		t.Fatal(err)
	}
	return func() { _ = conn.Close(context.Background()) }
}

func TestARebuildAfterOneThatWasKilled(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rng := newRandom(t)
	stop := follow(t, db, 1)
	appendAll(t, db, rng, busyLog(rng, "s", 30))
	caughtUp(t, db)
	stop()
	before := rollups(t, db)
	db.Exec(t, "rapport_owner", `CREATE SCHEMA rapport_rebuild;
		CREATE TABLE rapport_rebuild.sessions (LIKE sessions); CREATE TABLE rapport_rebuild.session_texts (LIKE session_texts);
		INSERT INTO rapport_rebuild.sessions SELECT * FROM sessions LIMIT 10`)
	mustRebuild(t, db, rapport.DefaultSettings())
	if diff := cmp.Diff(before, rollups(t, db)); diff != "" {
		t.Errorf("rows differ (-before +after):\n%s", diff)
	}
}

func TestDeadLettersStayAsideInARebuild(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rng := newRandom(t)
	events := random(rng, "s", 30)
	for i, e := range events {
		e.Type, e.Role, e.Text = rapport.ChatPush, rapport.RoleUser, fmt.Sprint("number ", i)
	}
	poison := events[10].Fingerprint
	refusing := func(ctx context.Context, tx *store.Tx, events []*rapport.Event) error {
		if slices.ContainsFunc(events, func(e *rapport.Event) bool { return e.Fingerprint == poison }) {
			panic("poison")
		}
		return sessionsOf(t).Apply(ctx, tx, events)
	}
	appendAll(t, db, rng, slices.Clone(events))
	without := slices.DeleteFunc(slices.Clone(events), func(e *rapport.Event) bool { return e.Fingerprint == poison })

	t.Run("also those that only the rebuild meets", func(t *testing.T) {
		r, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner"))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		r.Broken(store.Conversation{AgentID: "agent", SessionID: "s"})
		if err := r.Index(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.CatchUp(t.Context(), 7, refusing); err != nil {
			t.Fatal(err)
		}
		if err := r.Swap(t.Context(), rapport.DefaultSettings(), time.Second, 7, refusing); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(folded(without), stored(t, db, "s")); diff != "" {
			t.Errorf("the sessions are not those without the event (-want +got):\n%s", diff)
		}
		letters, err := db.DeadLetterList(t.Context(), 0, "", 10)
		if err != nil || len(letters) != 1 || letters[0].Position != events[10].Position || letters[0].Reason != "panic: poison" {
			t.Errorf("the dead letters are %+v, %v", letters, err)
		}
	})
	t.Run("and those that were put aside before", func(t *testing.T) {
		mustRebuild(t, db, rapport.DefaultSettings())
		if diff := cmp.Diff(folded(without), stored(t, db, "s")); diff != "" {
			t.Errorf("the sessions are not those without the event (-want +got):\n%s", diff)
		}
	})
	t.Run("but not what is tried again with success meanwhile", func(t *testing.T) {
		var once sync.Once
		_, err := rebuild(t.Context(), db, rapport.DefaultSettings(), func(p aggregator.RebuildProgress) {
			if p.Phase != aggregator.PhaseIndex {
				return
			}
			once.Do(func() {
				if _, err := db.RetryAllDeadLetters(t.Context(), "cli:test"); err != nil {
					t.Error(err)
				}
				n, err := db.FollowAgain(t.Context(), store.SessionsFollower, rapport.DefaultSettings(), 10, sessionsOf(t).Apply)
				if err != nil || n != 1 {
					t.Errorf("%d dead letters were tried again: %v", n, err)
				}
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(folded(events), stored(t, db, "s")); diff != "" {
			t.Errorf("the sessions are not those of all events (-want +got):\n%s", diff)
		}
	})
	t.Run("and a projection that takes nothing at all ends it", func(t *testing.T) {
		appendAll(t, db, rng, busyLog(rng, "many", 10))
		r, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner"))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := r.Index(t.Context()); err != nil {
			t.Fatal(err)
		}
		wrong := errors.New("wrong")
		refuse := func(context.Context, *store.Tx, []*rapport.Event) error { return wrong }
		if _, err := r.CatchUp(t.Context(), 1000, refuse); !errors.Is(err, wrong) {
			t.Errorf("got %v, want %v", err, wrong)
		}
	})
}

func sessionsOf(t *testing.T) *aggregator.Sessions {
	sessions, err := aggregator.NewSessions(rapport.DefaultSettings())
	if err != nil {
		t.Error(err)
	}
	return sessions
}
