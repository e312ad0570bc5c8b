package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store"
)

// TestTotalsLockTheSessionsFirst has a reader wait for the sessions, as it does while a
// rebuild takes their place: it must not hold the totals meanwhile, which the rebuild
// locks next. The reader's connection knows one of its statements, and not the other.
func TestTotalsLockTheSessionsFirst(t *testing.T) {
	t.Parallel()
	db := withSessions(t, 20)
	url, separator := db.URL("rapport_server"), "?"
	if strings.Contains(url, "?") {
		separator = "&"
	}
	reader, err := store.Open(t.Context(), url+separator+"pool_max_conns=1")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	until := time.Date(2026, 9, 29, 0, 0, 1, 0, time.UTC) // the edge is read from sessions
	from, filter := until.AddDate(0, 0, -5), store.TotalsFilter{Percentiles: true}
	if _, err := reader.SessionTotals(t.Context(), filter, []time.Time{from, until}); err != nil {
		t.Fatal(err)
	}
	owner, err := pgx.Connect(t.Context(), db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = owner.Close(t.Context()) }()
	if _, err := owner.Exec(t.Context(), "BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := reader.SessionTotalsByAgent(t.Context(), filter, from, until)
		read <- err
	}()
	waits, held := 0, 0
	for waits == 0 {
		if err := owner.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE NOT granted AND relation = 'sessions'::regclass),
			count(*) FILTER (WHERE granted AND relation = 'session_totals'::regclass)
			FROM pg_locks WHERE locktype = 'relation' AND pid <> pg_backend_pid()`).Scan(&waits, &held); err != nil {
			t.Fatal(err)
		}
	}
	if held > 0 {
		t.Error("the totals are locked while the sessions are waited for")
	}
	if _, err := owner.Exec(t.Context(), "LOCK TABLE session_totals IN ACCESS EXCLUSIVE MODE; COMMIT"); err != nil {
		t.Error(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
}
