package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/internal/bench/history"
	"rapport/store/embedpg"
)

// logs are a long log and one that is ten times shorter, as two databases of one
// private Postgres.
type logs struct {
	dir       string
	temporary bool
	pg        *embedpg.Server
	manifest  manifest
	of        [2]*database // the longer one first
}

// manifest says what a data directory has. It is written after each step, so that
// an interrupted run goes on where it was.
type manifest struct {
	Sessions int       `json:"sessions"` // of the longer log, as planned
	Seed     uint64    `json:"seed"`
	Until    time.Time `json:"until"`
	Days     int       `json:"days"`
	Made     [2]made   `json:"made"` // by the order of logs.of
}

// made tells how far a database is.
type made struct {
	Events int64 `json:"events"` // of a log that is complete
	Folded int64 `json:"folded"` // schema version with which all that follows from it was made

	SearchIndex string `json:"search_index"` // definition of an index that is dropped for a while
}

// The longer log spans so many days, and the shorter one too.
const days = 90

// Rapport's own database has the longer log: `rapport serve` can be run on it.
var databaseNames = [2]string{"rapport", "rapport_tenth"}

func openLogs(ctx context.Context, o options) (_ *logs, err error) {
	l := &logs{dir: o.dir, temporary: o.dir == ""}
	if l.temporary {
		if l.dir, err = os.MkdirTemp("", "rapport-bench-"); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if err := l.readManifest(o); err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if l.pg, err = embedpg.Start(ctx, embedpg.Config{DataDir: l.dir, Logger: logger}); err != nil {
		return nil, err
	}
	for i, name := range databaseNames {
		l.of[i] = &database{name: name, logs: l, made: &l.manifest.Made[i], plan: history.Plan{
			Sessions: l.manifest.Sessions, Seed: l.manifest.Seed, Until: l.manifest.Until, Days: l.manifest.Days,
		}}
	}
	l.of[1].plan.Sessions /= 10
	return l, l.createDatabases(ctx)
}

// close stops Postgres, and removes what nobody wants to keep.
func (l *logs) close() {
	if l.pg != nil {
		if err := l.pg.Stop(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "bench-queries:", err)
		}
	}
	if l.temporary {
		_ = os.RemoveAll(l.dir)
	}
}

func (l *logs) manifestPath() string { return filepath.Join(l.dir, "bench-queries.json") }

// readManifest reads what the directory has, or begins a manifest.
func (l *logs) readManifest(o options) error {
	text, err := os.ReadFile(l.manifestPath())
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(l.dir, "postgres")); err == nil {
			return fmt.Errorf("%s has a database that is not of this benchmark: name another directory", l.dir)
		}
		l.manifest = manifest{Sessions: o.sessions, Seed: o.seed, Until: time.Now().UTC().Truncate(time.Second), Days: days}
		return l.writeManifest()
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &l.manifest); err != nil {
		return fmt.Errorf("%s: %w", l.manifestPath(), err)
	}
	if l.manifest.Sessions != o.sessions || l.manifest.Seed != o.seed {
		return fmt.Errorf("%s has %d sessions of seed %d: ask for these (-sessions, -seed), or name another directory",
			l.dir, l.manifest.Sessions, l.manifest.Seed)
	}
	return nil
}

func (l *logs) writeManifest() error {
	text, err := json.MarshalIndent(l.manifest, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.dir, 0o711); err != nil {
		return err
	}
	return os.WriteFile(l.manifestPath(), append(text, '\n'), 0o600)
}

// createDatabases makes what Postgres does not have yet of them.
func (l *logs) createDatabases(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, l.pg.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, name := range databaseNames {
		var exists bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil {
			return err
		}
		if exists {
			continue
		}
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+name+" OWNER rapport_owner"); err != nil {
			return err
		}
	}
	return nil
}

// url is that of another database of Rapport's private Postgres.
func (l *logs) url(role, name string) string {
	u, err := url.Parse(l.pg.URL(role))
	if err != nil {
		panic(err) // we made it ourselves
	}
	u.Path = "/" + name
	return u.String()
}

// sessionBytes is what a session of the longer log needs of the disk, with its share of
// the shorter one, and with what is there for a while.
const sessionBytes = 32_000

// prepare makes the logs. Nothing else works meanwhile: what autovacuum would do again
// and again is done once, at the end.
func (l *logs) prepare(ctx context.Context) error {
	if err := l.autovacuum(ctx, "SET autovacuum = off"); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d sessions, and a tenth of them, need about %.1f GB in %s\n",
		l.manifest.Sessions, float64(l.manifest.Sessions)*sessionBytes/1e9, l.dir)
	for _, d := range l.of {
		if err := d.prepare(ctx); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return l.autovacuum(ctx, "RESET autovacuum")
}

func (l *logs) autovacuum(ctx context.Context, change string) error {
	conn, err := pgx.Connect(ctx, l.pg.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, statement := range []string{"ALTER SYSTEM " + change, "SELECT pg_reload_conf()"} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
