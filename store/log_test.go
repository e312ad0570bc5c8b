package store_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store"
	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var noon = time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)

// message is a user's message in session "s", told apart by its text.
func message(text string, at time.Time) *rapport.Event {
	return &rapport.Event{
		Fingerprint: sha256.Sum256([]byte(text)),
		OccurredAt:  at,
		ReceivedAt:  at.Add(time.Second),
		Type:        rapport.ChatPush,
		AgentID:     "a",
		SessionID:   "s",
		Role:        rapport.RoleUser,
		Text:        text,
		MessageType: "text",
		Payload:     fmt.Appendf(nil, `{"message": %q}`, text),
	}
}

func appendAll(t *testing.T, db *storetest.Database, events ...*rapport.Event) []store.Appended {
	t.Helper()
	appended, err := db.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	return appended
}

func TestAppend(t *testing.T) {
	t.Parallel()

	t.Run("positions follow each other without a gap, duplicates take none", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		first := appendAll(t, db, message("a", noon), message("b", noon))
		second := appendAll(t, db, message("b", noon), message("c", noon), message("a", noon), message("d", noon))
		want := []store.Appended{{Position: 1}, {Position: 2}, {Position: 2, Duplicate: true}, {Position: 3}, {Position: 1, Duplicate: true}, {Position: 4}}
		for i, got := range append(first, second...) {
			if got != want[i] {
				t.Errorf("event %d: got %+v, want %+v", i, got, want[i])
			}
		}
		if head, err := db.Head(t.Context()); err != nil || head != 4 {
			t.Errorf("head: got %d, %v; want 4", head, err)
		}
	})

	t.Run("many writers at once give every position once and in commit order", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		const writers, batches, size = 8, 10, 7
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for b := range batches {
					var events []*rapport.Event
					for i := range size {
						events = append(events, message(fmt.Sprint("shared ", b, i), noon), message(fmt.Sprint(w, b, i), noon))
					}
					if _, err := db.Append(context.Background(), events); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		rows := storetest.Query(t, db, "rapport_server", pgx.RowTo[int64],
			"SELECT position FROM events ORDER BY position")
		const want = writers*batches*size + batches*size
		if len(rows) != want || rows[len(rows)-1] != want {
			t.Fatalf("got %d events up to %d, want %d", len(rows), rows[len(rows)-1], want)
		}
	})

	t.Run("undated twins within 10 minutes are one event, later ones another", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		undated := func(at time.Time) *rapport.Event {
			e := message("yes", at)
			e.Undated, e.ReceivedAt = true, at
			return e
		}
		appendAll(t, db, undated(noon))
		for after, duplicate := range map[time.Duration]bool{
			time.Second: true, 10 * time.Minute: true, 10*time.Minute + time.Microsecond: false,
		} {
			if got := appendAll(t, db, undated(noon.Add(after)))[0]; got.Duplicate != duplicate {
				t.Errorf("after %v: duplicate is %v, want %v", after, got.Duplicate, duplicate)
			}
		}
	})

	t.Run("events of any month find their partition", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		appendAll(t, db, message("old", noon.AddDate(-11, 0, 0)), message("new", noon), message("older", noon.AddDate(-11, -3, 0)))
	})

	t.Run("a partition that was dropped meanwhile is made again", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		appendAll(t, db, message("a", noon))
		db.Exec(t, "rapport_owner", "DROP TABLE events_2026_09")
		if got := appendAll(t, db, message("b", noon))[0]; got.Position != 2 {
			t.Errorf("got %+v, want position 2", got)
		}
	})

	t.Run("a payload is kept to the byte", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		utf8, binary := message("a", noon), message("b", noon)
		utf8.Payload = []byte("{ \"n\" : 1705312200.0,\n \"s\":\"\\u0000 \\ud800\" }")
		binary.Payload = []byte("{\"s\":\"\xff\"}")
		appendAll(t, db, utf8, binary)
		type row struct {
			Payload *string
			Raw     []byte
		}
		rows := storetest.Query(t, db, "rapport_reader", pgx.RowToStructByPos[row],
			"SELECT payload::text, payload_raw FROM analytics.events ORDER BY position")
		if got := rows[0]; got.Payload == nil || *got.Payload != string(utf8.Payload) || got.Raw != nil {
			t.Errorf("UTF-8: got %+v", got)
		}
		if got := rows[1]; got.Payload != nil || string(got.Raw) != string(binary.Payload) {
			t.Errorf("not UTF-8: got %+v", got)
		}
	})
}

func TestLogIsAppendOnly(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	appendAll(t, db, message("a", noon))
	for _, role := range []string{"rapport_server", "rapport_owner"} {
		for _, sql := range []string{
			"UPDATE events SET message = ''", "DELETE FROM events", "TRUNCATE events",
			"UPDATE events_2026_09 SET message = ''", "DELETE FROM events_2026_09", "TRUNCATE events_2026_09",
		} {
			if err := db.TryExec(t.Context(), role, sql); err == nil {
				t.Errorf("%s may %s", role, sql)
			}
		}
	}
	if err := db.TryExec(t.Context(), "rapport_server", "UPDATE log_head SET position = 0"); err == nil {
		t.Error("the server may move the head back")
	}
}

func TestReaderSeesTheViewsAlone(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for _, sql := range []string{"SELECT FROM analytics.events", "SELECT FROM analytics.sessions", "SELECT FROM analytics.messages"} {
		if err := db.TryExec(t.Context(), "rapport_reader", sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, sql := range []string{
		"SELECT FROM events", "SELECT FROM sessions", "SELECT FROM quarantine", "SELECT FROM settings",
		"SELECT create_events_month('2026-01-01')", "DELETE FROM analytics.sessions", "CREATE TABLE t ()",
	} {
		if err := db.TryExec(t.Context(), "rapport_reader", sql); err == nil {
			t.Errorf("the reader may %s", sql)
		}
	}
}

func TestEveryPublicColumnIsDescribed(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	missing := storetest.Query(t, db, "rapport_owner", pgx.RowTo[string], `
		SELECT c.relname || '.' || a.attname
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
		WHERE c.relnamespace = 'analytics'::regnamespace AND col_description(c.oid, a.attnum) IS NULL`)
	if len(missing) > 0 {
		t.Errorf("without a comment: %v", missing)
	}
}

func TestAFunctionOfTheReaderIsNotTakenForOurs(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.Exec(t, "postgres", "GRANT CREATE ON SCHEMA public TO PUBLIC") // as Postgres 14 has it
	db.Exec(t, "rapport_reader", `
		CREATE FUNCTION public.unnest(timestamptz[]) RETURNS SETOF timestamptz LANGUAGE plpgsql AS $$
		BEGIN RAISE 'taken over as %', current_user; END $$`)
	appendAll(t, db, message("a", noon))
	if may, err := db.PublicMayCreate(t.Context()); err != nil || !may {
		t.Errorf("the operator is not told: %v, %v", may, err)
	}
}

func TestAStepIsBoundedByItsTexts(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	var events []*rapport.Event
	for i := range 8 {
		e := message(fmt.Sprint(i), noon)
		e.Text = strings.Repeat("long ", 200_000)
		events = append(events, e)
	}
	appendAll(t, db, events...)
	var steps []int
	for done := 0; done < len(events); {
		step, err := db.Follow(t.Context(), store.SessionsFollower, rapport.DefaultSettings(), 100,
			func(context.Context, *store.Tx, []*rapport.Event) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step.Events)
		done += step.Events
	}
	if len(steps) != 2 {
		t.Errorf("8 MB of texts were taken in steps of %v", steps)
	}
}
