package store_test

import (
	"database/sql"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"rapport"
	"rapport/migrations"
	"rapport/store"
	"rapport/store/storetest"
)

// TestAServerFromBeforeTheTotalsStandsStill: servers are replaced one by one, and one
// that follows without keeping the totals would make them wrong for ever.
func TestAServerFromBeforeTheTotalsStandsStill(t *testing.T) {
	t.Parallel()
	empty := storetest.NewEmpty(t, "template0")
	migrateTo(t, empty, 9)
	before, err := json.Marshal(rapport.DefaultSettings()) // as such a server tells them
	if err != nil {
		t.Fatal(err)
	}
	empty.Exec(t, "rapport_owner", "UPDATE followers SET position = 5, made_with = $1", string(before))
	if _, err := store.Migrate(t.Context(), empty.URL("rapport_owner")); err != nil {
		t.Fatal(err)
	}
	now := storetest.Query(t, empty, "rapport_owner", pgx.RowTo[string], "SELECT made_with FROM followers WHERE name = 'sessions'")
	if len(now) != 1 || now[0] == string(before) {
		t.Errorf("it would go on, with %q", now)
	}
	db, err := store.Open(t.Context(), empty.URL("rapport_server"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if got, err := db.MadeWith(t.Context(), store.SessionsFollower); err != nil || !cmp.Equal(got, rapport.DefaultSettings()) {
		t.Errorf("the sessions are made with %+v, %v", got, err)
	}
	if err := db.MakeWith(t.Context(), store.SessionsFollower, rapport.DefaultSettings()); err != nil {
		t.Errorf("a server of today can't go on: %v", err)
	}
}

func migrateTo(t *testing.T, d *storetest.Database, version int64) {
	t.Helper()
	db, err := sql.Open("pgx", d.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
}
