package verify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/aggregator"
	"rapport/store"
	"rapport/store/storetest"
)

const day = 24 * time.Hour

func date(month time.Month, days int) time.Time {
	return time.Date(2024, month, days, 0, 0, 0, 0, time.UTC)
}

// olden is a log of January to May 2024: conversations of each month, one across each
// end of a month, and what else there is.
func olden(t testing.TB) *storetest.Database {
	t.Helper()
	db := storetest.New(t)
	if err := db.MakeWith(t.Context(), store.SessionsFollower, settings(t, db)); err != nil {
		t.Fatal(err)
	}
	var events []*rapport.Event
	talk := func(session string, at time.Time) {
		for i, text := range []string{"Hello!", "Where are you?", "where are you", "This is terrible.", "Thanks"} {
			events = append(events, says(t, "agent", session, []string{"user", "assistant"}[i%2], text, at.Add(time.Duration(i)*5*time.Minute)))
		}
	}
	for month := time.January; month <= time.May; month++ {
		for i := range 3 {
			talk(fmt.Sprint(month, i), date(month, 5+i))
			talk("kiosk", date(month, 10+i))
		}
		talk(fmt.Sprint("across ", month), date(month+1, 1).Add(-10*time.Minute))
		events = append(events,
			event(t, fmt.Sprintf(`{"event_type": "ping", "timestamp": %d}`, date(month, 3).Unix()), "", noon),
			healed(t, "agent", fmt.Sprint("healed ", month), "user", "I was lost", date(month, 4)),
			healed(t, "agent", fmt.Sprint("healed ", month), "agent", "I came", date(month, 4).Add(time.Minute)),
			says(t, "agent", fmt.Sprint("healed ", month), "agent", "I came after all", date(month, 4).Add(time.Minute)))
	}
	fill(t, db, events)
	requireClean(t, run(t, db))
	return db
}

// sessionRows are all sessions, as they stand there.
func sessionRows(t testing.TB, db *storetest.Database) []string {
	t.Helper()
	return storetest.Query(t, db, "postgres", pgx.RowTo[string], "SELECT s::text FROM sessions s ORDER BY session_id, agent_id, started_at")
}

// everything is all that retention can touch.
func everything(t testing.TB, db *storetest.Database) []string {
	t.Helper()
	return append(sessionRows(t, db), storetest.Query(t, db, "postgres", pgx.RowTo[string], `
		SELECT e::text FROM (SELECT * FROM events ORDER BY position) e
		UNION ALL SELECT x::text FROM (SELECT * FROM session_texts ORDER BY session_id, agent_id, started_at, text_hash) x
		UNION ALL SELECT x::text FROM (SELECT * FROM superseded ORDER BY position) x
		UNION ALL SELECT r::text FROM retention r
		UNION ALL SELECT h::text FROM log_head h
		UNION ALL SELECT a::text FROM (SELECT * FROM audit ORDER BY id) a
		UNION ALL SELECT relname FROM (SELECT relname FROM pg_class WHERE relname LIKE 'events_20%' ORDER BY 1) c`)...)
}

func retain(t testing.TB, db *storetest.Database, r store.Retention, now time.Time) store.Retained {
	t.Helper()
	done, err := db.Retain(t.Context(), r, "cli:test", now)
	if err != nil {
		t.Fatal(err)
	}
	if done.Postponed {
		t.Fatalf("was postponed: %+v", done)
	}
	return done
}

func rebuilt(t testing.TB, db *storetest.Database) {
	t.Helper()
	r, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := aggregator.Rebuild(t.Context(), r, settings(t, db), func(aggregator.RebuildProgress) {}); err != nil {
		t.Fatal(err)
	}
}

// requireProved wants verify and a rebuild to find the sessions as they are.
func requireProved(t testing.TB, db *storetest.Database) {
	t.Helper()
	requireClean(t, run(t, db))
	before := sessionRows(t, db)
	rebuilt(t, db)
	if diff := cmp.Diff(before, sessionRows(t, db)); diff != "" {
		t.Errorf("a rebuild changed sessions (-before +after):\n%s", diff)
	}
	requireClean(t, run(t, db))
}

func appended(t testing.TB, db *storetest.Database, events ...*rapport.Event) []store.Appended {
	t.Helper()
	a, err := db.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	follow(t, db, 10_000)
	return a
}

// months are the partitions of 2024.
func months(t testing.TB, db *storetest.Database) string {
	t.Helper()
	return strings.Join(storetest.Query(t, db, "postgres", pgx.RowTo[string],
		"SELECT right(relname, 2) FROM pg_class WHERE relname ~ '^events_2024_..$' ORDER BY relname"), " ")
}

// upTo is how long is to be kept for the horizon to be a day, seen from noon.
func upTo(t time.Time) time.Duration { return noon.Sub(t.Add(12 * time.Hour)) }

func TestEventsGoByTheMonth(t *testing.T) {
	t.Parallel()
	db := olden(t)
	before, counts := sessionRows(t, db), run(t, db).Counts
	done := retain(t, db, store.Retention{Events: upTo(date(time.March, 20))}, noon)
	if got := months(t, db); got != "03 04 05 06" || len(done.Months) != 2 || done.Months[0].Events != 36 || !done.Months[0].Dropped {
		t.Errorf("the months %s are left, and it tells %+v", got, done.Months)
	}
	if diff := cmp.Diff(before, sessionRows(t, db)); diff != "" {
		t.Errorf("sessions changed (-before +after):\n%s", diff)
	}
	requireProved(t, db)
	now := run(t, db).Counts
	if now.InLog+now.Dropped != counts.InLog || now.Dropped == 0 || now.Frozen == 0 {
		t.Errorf("counts %+v, before %+v", now, counts)
	}
	now.InLog, now.Dropped, now.Frozen = counts.InLog, 0, 0
	if diff := cmp.Diff(counts, now); diff != "" {
		t.Errorf("other counts changed (-before +after):\n%s", diff)
	}
	if n := value[int64](t, db, "SELECT count(*) FROM audit WHERE actor = 'cli:test' AND action = 'retention.drop'"); n != 2 {
		t.Errorf("%d drops are recorded, want 2", n)
	}
	t.Run("and once only", func(t *testing.T) {
		all := everything(t, db)
		if done := retain(t, db, store.Retention{Events: upTo(date(time.March, 20))}, noon); done.HorizonMoved || len(done.Months) > 0 {
			t.Errorf("did %+v", done)
		}
		if diff := cmp.Diff(all, everything(t, db)); diff != "" {
			t.Errorf("changed (-before +after):\n%s", diff)
		}
	})
	t.Run("and never come back, for whoever asks for less", func(t *testing.T) {
		for _, r := range []store.Retention{{}, {Events: 5000 * day}, {Events: upTo(date(time.February, 20))}} {
			if done := retain(t, db, r, noon); done.HorizonMoved || !done.Horizon.Events.Equal(date(time.March, 1)) {
				t.Errorf("%+v: the horizon is %+v", r, done.Horizon)
			}
		}
	})
	t.Run("and what is lost besides is found", func(t *testing.T) {
		tamper(t, db, "DELETE FROM events WHERE position = (SELECT max(position) FROM events WHERE occurred_at < '2024-03-20')")
		requireFound(t, run(t, db), "position")
	})
}

func TestMessagesBecomeStubs(t *testing.T) {
	t.Parallel()
	db := olden(t)
	before, counts := sessionRows(t, db), run(t, db).Counts
	r := store.Retention{Messages: upTo(date(time.April, 9)), Events: upTo(date(time.February, 2))}
	retain(t, db, r, noon)
	if diff := cmp.Diff(before, sessionRows(t, db)); diff != "" {
		t.Errorf("sessions changed (-before +after):\n%s", diff)
	}
	for _, sql := range []string{
		"SELECT count(*) FROM events WHERE occurred_at < '2024-04-01' AND (message <> '' OR payload::text <> '{\"erased\":true}')",
		"SELECT count(*) FROM analytics.messages WHERE occurred_at < '2024-04-01'",
		"SELECT count(*) FROM session_texts WHERE started_at < '2024-04-01'",
		"SELECT count(*) FROM events WHERE occurred_at >= '2024-04-01' AND erasure IS NOT NULL",
	} {
		if n := value[int64](t, db, sql); n != 0 {
			t.Errorf("%d, want 0: %s", n, sql)
		}
	}
	requireProved(t, db)
	now := run(t, db).Counts
	if now.Received != counts.Received || now.InSessions != counts.InSessions || now.Stubs == 0 {
		t.Errorf("counts %+v, before %+v", now, counts)
	}
	t.Run("that are recognised again", func(t *testing.T) {
		again := appended(t, db, says(t, "agent", "March 0", "user", "Hello!", date(time.March, 5)))
		if !again[0].Duplicate || again[0].Position == 0 {
			t.Errorf("got %+v, want a duplicate", again[0])
		}
	})
	t.Run("of which a month can be dropped later", func(t *testing.T) {
		r.Events = upTo(date(time.March, 3))
		retain(t, db, r, noon)
		if got := months(t, db); got != "03 04 05 06" {
			t.Errorf("the months %s are left", got)
		}
		requireProved(t, db)
	})
	t.Run("and one that is made whole again is found", func(t *testing.T) {
		tamper(t, db, "UPDATE events SET erasure = NULL WHERE position = (SELECT min(position) FROM events WHERE erasure IS NOT NULL)")
		requireFound(t, run(t, db), "is whole, but the messages of 2024-03 are gone")
	})
}

func TestWhatIsOlderThanTheHorizonIsLetGo(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]store.Retention{
		"events": {Events: upTo(date(time.March, 20))}, "messages": {Messages: upTo(date(time.March, 20))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := olden(t)
			retain(t, db, r, noon)
			before := run(t, db).Counts
			late := appended(t, db,
				says(t, "agent", "January 0", "user", "late", date(time.January, 5).Add(time.Minute)),
				says(t, "agent", "new", "user", "late", date(time.February, 29)),
				says(t, "agent", "new", "user", "in time", date(time.March, 1)),
				healed(t, "agent", "new", "user", "healed", date(time.March, 1)))
			if !late[0].Erased || !late[1].Erased || late[2].Erased || !late[3].Erased {
				t.Errorf("got %+v", late)
			}
			requireProved(t, db)
			now := run(t, db).Counts
			if now.Expired != 3 || now.Received != before.Received+4 || now.Recognised != before.Recognised {
				t.Errorf("counts %+v, before %+v", now, before)
			}
			if _, err := db.Append(t.Context(), []*rapport.Event{says(t, "a", "b", "user", "old", date(time.January, 1).AddDate(-3, 0, 0))}); err != nil {
				t.Fatal(err)
			}
			if n := value[int64](t, db, "SELECT count(*) FROM pg_class WHERE relname = 'events_2021_01'"); r.Events > 0 && n != 0 {
				t.Error("a month below the horizon was made")
			}
		})
	}
}

func TestASessionAcrossTheHorizonKeepsItsNumbers(t *testing.T) {
	t.Parallel()
	db := olden(t)
	before := sessionRows(t, db)
	retain(t, db, store.Retention{Events: upTo(date(time.March, 20))}, noon)
	const session = "across February" // 23:50 to 00:10
	at := func(minutes int) time.Time { return date(time.March, 1).Add(time.Duration(minutes) * time.Minute) }

	late := appended(t, db, says(t, "agent", session, "user", "within", at(7)), says(t, "agent", session, "user", "behind", at(11)))
	if late[0].Erased || late[1].Erased {
		t.Fatalf("got %+v", late)
	}
	appended(t, db, says(t, "agent", session, "agent", "further", at(12)), says(t, "agent", session, "user", "further back", at(10).Add(time.Second)))
	requireProved(t, db)

	after := sessionRows(t, db)
	if len(after) != len(before)+1 {
		t.Errorf("%d sessions, want one more than %d", len(after), len(before))
	}
	type row struct {
		StartedAt time.Time
		Events    int64
	}
	got := storetest.Query(t, db, "postgres", pgx.RowToStructByPos[row],
		"SELECT started_at, event_count FROM sessions WHERE session_id = $1 ORDER BY 1", session)
	want := []row{{at(-10), 5}, {at(10).Add(time.Second), 3}}
	if diff := cmp.Diff(want, got, cmp.Comparer(time.Time.Equal)); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	if n := value[int64](t, db, "SELECT count(*) FROM superseded x JOIN events e USING (position) WHERE e.message = 'within'"); n != 1 {
		t.Errorf("the late event within the frozen session is noted %d times, want once", n)
	}
}

func TestSessionsGo(t *testing.T) {
	t.Parallel()
	db := olden(t)
	before := run(t, db).Counts
	done := retain(t, db, store.Retention{Events: upTo(date(time.April, 9)), Sessions: upTo(date(time.March, 9))}, noon)
	if done.Sessions != 15 {
		t.Errorf("%d sessions went, want 15", done.Sessions)
	}
	if n := value[int64](t, db, "SELECT count(*) FROM sessions WHERE last_event_at < '2024-03-01'"); n != 0 {
		t.Errorf("%d are left", n)
	}
	requireProved(t, db)
	if now := run(t, db).Counts; now.InSessions != before.InSessions || now.Received != before.Received {
		t.Errorf("counts %+v, before %+v", now, before)
	}
}

func TestAPreviewChangesNothing(t *testing.T) {
	t.Parallel()
	db := olden(t)
	before := everything(t, db)
	r := store.Retention{Messages: upTo(date(time.May, 9)), Events: upTo(date(time.April, 9)), Sessions: upTo(date(time.March, 9))}
	preview, err := db.RetainPreview(t.Context(), r, noon)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, everything(t, db)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(preview, retain(t, db, r, noon)); diff != "" {
		t.Errorf("it did something else (-preview +done):\n%s", diff)
	}
	requireProved(t, db)
}

func TestRetentionWaits(t *testing.T) {
	t.Parallel()
	r := store.Retention{Events: upTo(date(time.March, 20))}
	postponed := func(t *testing.T, db *storetest.Database, wantMonths string) {
		t.Helper()
		done, err := db.Retain(t.Context(), r, "cli:test", noon)
		if err != nil || !done.Postponed || months(t, db) != wantMonths {
			t.Errorf("got %+v, %v; the months %s are left", done, err, months(t, db))
		}
		requireClean(t, run(t, db))
	}
	t.Run("for events that are not folded", func(t *testing.T) {
		t.Parallel()
		db := olden(t)
		if _, err := db.Append(t.Context(), []*rapport.Event{says(t, "agent", "January 0", "user", "late", date(time.January, 5))}); err != nil {
			t.Fatal(err)
		}
		postponed(t, db, "01 02 03 04 05 06")
		follow(t, db, 10)
		retain(t, db, r, noon)
		requireProved(t, db)
	})
	t.Run("for a rebuild", func(t *testing.T) {
		t.Parallel()
		db := olden(t)
		b, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner"))
		if err != nil {
			t.Fatal(err)
		}
		postponed(t, db, "01 02 03 04 05 06")
		b.Close()
		for deadline := time.Now().Add(time.Minute); ; { // until Postgres has noticed
			done, err := db.Retain(t.Context(), r, "cli:test", noon)
			if err == nil && !done.Postponed {
				break
			}
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("got %+v, %v", done, err)
			}
		}
		requireProved(t, db)
	})
	t.Run("for who reads the log", func(t *testing.T) {
		t.Parallel()
		db := olden(t)
		conn, err := pgx.Connect(t.Context(), db.URL("rapport_server"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		if _, err := conn.Exec(t.Context(), "BEGIN; SELECT count(*) FROM events"); err != nil {
			t.Fatal(err)
		}
		postponed(t, db, "01 02 03 04 05 06")
		if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
			t.Fatal(err)
		}
		retain(t, db, r, noon)
		requireProved(t, db)
	})
	t.Run("for no clock that is ahead", func(t *testing.T) {
		t.Parallel()
		db := olden(t)
		if done := retain(t, db, store.Retention{Events: 10_000 * day}, noon.AddDate(100, 0, 0)); done.HorizonMoved {
			t.Errorf("the horizon is %+v", done.Horizon)
		}
	})
}

func TestDeadLettersGoWithTheirMonth(t *testing.T) {
	t.Parallel()
	db := olden(t)
	event := says(t, "agent", "aside", "user", "poison", date(time.January, 9))
	if _, err := db.Append(t.Context(), []*rapport.Event{event}); err != nil {
		t.Fatal(err)
	}
	refused := &store.RefusedError{After: value[int64](t, db, "SELECT position FROM followers WHERE name = 'sessions'"), Err: errors.New("poison")}
	event.Position = refused.After + 1
	refused.Events = []*rapport.Event{event}
	if done, err := db.PutAside(t.Context(), store.SessionsFollower, settings(t, db), refused, 1); err != nil || !done {
		t.Fatal(done, err)
	}
	requireClean(t, run(t, db))
	done := retain(t, db, store.Retention{Messages: upTo(date(time.April, 9)), Events: upTo(date(time.February, 9))}, noon)
	if done.DeadLetters != 1 || value[int64](t, db, "SELECT count(*) FROM dead_letters") != 0 {
		t.Errorf("%d dead letters went, want 1", done.DeadLetters)
	}
	requireProved(t, db)
}

// TestRetentionBesideEverythingElse lets the horizon move month by month, from two
// processes at once, while events come and are folded, and verifies all along.
func TestRetentionBesideEverythingElse(t *testing.T) {
	t.Parallel()
	db := olden(t)
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	var sent, refused int64
	ahead := make(chan struct{}, 20) // of the follower, which is what retention waits for
	working.Go(func() {
		for i := 0; ; i++ {
			select {
			case ahead <- struct{}{}:
			case <-ctx.Done():
				return
			}
			at := date(time.June, 1+i%20).Add(time.Duration(i) * time.Millisecond)
			if i%25 == 0 { // an old one
				at = date(time.January, 1+i/25%150).Add(time.Duration(i) * time.Millisecond)
			}
			a, err := db.Append(t.Context(), []*rapport.Event{says(t, "agent", fmt.Sprint("live ", i/50), "user", fmt.Sprint(i), at)})
			if err != nil {
				t.Error(err)
				return
			}
			sent++
			if a[0].Erased {
				refused++
				drain(ahead, 1)
			}
		}
	})
	working.Go(func() {
		for ctx.Err() == nil {
			step, err := db.Follow(t.Context(), store.SessionsFollower, settings(t, db), 100, projection(t, db).Apply)
			if err != nil {
				t.Error(err)
				return
			}
			drain(ahead, step.Events)
		}
	})
	before := run(t, db)
	requireClean(t, before)
	for month := time.February; month <= time.May; month++ {
		r := store.Retention{Messages: upTo(date(month+1, 1)), Events: upTo(date(month, 1))}
		for deadline := time.Now().Add(time.Minute); ; {
			var both sync.WaitGroup
			for range 2 {
				both.Go(func() {
					if _, err := db.Retain(t.Context(), r, "rapport", noon); err != nil {
						t.Error(err)
					}
				})
			}
			both.Wait()
			requireClean(t, run(t, db))
			h, err := db.Horizon(t.Context())
			if err == nil && h.Messages.Equal(date(month+1, 1)) && !strings.Contains(months(t, db), fmt.Sprintf("%02d", month-1)) {
				break
			}
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("the horizon is %+v, the months are %s, %v", h, months(t, db), err)
			}
		}
	}
	stop()
	working.Wait()
	follow(t, db, 100_000)
	requireProved(t, db)
	counts := run(t, db).Counts
	if counts.Expired != refused || refused == 0 || counts.Dropped == 0 || counts.Stubs == 0 {
		t.Errorf("%d were let go of %d, counts %+v", refused, sent, counts)
	}
}

func TestErasureAndRetentionGetAlong(t *testing.T) {
	t.Parallel()
	db := olden(t)
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "across February"})
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "March 1"})
	follow(t, db, 1000)
	r := store.Retention{Messages: upTo(date(time.April, 2)), Events: upTo(date(time.March, 20))}
	retain(t, db, r, noon)
	requireProved(t, db)
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "across March"})
	erase(t, db, store.ErasureRequest{Kind: store.EraseAgent, AgentID: "agent"})
	follow(t, db, 1000)
	requireProved(t, db)
	r.Events = upTo(date(time.May, 2))
	r.Messages = 0
	r.Sessions = upTo(date(time.February, 2))
	retain(t, db, r, noon)
	requireProved(t, db)
}

// drain takes up to n out of a channel.
func drain(c <-chan struct{}, n int) {
	for range n {
		select {
		case <-c:
		default:
			return
		}
	}
}
