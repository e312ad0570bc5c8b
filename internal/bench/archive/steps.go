package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/aggregator"
	"rapport/aggregator/export/archive"
	"rapport/api/webhook"
	"rapport/internal/bench/history"
	"rapport/store"
	"rapport/store/embedpg"
)

// bench is two databases of one private Postgres, and an archive.
type bench struct {
	options
	dir      string
	pg       *embedpg.Server
	db       *store.DB
	follower *archive.Follower
	stop     func()
}

// The databases: what is archived, and what is made of the archive.
const (
	original = "original"
	restored = "restored"
)

func open(ctx context.Context, o options) (_ *bench, err error) {
	b := &bench{options: o, stop: func() {}}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.dir, err = os.MkdirTemp("", "rapport-bench-archive-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // started by root, Postgres is somebody else
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if b.pg, err = embedpg.Start(ctx, embedpg.Config{DataDir: b.dir, Logger: logger}); err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, b.pg.URL("postgres"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, name := range []string{original, restored} {
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+name+" OWNER rapport_owner"); err != nil {
			return nil, err
		}
	}
	if _, err := store.Migrate(ctx, b.url("rapport_owner", original)); err != nil {
		return nil, err
	}
	if b.db, err = store.Open(ctx, b.url("rapport_server", original)); err != nil {
		return nil, err
	}
	return b, b.newFollower(ctx, logger)
}

func (b *bench) newFollower(ctx context.Context, logger *slog.Logger) error {
	bucket, err := archive.OpenBucket(ctx, b.bucket(), true)
	if err != nil {
		return err
	}
	watch := store.NewWatch(b.url("rapport_server", original))
	watching, stop := context.WithCancel(ctx)
	go func() { _ = watch.Run(watching) }()
	b.stop = func() { stop(); _ = bucket.Close() }
	b.follower = archive.New(archive.Options{DB: b.db, Watch: watch, Bucket: bucket, Decode: decode, Logger: logger})
	return nil
}

// decode reads the bodies of made-up conversations again: nothing is healed.
func decode(payload []byte, _ string, receivedAt time.Time) (rapport.Event, error) {
	return webhook.Decode(payload, receivedAt, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))
}

func (b *bench) close() {
	b.stop()
	if b.db != nil {
		b.db.Close()
	}
	if b.pg != nil {
		if err := b.pg.Stop(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "bench-archive:", err)
		}
	}
	_ = os.RemoveAll(b.dir)
}

func (b *bench) bucket() string { return filepath.Join(b.dir, "archive") }

func (b *bench) url(role, name string) string {
	u, err := url.Parse(b.pg.URL(role))
	if err != nil {
		panic(err) // we made it ourselves
	}
	u.Path = "/" + name
	return u.String()
}

func timed(ctx context.Context, what string, do func(context.Context) (string, error)) error {
	began := time.Now()
	told, err := do(ctx)
	if err == nil {
		fmt.Printf("%-24s %7.1f s  %s\n", what, time.Since(began).Seconds(), told)
	}
	return err
}

func (b *bench) load(ctx context.Context) (string, error) {
	plan := history.Plan{Sessions: b.sessions, Seed: b.seed, Until: time.Now().UTC().Truncate(time.Second), Days: b.days}
	events, err := plan.Load(ctx, b.url("rapport_owner", original), func(int64, time.Time) {})
	return fmt.Sprintf("%d events", events), err
}

func (b *bench) fold(ctx context.Context) (string, error) {
	settings, err := b.db.Settings(ctx)
	if err != nil {
		return "", err
	}
	r, err := store.BeginRebuild(ctx, b.url("rapport_owner", original))
	if err != nil {
		return "", err
	}
	defer r.Close()
	rebuilt, err := aggregator.Rebuild(ctx, r, settings, func(aggregator.RebuildProgress) {})
	return fmt.Sprintf("%d sessions", rebuilt.Sessions), err
}

// archive comes to the log's head. A step gives sessions some time, too.
func (b *bench) archive(ctx context.Context) (string, error) {
	for {
		if err := b.step(ctx); err != nil {
			return "", err
		}
		lag, _, err := b.db.ArchiveLag(ctx, time.Now())
		if err != nil || lag.Events == 0 {
			return "", err
		}
	}
}

func (b *bench) archiveSessions(ctx context.Context) (string, error) {
	for {
		if err := b.step(ctx); err != nil {
			return "", err
		}
		todo, err := b.db.ArchiveTodo(ctx)
		if err != nil || todo.IsDone() {
			return "", err
		}
	}
}

func (b *bench) step(ctx context.Context) error {
	isOurs, err := b.follower.Step(ctx)
	if err == nil && !isOurs {
		err = errors.New("somebody else archives")
	}
	return err
}

func (b *bench) restore(ctx context.Context) (string, error) {
	return b.run(ctx, "restore", b.bucket())
}

func (b *bench) verify(ctx context.Context) (string, error) { return b.run(ctx, "verify") }

// run runs a command on the restored database, and returns its last line.
func (b *bench) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, b.rapport, args...) // #nosec G204 -- the program that is measured
	cmd.Env = append(os.Environ(), "RAPPORT_DATABASE_URL="+b.url("rapport_server", restored),
		"RAPPORT_OWNER_DATABASE_URL="+b.url("rapport_owner", restored), "RAPPORT_LOG_LEVEL=error", "RAPPORT_DATA_DIR="+filepath.Join(b.dir, "data"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], err
}

// compared are the tables that a restore brings back to the byte.
var compared = []string{
	"events", "sessions", "session_texts", "superseded", "session_totals", "event_counts", "settings", "retention", "dropped_months",
	"stubbed_months", "frozen_spans", "erasures", "tombstones", "quarantine", "quarantine_tally", "log_head", "current_sessions",
}

func (b *bench) compare(ctx context.Context) (string, error) {
	rows := int64(0)
	for _, table := range compared {
		want, n, err := b.content(ctx, original, table)
		if err != nil {
			return "", err
		}
		got, _, err := b.content(ctx, restored, table)
		if err != nil {
			return "", err
		}
		if got != want {
			return "", fmt.Errorf("%s is not what it was", table)
		}
		rows += n
	}
	return fmt.Sprintf("%d tables, %d rows: identical", len(compared), rows), nil
}

// content is a hash of the rows of a table, whatever their order, and their number.
func (b *bench) content(ctx context.Context, database, table string) (hash string, rows int64, err error) {
	conn, err := pgx.Connect(ctx, b.url("postgres", database))
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = conn.QueryRow(ctx, `SELECT concat(sum(hashtextextended(t::text, 0)::numeric), ' ', sum(hashtextextended(t::text, 1)::numeric)), count(*)
		FROM `+table+` t`).Scan(&hash, &rows)
	return hash, rows, err
}

// size compares the bytes of the archive with those of the bodies, which are JSON.
func (b *bench) size(ctx context.Context) error {
	log, sessions := int64(0), int64(0)
	err := filepath.WalkDir(b.bucket(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if strings.HasPrefix(path, filepath.Join(b.bucket(), "avatar-events")) {
			sessions += info.Size()
		} else {
			log += info.Size()
		}
		return nil
	})
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, b.url("postgres", original))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var bodies int64
	if err := conn.QueryRow(ctx, "SELECT sum(octet_length(payload::text)) FROM events").Scan(&bodies); err != nil {
		return err
	}
	share := float64(log) / float64(bodies)
	fmt.Printf("the archive has %d bytes, the bodies of the events %d: %.3f (goal: <= %.1f); the objects of the sessions have %d\n",
		log, bodies, share, mostBytes, sessions)
	if share > mostBytes {
		return fmt.Errorf("the archive has more than %.1f of the JSON's bytes", mostBytes)
	}
	return nil
}
