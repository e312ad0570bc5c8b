// Package storetest gives each test a database of its own, on a real Postgres:
// one private server for each test binary, and copies of a migrated template.
package storetest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store"
	"rapport/store/embedpg"
)

const template = "rapport_template"

// cluster is the private Postgres of this test binary, started by the first
// test that needs it.
var cluster = sync.OnceValues(start)

var (
	started atomic.Pointer[embedpg.Server]
	created atomic.Int64 // databases, for their names
)

// Main runs the tests of a package, and stops Postgres after them. Each package
// that calls New has `func TestMain(m *testing.M) { storetest.Main(m) }`. What else
// the tests share ends with after.
func Main(m *testing.M, after ...func()) {
	code := m.Run()
	for _, end := range after {
		end()
	}
	if pg := started.Load(); pg != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := pg.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "stopping Postgres:", err)
			code = max(code, 1)
		}
		_ = os.RemoveAll(dataDir())
	}
	os.Exit(code)
}

func dataDir() string {
	return fmt.Sprintf("%s/rapport-test-%d", os.TempDir(), os.Getpid())
}

func start() (*embedpg.Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := os.MkdirAll(dataDir(), 0o755); err != nil {
		return nil, err
	}
	pg, err := embedpg.Start(ctx, embedpg.Config{DataDir: dataDir(), Ephemeral: true, Logger: Logger()})
	if err != nil {
		return nil, err
	}
	started.Store(pg)
	if err := admin(ctx, pg, "CREATE DATABASE "+template+" OWNER rapport_owner"); err != nil {
		return nil, err
	}
	if _, err := store.Migrate(ctx, urlOf(pg, "rapport_owner", template)); err != nil {
		return nil, err
	}
	if err := pg.Harden(ctx, template); err != nil {
		return nil, err
	}
	return pg, nil
}

// Database is a database of one test.
type Database struct {
	*store.DB              // as the server's role
	Watch     *store.Watch // runs until the test ends, and so do announcements
	URL       func(role string) string
}

// New makes a migrated, empty database; it goes when the test ends. A missing
// Postgres fails the test.
func New(t testing.TB) *Database {
	t.Helper()
	d := NewEmpty(t, template)
	db, err := store.Open(t.Context(), d.URL("rapport_server"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	d.DB, d.Watch = db, store.NewWatch(d.URL("rapport_server"))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = d.Watch.Run(ctx) })
	running.Go(func() { _ = db.Announce(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return d
}

// NewEmpty makes a database from a template of Postgres's (template0, say),
// without opening it: only its URL is set.
func NewEmpty(t testing.TB, from string) *Database {
	t.Helper()
	pg, err := cluster()
	if err != nil {
		t.Fatalf("no Postgres for the tests: %v", err)
	}
	name := fmt.Sprintf("rapport_test_%d", created.Add(1))
	if err := admin(t.Context(), pg, "CREATE DATABASE "+name+" OWNER rapport_owner TEMPLATE "+from); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := admin(context.Background(), pg, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return &Database{URL: func(role string) string { return urlOf(pg, role, name) }}
}

// Exec runs SQL on the database, as a role.
func (d *Database) Exec(t testing.TB, role, sql string, args ...any) {
	t.Helper()
	if err := d.TryExec(t.Context(), role, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// TryExec is Exec for what may fail.
func (d *Database) TryExec(ctx context.Context, role, sql string, args ...any) error {
	conn, err := pgx.Connect(ctx, d.URL(role))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql, args...)
	return err
}

// Query scans the rows of a query as a role into structs or values.
func Query[T any](t testing.TB, d *Database, role string, to pgx.RowToFunc[T], sql string, args ...any) []T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.URL(role))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	values, err := pgx.CollectRows(rows, to)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return values
}

// Logger discards: what matters is asserted.
func Logger() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func admin(ctx context.Context, pg *embedpg.Server, sql string) error {
	conn, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql)
	return err
}

// urlOf is the URL of another database of the cluster.
func urlOf(pg *embedpg.Server, role, database string) string {
	u, err := url.Parse(pg.URL(role))
	if err != nil {
		panic(err) // we made it ourselves
	}
	u.Path = "/" + database
	return u.String()
}
