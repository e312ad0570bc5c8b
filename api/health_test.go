package api

import (
	"context"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{}) // its database is away
	t.Run("the process is alive without a database", func(t *testing.T) {
		t.Parallel()
		w := get(h, "/healthz")
		if got := decodeJSON(t, w); w.Code != http.StatusOK || got["status"] != "ok" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	for _, path := range []string{"/readyz", "/readyz?for=reads"} {
		t.Run("not ready without a database: "+path, func(t *testing.T) {
			t.Parallel()
			w := get(h, path)
			got := decodeJSON(t, w)
			database, _ := got["database"].(map[string]any)
			if w.Code != http.StatusServiceUnavailable || got["status"] != "unavailable" || database["status"] != "unreachable" {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	var draining atomic.Bool
	l := newLive(t, Config{LagAlarm: time.Minute, Draining: &draining})
	check := func(path string, status int) row {
		t.Helper()
		w := get(l, path)
		if w.Code != status {
			t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, status)
		}
		l.now.Store(new(l.now.Load().Add(glanceAge))) // so that the next one looks again
		return decodeJSON(t, w)
	}
	post(l, said("a", "s", "user", "hi", 0))
	got := check("/readyz?for=reads", http.StatusOK)
	want := row{
		"status": "ok", "database": row{"status": "ok"}, "migrations": row{"status": "ok"},
		"lag":   row{"status": "ok", "log_head": 1.0, "follower_position": 0.0, "lag_events": 1.0, "lag_seconds": 0.0, "alarm_s": 60.0},
		"spool": row{"status": "off", "records": 0.0, "bytes": 0.0, "age_s": 0.0, "damaged_segments": 0.0, "open": false, "open_for_s": 0.0},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}

	later := noon.Add(61 * time.Second)
	l.now.Store(&later)
	check("/readyz", http.StatusOK)
	if got := check("/readyz?for=reads", http.StatusServiceUnavailable); got["lag"].(row)["status"] != "late" {
		t.Errorf("%v", got)
	}
	l.fold(t)
	check("/readyz?for=reads", http.StatusOK)

	l.db.Exec(t, "rapport_owner", "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)")
	check("/readyz", http.StatusOK)
	if got := check("/readyz?for=reads", http.StatusServiceUnavailable); got["migrations"].(row)["status"] != "new" {
		t.Errorf("%v", got)
	}

	draining.Store(true)
	if got := check("/readyz", http.StatusServiceUnavailable); got["status"] != "draining" {
		t.Errorf("%v", got)
	}
	check("/healthz", http.StatusOK)
}

func TestAProbeDoesNotWaitForASlowDatabase(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{patience: time.Millisecond})
	later := func() { l.now.Store(new(l.now.Load().Add(glanceAge))) }
	database := func() any { return decodeJSON(t, get(l, "/readyz"))["database"].(row)["status"] }
	for later(); database() != "ok"; later() { // until the first look is over
		if t.Context().Err() != nil {
			t.Fatal("the database is never found")
		}
	}
	conn, err := pgx.Connect(t.Context(), l.db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE goose_db_version IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	later()
	if w := get(l, "/readyz"); w.Code != http.StatusOK || decodeJSON(t, w)["migrations"].(row)["status"] != "ok" {
		t.Errorf("while it looks it does not answer as it was: %d %s", w.Code, w.Body)
	}
	for later(); decodeJSON(t, get(l, "/readyz"))["migrations"].(row)["status"] != "unknown"; later() {
		if t.Context().Err() != nil {
			t.Fatal("a database that does not answer is never noticed")
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}
