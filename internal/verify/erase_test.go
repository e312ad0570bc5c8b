package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/aggregator"
	"rapport/internal/reference"
	"rapport/store"
	"rapport/store/ingest"
	"rapport/store/ingest/spool"
	"rapport/store/storetest"
)

const secret = "Xylophone-Quetzal"

// secretEvents are a conversation of which every text has the secret, with whatever an
// event can have; and messages of the same instant.
func secretEvents(t testing.TB, agent, session string, at time.Time) []*rapport.Event {
	t.Helper()
	body := func(format string, at time.Time) *rapport.Event {
		e := event(t, fmt.Sprintf(strings.ReplaceAll(format, "SECRET", secret), agent, session, at.Format(time.RFC3339Nano)), "", noon)
		e.Headers = map[string]string{"webhook-id": secret}
		return e
	}
	events := []*rapport.Event{
		body(`{"event":"room_join","agentId":%q,"sessionId":%q,"timestamp":"%s","user":{"id":"user-SECRET","name":"SECRET"},"room":{"name":"SECRET","participants":3}}`, at),
		body(`{"event":"agent_error","agentId":%q,"sessionId":%q,"timestamp":"%s","error":{"code":"SECRET","severity":"SECRET","category":"SECRET"}}`, at.Add(50*time.Second)),
		body(`{"event":"session_end","agentId":%q,"sessionId":%q,"timestamp":"%s","session":{"endReason":"SECRET","userSatisfaction":4.5}}`, at.Add(time.Minute)),
		body(`{"event":"chat_push","agentId":%q,"sessionId":%q,"message":{"role":"user","content":"undated SECRET","type":"SECRET","language":"SECRET"},"x":"%s"}`, at),
		body(`{"event":"chat_push","agentId":%q,"sessionId":%q,"timestamp":"%s","message":{"role":"guest-SECRET","content":"SECRET"}}`, at.Add(time.Second)),
	}
	for i := range 6 {
		role := []string{"user", "user", "agent"}[i%3]
		events = append(events, says(t, agent, session, role, fmt.Sprint("terrible ", secret, " ", i/2), at.Add(time.Duration(i/2*10)*time.Second)))
	}
	return append(events,
		healed(t, agent, session, "user", "healed "+secret, at.Add(40*time.Second)),
		healed(t, agent, session, "agent", "late "+secret, at.Add(41*time.Second)),
		says(t, agent, session, "agent", "late "+secret+" whole", at.Add(42*time.Second)))
}

// saysNow is says for times of today.
func saysNow(t testing.TB, agent, session, role, text string, at time.Time) *rapport.Event {
	t.Helper()
	return event(t, fmt.Sprintf(`{"event_type": "chat.push", "agent_id": %q, "timestamp": "%s",
		"data": {"session_id": %q, "role": %q, "message": %q}}`, agent, at.Format(time.RFC3339Nano), session, role, text), "", at)
}

// recorded is healed for times of today.
func recorded(t testing.TB, agent, session, role, text string, at time.Time) *rapport.Event {
	t.Helper()
	e := healed(t, agent, session, role, text, at)
	e.ReceivedAt = at
	return e
}

func appendAll(t testing.TB, db *storetest.Database, events ...*rapport.Event) []store.Appended {
	t.Helper()
	appended, err := db.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	return appended
}

func erase(t testing.TB, db *storetest.Database, request store.ErasureRequest) store.Erasure {
	t.Helper()
	request.By = "cli:test"
	plan, err := db.PlanErasure(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	done, err := db.Erase(t.Context(), plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// requireGone looks for a text in every row of every table of every schema.
func requireGone(t testing.TB, db *storetest.Database, text string) {
	t.Helper()
	if found := placesOf(t, db, text); len(found) > 0 {
		t.Errorf("%q is in %s", text, strings.Join(found, "; "))
	}
}

func placesOf(t testing.TB, db *storetest.Database, text string) []string {
	t.Helper()
	tables := storetest.Query(t, db, "postgres", pgx.RowTo[string],
		"SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm') ORDER BY 1")
	var found []string
	for _, table := range tables {
		rows := storetest.Query(t, db, "postgres", pgx.RowTo[string],
			"SELECT left(t::text, 200) FROM "+table+" t WHERE position(lower($1) in lower(t::text)) > 0 OR position(encode(convert_to($1, 'UTF8'), 'hex') in t::text) > 0", text)
		for _, row := range rows {
			found = append(found, table+": "+row)
		}
	}
	return found
}

// numbers are the rows of sessions without what an erasure takes.
func numbers(t testing.TB, db *storetest.Database, session string) []string {
	t.Helper()
	return storetest.Query(t, db, "postgres", pgx.RowTo[string],
		"SELECT (to_jsonb(s) - '{user_id,room_name,end_reason,erased_at}'::text[])::text FROM sessions s WHERE session_id = $1 ORDER BY started_at", session)
}

func everythingOf(t testing.TB, db *storetest.Database, where string) []string {
	t.Helper()
	var all []string
	for _, table := range []string{"events", "sessions", "session_texts", "superseded", "dead_letters"} {
		all = append(all, storetest.Query(t, db, "postgres", pgx.RowTo[string],
			"SELECT '"+table+" ' || t::text FROM "+table+" t WHERE "+where+" ORDER BY 1")...)
	}
	return all
}

func bound(t testing.TB) *storetest.Database {
	t.Helper()
	db := storetest.New(t)
	if err := db.MakeWith(t.Context(), store.SessionsFollower, settings(t, db)); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestErasedSessions(t *testing.T) {
	t.Parallel()
	db := filled(t, 7, 20)
	first := secretEvents(t, "agent", "gone", noon)
	second := secretEvents(t, "agent", "gone", noon.Add(2*time.Hour))
	other := secretEvents(t, "other", "gone", noon) // the same id of another agent
	events := int64(0)
	for _, a := range appendAll(t, db, slices.Concat(first, second, other)...) {
		if !a.Duplicate {
			events++
		}
	}
	follow(t, db, 10_000)
	if _, err := db.Quarantine(t.Context(), []byte(`{"sessionId":"gone", "`+secret), "broken", nil, noon); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Quarantine(t.Context(), []byte(`{"sessionId":"gone-2"`), "broken", nil, noon); err != nil {
		t.Fatal(err)
	}
	db.Exec(t, "postgres", "ANALYZE")
	requireClean(t, run(t, db))
	before, others := numbers(t, db, "gone"), everythingOf(t, db, "session_id <> 'gone' AND session_id <> ''")
	head := value[int64](t, db, "SELECT position FROM log_head")

	done := erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "gone", Reason: "asked"})
	if done.Conversations != 2 || done.Events != events || done.Quarantined != 1 {
		t.Errorf("%+v", done)
	}
	t.Run("no text stays in any table", func(t *testing.T) { requireGone(t, db, secret) })
	t.Run("the numbers stay", func(t *testing.T) {
		if diff := cmp.Diff(before, numbers(t, db, "gone")); diff != "" {
			t.Error(diff)
		}
		if n := value[int64](t, db, "SELECT count(*) FROM analytics.sessions WHERE session_id = 'gone' AND erased_at IS NULL"); n != 0 {
			t.Errorf("%d are not marked", n)
		}
	})
	t.Run("nothing of others changes", func(t *testing.T) {
		if diff := cmp.Diff(others, everythingOf(t, db, "session_id <> 'gone' AND session_id <> ''")); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("it is announced in the log", func(t *testing.T) {
		payload := value[string](t, db, "SELECT payload::text FROM events WHERE position = $1 AND event_type = 'rapport.erased' AND erasure = $2", head+1, done.ID)
		var told struct {
			Erasure       int64
			Conversations []struct {
				AgentID     string    `json:"agent_id"`
				ErasedUntil time.Time `json:"erased_until"`
			}
		}
		if err := json.Unmarshal([]byte(payload), &told); err != nil || told.Erasure != done.ID || len(told.Conversations) != 2 {
			t.Errorf("%s: %v", payload, err)
		}
	})
	follow(t, db, 10_000)
	report := run(t, db)
	received := report.Counts.Received
	t.Run("it verifies", func(t *testing.T) { requireClean(t, report) })
	until := value[time.Time](t, db, "SELECT erased_until FROM tombstones WHERE session_id = 'gone' AND agent_id = 'agent'").UTC()
	t.Run("nothing comes back", func(t *testing.T) {
		again := slices.Concat(first, second, other, []*rapport.Event{
			says(t, "agent", "gone", "user", "never sent "+secret, noon.Add(time.Hour)),
			says(t, "third", "gone", "user", "of a third agent "+secret, noon.Add(time.Hour)),
			recorded(t, "agent", "gone", "user", "rounded up "+secret, until.Add(time.Second)),
		})
		late := *first[3] // an undated one, which a retry dates anew
		for i, a := range appendAll(t, db, again...) {
			if !a.Erased || a.Position != 0 || a.Duplicate {
				t.Errorf("%d: %+v", i, a)
			}
		}
		late.ReceivedAt = late.ReceivedAt.Add(9 * time.Minute)
		late.OccurredAt = late.ReceivedAt
		if a := appendAll(t, db, &late)[0]; !a.Erased {
			t.Errorf("undated: %+v", a)
		}
		follow(t, db, 10_000)
		requireGone(t, db, secret)
		report := run(t, db)
		requireClean(t, report)
		if came := report.Counts.Received - received; came != int64(len(again)+1) {
			t.Errorf("%d counted, want %d", came, len(again)+1)
		}
	})
	t.Run("a rebuild leaves it as it is", func(t *testing.T) {
		rows := everythingOf(t, db, "session_id = 'gone'")
		rebuildAll(t, db)
		if diff := cmp.Diff(rows, everythingOf(t, db, "session_id = 'gone'")); diff != "" {
			t.Error(diff)
		}
		requireClean(t, run(t, db))
	})
	t.Run("repeated, it finds nothing", func(t *testing.T) {
		again := erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "gone"})
		if again != (store.Erasure{}) {
			t.Errorf("%+v", again)
		}
	})
	t.Run("what comes later is another session", func(t *testing.T) {
		at := time.Now().UTC().Truncate(time.Microsecond).Add(time.Second)
		later := []*rapport.Event{
			saysNow(t, "agent", "gone", "user", "again", at), saysNow(t, "agent", "gone", "agent", "welcome back", at.Add(2*time.Second)),
			saysNow(t, "agent", "gone", "user", "again", at.Add(5*time.Second)),
		}
		appendAll(t, db, later[2])
		follow(t, db, 10_000)
		appendAll(t, db, later[0], later[1])
		follow(t, db, 10_000)
		requireAsReference(t, db, "gone", later)
		requireClean(t, run(t, db))
		frozen := numbers(t, db, "gone")
		if done := erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "gone", AgentID: "agent"}); done.Events != 3 || done.Sessions != 1 {
			t.Errorf("erased again: %+v", done)
		}
		follow(t, db, 10_000)
		if diff := cmp.Diff(frozen, numbers(t, db, "gone")); diff != "" {
			t.Error(diff)
		}
		requireClean(t, run(t, db))
	})
}

// requireAsReference compares the live sessions of a conversation with those that are
// computed in another way.
func requireAsReference(t testing.TB, db *storetest.Database, session string, events []*rapport.Event) {
	t.Helper()
	rows, err := db.SessionsOfID(t.Context(), session, "agent")
	if err != nil {
		t.Fatal(err)
	}
	rows = slices.DeleteFunc(rows, func(r store.SessionRow) bool { return !r.ErasedAt.IsZero() })
	plain := make([]rapport.Event, len(events))
	for i, e := range events {
		plain[i] = *e
	}
	want := reference.Sessions(plain, settings(t, db), time.Now())
	slices.Reverse(want)
	if len(rows) != len(want) {
		t.Fatalf("%d sessions, want %d", len(rows), len(want))
	}
	for i, r := range rows {
		got := fmt.Sprint(r.StartedAt.Format("2006-01-02T15:04:05.000000Z"), r.EventCount, r.TurnCount, r.AnsweredTurnCount, r.RepeatCount, r.UserCharCount)
		w := want[i]
		if should := fmt.Sprint(w.StartedAt, w.EventCount, w.TurnCount, w.AnsweredTurnCount, w.RepeatCount, w.UserCharCount); got != should {
			t.Errorf("%s, want %s", got, should)
		}
	}
}

func rebuildAll(t testing.TB, db *storetest.Database) {
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

func TestErasedUsersAndAgents(t *testing.T) {
	t.Parallel()
	loose := func(agent, user, text string) *rapport.Event {
		return event(t, fmt.Sprintf(`{"event":"note","agentId":%q,"user":{"id":%q},"text":%q,"timestamp":1790000000}`, agent, user, text), "", noon)
	}
	for name, test := range map[string]struct {
		request  store.ErasureRequest
		erased   int64
		stopsNew bool // a conversation of the time before, that nobody knew
	}{
		"a user":   {store.ErasureRequest{Kind: store.EraseUser, UserID: "user-" + secret}, 15, false},
		"an agent": {store.ErasureRequest{Kind: store.EraseAgent, AgentID: "agent"}, 14, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := bound(t)
			events := secretEvents(t, "agent", "gone-too", noon)
			mine := []*rapport.Event{loose("agent", "user-"+secret, secret), loose("other", "user-"+secret, "more")}
			if test.request.Kind == store.EraseAgent {
				mine[1] = loose("other", "somebody", "more")
			}
			stays := []*rapport.Event{says(t, "other", "stays", "user", "hello", noon), loose("other", "somebody else", "less")}
			appendAll(t, db, slices.Concat(events, mine, stays)...)
			follow(t, db, 10_000)
			for _, body := range []string{`{"session_id":"gone-too", "` + secret, `{"session_id":"stays-there"`} {
				if _, err := db.Quarantine(t.Context(), []byte(body), "broken", nil, noon); err != nil {
					t.Fatal(err)
				}
			}
			before := everythingOf(t, db, "session_id = 'stays'")
			if done := erase(t, db, test.request); done.Events != test.erased || done.Quarantined != 1 {
				t.Errorf("%+v, want %d events", done, test.erased)
			}
			requireGone(t, db, secret)
			appendAll(t, db, slices.Concat(events, mine, stays)...)
			follow(t, db, 10_000)
			requireGone(t, db, secret)
			if diff := cmp.Diff(before, everythingOf(t, db, "session_id = 'stays'")); diff != "" {
				t.Error(diff)
			}
			if a := appendAll(t, db, says(t, "agent", "unknown", "user", "hello", noon))[0]; a.Erased != test.stopsNew {
				t.Errorf("%+v", a)
			}
			follow(t, db, 10_000)
			requireClean(t, run(t, db))
			subjects := storetest.Query(t, db, "postgres", pgx.RowTo[string], "SELECT subject FROM audit UNION ALL SELECT subject FROM erasures")
			if len(subjects) != 2 || subjects[0] != subjects[1] || strings.Contains(subjects[0], secret) {
				t.Errorf("recorded as %q", subjects)
			}
		})
	}
}

// putAside makes the last event of a conversation a dead letter, whose reason repeats it.
func putAside(t testing.TB, db *storetest.Database, e *rapport.Event) {
	t.Helper()
	apply := func(ctx context.Context, tx *store.Tx, events []*rapport.Event) error {
		return errors.New("can't take " + events[0].Text)
	}
	appendAll(t, db, e)
	_, err := db.Follow(t.Context(), store.SessionsFollower, settings(t, db), 1, apply)
	refused, ok := errors.AsType[*store.RefusedError](err)
	if !ok {
		t.Fatal(err)
	}
	if done, err := db.PutAside(t.Context(), store.SessionsFollower, settings(t, db), refused, 3); err != nil || !done {
		t.Fatal(done, err)
	}
}

func TestErasedDeadLetters(t *testing.T) {
	t.Parallel()
	db := bound(t)
	appendAll(t, db, secretEvents(t, "agent", "gone", noon)...)
	follow(t, db, 10_000)
	putAside(t, db, says(t, "agent", "gone", "user", "broken "+secret, noon.Add(5*time.Second)))
	requireClean(t, run(t, db))
	if done := erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "gone", AgentID: "agent"}); done.DeadLetters != 1 {
		t.Errorf("%+v", done)
	}
	if n, err := db.RetryAllDeadLetters(t.Context(), "cli:test"); err != nil || n != 0 {
		t.Errorf("%d are tried again, %v", n, err)
	}
	follow(t, db, 10_000)
	requireGone(t, db, secret)
	requireClean(t, run(t, db))
	rebuildAll(t, db)
	requireClean(t, run(t, db))
}

func TestErasingWaitsForTheFold(t *testing.T) {
	t.Parallel()
	db := bound(t)
	appendAll(t, db, secretEvents(t, "agent", "gone", noon)...)
	plan, err := db.PlanErasure(t.Context(), store.ErasureRequest{Kind: store.EraseSession, SessionID: "gone", By: "cli:test", Patience: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Erase(t.Context(), plan, nil); !errors.Is(err, store.ErrNotFolded) {
		t.Fatalf("%v, want ErrNotFolded", err)
	}
	follow(t, db, 10_000)
	requireClean(t, run(t, db))
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "gone"})
	requireGone(t, db, secret)
	requireClean(t, run(t, db))
	if n := value[int64](t, db, "SELECT count(*) FROM erasures"); n != 1 {
		t.Errorf("%d erasures, want the interrupted one to go on", n)
	}
}

// TestErasingUnderLoad erases an agent while others append to its conversations, two
// followers fold and one rebuilds; it is interrupted, and asked for again.
func TestErasingUnderLoad(t *testing.T) {
	t.Parallel()
	db := bound(t)
	second, err := store.Open(t.Context(), db.URL("rapport_server"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	for i := range 450 {
		appendAll(t, db, secretEvents(t, "agent", fmt.Sprint("s", i), noon.Add(time.Duration(i)*time.Second))...)
		if i%10 == 0 {
			appendAll(t, db, says(t, "other", fmt.Sprint("s", i), "user", "hello", noon))
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, d := range []*store.DB{db.DB, second} {
		running.Go(func() {
			_ = aggregator.NewFollower(d, db.Watch, projection(t, db), storetest.Logger()).Run(ctx)
		})
	}
	running.Go(func() { // as a sender goes on
		for i := 0; ctx.Err() == nil; i++ {
			at := time.Now().UTC().Truncate(time.Microsecond)
			_, err := second.Append(ctx, []*rapport.Event{
				saysNow(t, "agent", fmt.Sprint("s", i%450), "user", "later", at), saysNow(t, "other", "busy", "user", fmt.Sprint(i), at),
				says(t, "agent", fmt.Sprint("s", i%450), "user", fmt.Sprint("late ", secret, i), noon.Add(time.Hour)),
			})
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	request := store.ErasureRequest{Kind: store.EraseAgent, AgentID: "agent", By: "cli:test"}
	plan, err := db.PlanErasure(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	first, cut := context.WithCancel(t.Context())
	_, err = db.Erase(first, plan, func(done, _ int64) { cut() })
	if err == nil {
		t.Error("it was not interrupted")
	}
	running.Go(func() {
		r, err := store.BeginRebuild(ctx, db.URL("rapport_owner"))
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		if _, err := aggregator.Rebuild(ctx, r, settings(t, db), func(aggregator.RebuildProgress) {}); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	erase(t, db, request)
	stop()
	running.Wait()
	follow(t, db, 100_000)
	requireGone(t, db, secret)
	requireClean(t, run(t, db))
	rebuildAll(t, db)
	requireClean(t, run(t, db))
}

func TestOnlyTheEraserErases(t *testing.T) {
	t.Parallel()
	db := bound(t)
	appendAll(t, db, secretEvents(t, "agent", "gone", noon)...)
	for _, sql := range []string{
		"UPDATE events SET erasure = 1", "DELETE FROM events", "SELECT stub_fingerprint('x')", "SELECT key FROM erasure_key",
		"SELECT erase_batch(1, '{agent}', '{gone}', '{}')", "DELETE FROM tombstones", "UPDATE erasures SET subject = ''",
		"SELECT subject_hash('user')",
	} {
		if err := db.TryExec(t.Context(), "rapport_server", "SET rapport.stub = 'on'; "+sql); err == nil {
			t.Errorf("the server may: %s", sql)
		}
		if err := db.TryExec(t.Context(), "rapport_reader", sql); err == nil {
			t.Errorf("the reader may: %s", sql)
		}
	}
	if err := db.TryExec(t.Context(), "rapport_owner", "UPDATE events SET message = ''"); err == nil {
		t.Error("the owner changes events by accident")
	}
	t.Run("with a single role for everything", func(t *testing.T) {
		single, err := store.Open(t.Context(), db.URL("rapport_owner"))
		if err != nil {
			t.Fatal(err)
		}
		defer single.Close()
		follow(t, db, 1000)
		plan, err := single.PlanErasure(t.Context(), store.ErasureRequest{Kind: store.EraseSession, SessionID: "gone", By: "cli:test"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := single.Erase(t.Context(), plan, nil); err != nil {
			t.Fatal(err)
		}
		requireGone(t, db, secret)
	})
}

func TestErasedBeforeTheSpoolIsDrained(t *testing.T) {
	t.Parallel()
	db := bound(t)
	events := secretEvents(t, "agent", "gone", noon)
	appendAll(t, db, events[:4]...)
	follow(t, db, 10_000)
	kept, err := spool.Open(t.TempDir(), spool.Options{Logger: storetest.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	var ready atomic.Bool
	in := ingest.New(db, ingest.Options{Spools: []ingest.Spool{kept}, Logger: storetest.Logger(), Ready: func(context.Context) error {
		if !ready.Load() {
			return errors.New("not yet")
		}
		return nil
	}})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = in.Run(ctx) })
	for _, e := range append(events[4:], says(t, "agent", "stays", "user", "hello", noon)) {
		if k, err := in.Append(t.Context(), e); err != nil || !k.Spooled {
			t.Fatalf("%+v, %v", k, err)
		}
	}
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "gone"})
	ready.Store(true)
	running.Go(func() { _ = in.Drain(ctx) })
	limit := time.After(time.Minute)
	for tick := time.Tick(5 * time.Millisecond); kept.Stats().Records > 0; {
		select {
		case <-tick:
		case <-limit:
			t.Fatal("the spool is not drained")
		}
	}
	stop()
	running.Wait()
	follow(t, db, 10_000)
	requireGone(t, db, secret)
	requireClean(t, run(t, db))
	if n := value[int64](t, db, "SELECT count(*) FROM events WHERE session_id = 'stays'"); n != 1 {
		t.Errorf("%d of the other session, want 1", n)
	}
}

func TestScrubbingAsTheOwner(t *testing.T) {
	t.Parallel()
	db := bound(t)
	appendAll(t, db, secretEvents(t, "agent", "gone", noon)...)
	follow(t, db, 100)
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "gone"})
	follow(t, db, 100)
	left, err := store.Scrub(t.Context(), db.URL("rapport_owner"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 3 || !strings.Contains(left[1], "no table has") || !strings.Contains(left[2], "WAL") {
		t.Errorf("left: %q", left)
	}
	requireClean(t, run(t, db))
	if _, err := store.Scrub(t.Context(), db.URL("rapport_server"), nil); err == nil {
		t.Error("the server scrubs")
	}
}

func TestAnOutsiderAnnouncesNothing(t *testing.T) {
	t.Parallel()
	db := bound(t)
	pose := event(t, `{"event_type":"rapport.erased","session_id":"s","agent_id":"agent","timestamp":1790000000,"erasure":1,"conversations":[]}`, "", noon)
	appendAll(t, db, pose)
	follow(t, db, 100)
	if n := value[int64](t, db, "SELECT count(*) FROM events WHERE erasure IS NOT NULL"); n != 0 {
		t.Error("a delivery has an erasure")
	}
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "s"})
	follow(t, db, 100)
	requireClean(t, run(t, db))
}
