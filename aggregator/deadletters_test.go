package aggregator_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/aggregator"
	"rapport/store"
	"rapport/store/storetest"
)

// faulty is the projection into sessions with faults of the test's.
type faulty struct {
	*aggregator.Sessions
	applies *atomic.Int64
	fault   func(context.Context, *store.Tx, []*rapport.Event) error // before the events are folded
}

func newFaulty(t testing.TB, fault func(context.Context, *store.Tx, []*rapport.Event) error) *faulty {
	t.Helper()
	sessions, err := aggregator.NewSessions(rapport.DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	return &faulty{Sessions: sessions, applies: new(atomic.Int64), fault: fault}
}

func (f *faulty) Apply(ctx context.Context, tx *store.Tx, events []*rapport.Event) error {
	f.applies.Add(1)
	if err := f.fault(ctx, tx, events); err != nil {
		return err
	}
	return f.Sessions.Apply(ctx, tx, events)
}

// panicsOn panics if one of the events says so.
func panicsOn(text string) func(context.Context, *store.Tx, []*rapport.Event) error {
	return func(_ context.Context, _ *store.Tx, events []*rapport.Event) error {
		for _, e := range events {
			if e.Text == text {
				panic("can't take " + text)
			}
		}
		return nil
	}
}

// running runs a follower until stop is called, or the test ends, and keeps its log.
func running(t *testing.T, db *storetest.Database, p aggregator.Projection) (stop func(), log *lockedBuffer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log = &lockedBuffer{}
	follower := aggregator.NewFollower(db.DB, db.Watch, p, slog.New(slog.NewTextHandler(log, nil)))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := follower.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop, log
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// say makes messages of a conversation, a second apart.
func say(session string, from int, texts ...string) []*rapport.Event {
	events := make([]*rapport.Event, len(texts))
	for i, text := range texts {
		events[i] = &rapport.Event{
			Fingerprint: sha256.Sum256(fmt.Append(nil, session, "/", from+i)), OccurredAt: noon.Add(time.Duration(from+i) * time.Second),
			ReceivedAt: noon, Type: rapport.ChatPush, AgentID: "agent", SessionID: session, Role: rapport.RoleUser,
			Text: text, Payload: []byte("{}"),
		}
	}
	return events
}

// put appends events as one batch.
func put(t *testing.T, db *storetest.Database, events ...*rapport.Event) {
	t.Helper()
	appended, err := db.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range appended {
		events[i].Position = a.Position
	}
}

func without(events []*rapport.Event, text string) []*rapport.Event {
	var rest []*rapport.Event
	for _, e := range events {
		if e.Text != text {
			rest = append(rest, e)
		}
	}
	return rest
}

// wantSessions checks a conversation's rollups against what the events fold to.
func wantSessions(t *testing.T, db *storetest.Database, session string, events []*rapport.Event) {
	t.Helper()
	if diff := cmp.Diff(folded(events), stored(t, db, session)); diff != "" {
		t.Errorf("%s: the rollups are not what the events fold to (-want +got):\n%s", session, diff)
	}
}

func letters(t *testing.T, db *storetest.Database) []store.DeadLetter {
	t.Helper()
	list, err := db.DeadLetterList(t.Context(), 0, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// wantLetters checks which positions are dead letters, the newest first.
func wantLetters(t *testing.T, db *storetest.Database, positions ...int64) {
	t.Helper()
	var got []int64
	for _, l := range letters(t, db) {
		got = append(got, l.Position)
	}
	if diff := cmp.Diff(positions, got); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
}

// eventually polls for what a follower brings about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		case <-ticker.C:
		}
	}
}

func TestAPoisonousEventIsPutAside(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	events := say("s", 0, "one", "two", "poison", "four")
	others := say("other", 0, "hello")
	put(t, db, append(events, others...)...)
	_, log := running(t, db, newFaulty(t, panicsOn("poison")))
	caughtUp(t, db)
	wantSessions(t, db, "s", without(events, "poison"))
	wantSessions(t, db, "other", others)

	got := letters(t, db)
	if len(got) != 1 || time.Since(got[0].FailedAt) > time.Minute {
		t.Fatalf("dead letters: %+v", got)
	}
	got[0].FailedAt = time.Time{}
	want := store.DeadLetter{
		Follower: store.SessionsFollower, Position: 3, AgentID: "agent", SessionID: "s", EventType: rapport.ChatPush,
		Reason: "panic: can't take poison", Attempts: 3,
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("the dead letter (-want +got):\n%s", diff)
	}
	for _, part := range []string{"an event was put aside", "position=3", "panicsOn"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %q:\n%s", part, log)
		}
	}
	tally, err := db.DeadLetterTally(t.Context())
	if err != nil || tally[store.SessionsFollower] != 1 {
		t.Errorf("the tally is %v, %v", tally, err)
	}
}

func TestLaterFoldsLeaveADeadLetterOut(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	events := say("s", 10, "one", "poison", "three")
	put(t, db, events...)
	stop, _ := running(t, db, newFaulty(t, panicsOn("poison")))
	caughtUp(t, db)
	late := append(say("s", 0, "late"), say("s", 14, "next")...)
	put(t, db, late...)
	caughtUp(t, db)
	wantSessions(t, db, "s", append(without(events, "poison"), late...))
	stop()
	wantLetters(t, db, 2)
}

func TestPoisonAtTheEndsOfAStep(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	events := say("s", 0, "poison", "one", "two", "poison", "poison", "three", "four", "poison")
	put(t, db, events...)
	running(t, db, newFaulty(t, panicsOn("poison")))
	caughtUp(t, db)
	wantLetters(t, db, 8, 5, 4, 1)
	wantSessions(t, db, "s", without(events, "poison"))
}

func TestAllKindsOfRefusalsArePutAside(t *testing.T) {
	t.Parallel()
	for name, setUp := range map[string]string{
		"a CHECK": `ALTER TABLE sessions ADD CONSTRAINT no_poison CHECK (session_id <> 'poison')`,
		"a trigger": `CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF NEW.session_id = 'poison' THEN RAISE 'no poison here'; END IF; RETURN NEW; END $$;
			CREATE TRIGGER refuse_poison BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION refuse_poison()`,
		"a number out of range": `CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF NEW.session_id = 'poison' THEN NEW.peak_participants := 2147483647::bigint + 1; END IF; RETURN NEW; END $$;
			CREATE TRIGGER refuse_poison BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION refuse_poison()`,
		"a constraint that is checked by the commit": `CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF NEW.session_id = 'poison' THEN RAISE check_violation; END IF; RETURN NULL; END $$;
			CREATE CONSTRAINT TRIGGER refuse_poison AFTER INSERT ON sessions DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION refuse_poison()`,
		"a right that the role lacks": `CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF NEW.session_id = 'poison' THEN RAISE insufficient_privilege; END IF; RETURN NEW; END $$;
			CREATE TRIGGER refuse_poison BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION refuse_poison()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			db.Exec(t, "rapport_owner", setUp)
			before, after := say("before", 0, "one"), say("after", 0, "two")
			put(t, db, before[0], say("poison", 0, "x")[0], after[0])
			running(t, db, newFaulty(t, panicsOn("nothing")))
			caughtUp(t, db)
			wantLetters(t, db, 2)
			wantSessions(t, db, "before", before)
			wantSessions(t, db, "after", after)
			wantSessions(t, db, "poison", nil)
		})
	}
	t.Run("an error of the projection", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		put(t, db, say("s", 0, "one", "poison", "three")...)
		running(t, db, newFaulty(t, func(_ context.Context, _ *store.Tx, events []*rapport.Event) error {
			if len(without(events, "poison")) < len(events) {
				return fmt.Errorf("no\x00 \xff\n%s", strings.Repeat("é", 1000))
			}
			return nil
		}))
		caughtUp(t, db)
		wantLetters(t, db, 2)
		reason := letters(t, db)[0].Reason
		if !strings.HasPrefix(reason, "no\uFFFD \uFFFD é") || len(reason) > 510 || !strings.HasSuffix(reason, "é…") {
			t.Errorf("the reason is %q", reason)
		}
	})
}

func TestOneEventOfTenThousandIsFoundByHalving(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	const n = 10_000
	var events []*rapport.Event
	for i := range n {
		events = append(events, say(fmt.Sprint("session ", i%50), i, fmt.Sprint("text ", i))...)
	}
	events[7_345].Text = "poison"
	put(t, db, events...)
	p := newFaulty(t, panicsOn("poison"))
	running(t, db, p)
	caughtUp(t, db)
	wantLetters(t, db, 7_346)
	// 3 tries of all, 14 halvings, 3 tries of the one, 12 doublings.
	if got := p.applies.Load(); got > 40 {
		t.Errorf("it took %d steps", got)
	}
	wantSessions(t, db, "session 0", slicesOf(events, "session 0"))
}

func slicesOf(events []*rapport.Event, session string) []*rapport.Event {
	var of []*rapport.Event
	for _, e := range events {
		if e.SessionID == session {
			of = append(of, e)
		}
	}
	return of
}

func TestOfTwoThatPanicTogetherTheLaterGoes(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	events := say("s", 0, "a", "b", "c")
	put(t, db, events...)
	running(t, db, newFaulty(t, func(ctx context.Context, tx *store.Tx, events []*rapport.Event) error {
		text := ""
		for _, e := range events {
			text += e.Text
		}
		last, err := tx.LastSessions(ctx, []store.Conversation{{AgentID: "agent", SessionID: "s"}})
		if err != nil {
			return err
		}
		if len(last) > 0 {
			text = "a" + text
		}
		if strings.Contains(text, "ab") {
			panic("a and b")
		}
		return nil
	}))
	caughtUp(t, db)
	wantLetters(t, db, 2)
	wantSessions(t, db, "s", without(events, "b"))
}

func TestABrokenProjectionDoesNotEmptyTheLog(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	var events []*rapport.Event
	for i := range 400 {
		events = append(events, say(fmt.Sprint("session ", i%7), i, "hi")...)
	}
	put(t, db, events...)
	var mended atomic.Bool
	_, log := running(t, db, newFaulty(t, func(context.Context, *store.Tx, []*rapport.Event) error {
		if !mended.Load() {
			panic("broken")
		}
		return nil
	}))
	eventually(t, "the alarm", func() bool { return strings.Contains(log.String(), "stand still") })
	if n := len(letters(t, db)); n != 100 {
		t.Errorf("%d events were put aside", n)
	}
	mended.Store(true)
	caughtUp(t, db)
	if n, err := db.RetryAllDeadLetters(t.Context(), "cli:test"); err != nil || n != 100 {
		t.Errorf("%d are tried again, %v", n, err)
	}
	eventually(t, "no dead letters", func() bool { return len(letters(t, db)) == 0 })
	for i := range 7 {
		session := fmt.Sprint("session ", i)
		wantSessions(t, db, session, slicesOf(events, session))
	}
}

func TestAMissingRightPutsNothingAside(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	events := say("s", 0, "one", "two")
	others := say("other", 0, "three")
	put(t, db, append(events, others...)...)
	db.Exec(t, "rapport_owner", "REVOKE INSERT ON sessions FROM rapport_server")
	_, log := running(t, db, newFaulty(t, panicsOn("nothing")))
	eventually(t, "the alarm", func() bool { return strings.Contains(log.String(), "stand still") })
	wantLetters(t, db)
	db.Exec(t, "rapport_owner", "GRANT INSERT ON sessions TO rapport_server")
	caughtUp(t, db)
	wantSessions(t, db, "s", events)
	wantSessions(t, db, "other", others)
}

func TestAPoisonousConversationOfManyEventsStopsNobody(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.Exec(t, "rapport_owner", "ALTER TABLE sessions ADD CONSTRAINT no_poison CHECK (session_id <> 'poison')")
	var events []*rapport.Event
	for i := range 150 {
		events = append(events, say("poison", i, "hi")...)
	}
	others := say("other", 0, "hello")
	put(t, db, append(events, others...)...)
	running(t, db, newFaulty(t, panicsOn("nothing")))
	caughtUp(t, db)
	if n := len(letters(t, db)); n != 150 {
		t.Errorf("%d events were put aside", n)
	}
	wantSessions(t, db, "other", others)
}

func TestADatabaseThatIsNotThereIsNoPoison(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]string{
		"serialization": "40001", "read-only": "25006", "disk full": "53100", "lock timeout": "55P03",
		"shut down": "57P01", "canceled": "57014", "input and output": "58030",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			db.Exec(t, "rapport_owner", fmt.Sprintf(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN RAISE 'no' USING ERRCODE = '%s'; END $$;
				CREATE TRIGGER refuse BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION refuse()`, state))
			events := say("s", 0, "one")
			put(t, db, events...)
			p := newFaulty(t, panicsOn("nothing"))
			running(t, db, p)
			eventually(t, "several tries", func() bool { return p.applies.Load() > 5 })
			wantLetters(t, db)
			db.Exec(t, "rapport_owner", "DROP TRIGGER refuse ON sessions")
			caughtUp(t, db)
			wantSessions(t, db, "s", events)
		})
	}
	t.Run("a connection that is cut", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		events := say("s", 0, "one")
		put(t, db, events...)
		var cuts atomic.Int64
		running(t, db, newFaulty(t, func(ctx context.Context, tx *store.Tx, _ []*rapport.Event) error {
			if cuts.Add(1) > 5 {
				return nil
			}
			if err := db.TryExec(ctx, "postgres", `SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
				WHERE d.datname = current_database() AND l.relation = 'followers'::regclass AND l.mode = 'RowShareLock'`); err != nil {
				return err
			}
			// Whatever the projection makes of it.
			_, err := tx.LastSessions(ctx, []store.Conversation{{AgentID: "agent", SessionID: "s"}})
			return errors.New("failed: " + err.Error())
		}))
		caughtUp(t, db)
		wantLetters(t, db)
		wantSessions(t, db, "s", events)
	})
}

func TestADeadLetterIsTriedAgain(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	events := say("s", 0, "one", "poison", "three", "poison", "five")
	worse := say("s", 5, "worse")
	put(t, db, append(events, worse...)...)
	var mended atomic.Bool
	running(t, db, newFaulty(t, func(ctx context.Context, tx *store.Tx, events []*rapport.Event) error {
		if !mended.Load() {
			return errors.Join(panicsAsError("poison", events), panicsAsError("worse", events))
		}
		return panicsAsError("worse", events)
	}))
	caughtUp(t, db)
	wantLetters(t, db, 6, 4, 2)
	first := letters(t, db)[0]
	mended.Store(true)
	if found, err := db.RetryDeadLetters(t.Context(), []int64{4, 6, 77}, "cli:test"); err != nil || len(found) != 2 {
		t.Fatalf("found %v, %v", found, err)
	}
	eventually(t, "the letters were tried again", func() bool {
		got := letters(t, db)
		return len(got) == 2 && got[0].Attempts == 4 && !got[0].Retry
	})
	wantLetters(t, db, 6, 2)
	if again := letters(t, db)[0]; !again.FailedAt.After(first.FailedAt) || again.Reason != "no worse" {
		t.Errorf("it was put back as %+v", again)
	}
	wantSessions(t, db, "s", append(without(events, "poison"), events[3]))

	if n, err := db.RetryAllDeadLetters(t.Context(), "cli:test"); err != nil || n != 2 {
		t.Fatalf("%d, %v", n, err)
	}
	eventually(t, "the letters were tried again", func() bool {
		got := letters(t, db)
		return len(got) == 1 && got[0].Attempts == 5 && !got[0].Retry
	})
	wantSessions(t, db, "s", events)
	late := say("s", 6, "on it goes")
	put(t, db, late...)
	caughtUp(t, db)
	wantSessions(t, db, "s", append(events, late...))
}

func panicsAsError(text string, events []*rapport.Event) error {
	if len(without(events, text)) < len(events) {
		return errors.New("no " + text)
	}
	return nil
}

func TestAnEventIsPutAsideOnlyWhereTheCheckpointStillIs(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	put(t, db, say("s", 0, "one", "two")...)
	settings := rapport.DefaultSettings()
	fails := func(context.Context, *store.Tx, []*rapport.Event) error { return errors.New("no") }
	_, err := db.Follow(t.Context(), store.SessionsFollower, settings, 1, fails)
	refused, ok := errors.AsType[*store.RefusedError](err)
	if !ok || refused.After != 0 || len(refused.Events) != 1 || refused.Events[0].Position != 1 {
		t.Fatalf("%v: %+v", err, refused)
	}
	takes := func(context.Context, *store.Tx, []*rapport.Event) error { return nil }
	if _, err := db.Follow(t.Context(), store.SessionsFollower, settings, 1, takes); err != nil {
		t.Fatal(err)
	}
	if done, err := db.PutAside(t.Context(), store.SessionsFollower, settings, refused, 3); err != nil || done {
		t.Errorf("put aside: %v, %v", done, err)
	}
	wantLetters(t, db)
	if at := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int64], "SELECT position FROM followers WHERE name = 'sessions'"); at[0] != 1 {
		t.Errorf("the checkpoint is at %d", at[0])
	}
}

func TestTwoFollowersPutAsideOnce(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	var events []*rapport.Event
	for i := range 300 {
		text := "hi"
		if i%60 == 7 {
			text = "poison"
		}
		events = append(events, say(fmt.Sprint("session ", i%3), i, text)...)
	}
	running(t, db, newFaulty(t, panicsOn("poison")))
	running(t, db, newFaulty(t, panicsOn("poison")))
	for i := 0; i < len(events); i += 30 {
		put(t, db, events[i:i+30]...)
	}
	caughtUp(t, db)
	wantLetters(t, db, 248, 188, 128, 68, 8)
	for i := range 3 {
		session := fmt.Sprint("session ", i)
		wantSessions(t, db, session, without(slicesOf(events, session), "poison"))
	}
}
