package aggregator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store"
	"rapport/store/storetest"
)

// stranger is a connection that runs statements in a transaction, and then idles
// in it until the test ends.
func stranger(t *testing.T, db *storetest.Database, role, application string, statements ...string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(db.URL(role))
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["application_name"] = application
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	for _, sql := range append([]string{"BEGIN"}, statements...) {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	return conn
}

func TestStrangersWhoOnlyReadOrWriteTheirOwnStallNobody(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		role       string
		statements []string
	}{
		"has read the sessions":     {"rapport_reader", []string{"SELECT count(*) FROM analytics.sessions"}},
		"holds an old snapshot":     {"rapport_reader", []string{"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1"}},
		"references the checkpoint": {"rapport_owner", []string{"SELECT FROM followers FOR KEY SHARE"}},
		"writes a table of its own": {"rapport_owner", []string{"CREATE TABLE own (n int)", "INSERT INTO own VALUES (1)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			events := say("s", 0, "one", "two")
			put(t, db, events[0])
			stop := follow(t, db, 1)
			defer stop()
			caughtUp(t, db)
			conn := stranger(t, db, test.role, "psql", test.statements...)
			put(t, db, events[1])
			began := time.Now()
			caughtUp(t, db)
			wantSessions(t, db, "s", events)
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %v", took)
			}
			if err := conn.Ping(t.Context()); err != nil {
				t.Errorf("the stranger was ended: %v", err)
			}
		})
	}
}

func TestAStrangerOnTheCheckpoint(t *testing.T) {
	t.Parallel()
	const lock = "SELECT FROM followers FOR UPDATE"
	t.Run("of our role is ended after a while", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		events := say("s", 0, "one")
		stranger(t, db, "rapport_server", "psql", lock)
		put(t, db, events...)
		_, log := running(t, db, newFaulty(t, panicsOn("nothing")))
		caughtUp(t, db)
		wantSessions(t, db, "s", events)
		for _, part := range []string{"ended a stranger", "application_name=psql", "role=rapport_server"} {
			if !strings.Contains(log.String(), part) {
				t.Errorf("the log lacks %q:\n%s", part, log)
			}
		}
	})
	t.Run("of another role is named", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		events := say("s", 0, "one")
		conn := stranger(t, db, "rapport_owner", "somebody's psql", lock)
		put(t, db, events...)
		_, log := running(t, db, newFaulty(t, panicsOn("nothing")))
		eventually(t, "the alarm", func() bool {
			return strings.Contains(log.String(), "a stranger keeps the follower waiting") &&
				strings.Contains(log.String(), fmt.Sprint("pid=", conn.PgConn().PID())) &&
				strings.Contains(log.String(), `application_name="somebody's psql"`)
		})
		if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
			t.Errorf("the stranger was ended: %v", err)
		}
		caughtUp(t, db)
		wantSessions(t, db, "s", events)
	})
}

func TestAStrangerOnASessionIsEndedAfterAWhile(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	events := say("s", 0, "one", "two")
	put(t, db, events[0])
	_, log := running(t, db, newFaulty(t, panicsOn("nothing")))
	caughtUp(t, db)
	stranger(t, db, "rapport_server", "psql", "UPDATE sessions SET user_id = 'stranger'")
	put(t, db, events[1])
	caughtUp(t, db)
	wantSessions(t, db, "s", events)
	eventually(t, "the log tells", func() bool { return strings.Contains(log.String(), "ended a stranger") })
	wantLetters(t, db)
}

func TestAPeerThatIsKilledIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	events := say("s", 0, "one")
	put(t, db, events...)
	peer := stranger(t, db, "rapport_server", "rapport", "SELECT FROM followers FOR UPDATE")
	stop := follow(t, db, 1)
	defer stop()
	step, err := db.Follow(t.Context(), store.SessionsFollower, rapport.DefaultSettings(), 1, nil)
	if err != nil || !step.Busy {
		t.Fatalf("the peer has nothing: %+v, %v", step, err)
	}
	killed := time.Now()
	if err := peer.PgConn().Conn().Close(); err != nil { // what the kernel does for who is killed
		t.Fatal(err)
	}
	caughtUp(t, db)
	if took := time.Since(killed); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	wantSessions(t, db, "s", events)
}
