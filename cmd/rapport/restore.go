package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/term"

	"rapport"
	"rapport/aggregator"
	"rapport/aggregator/export/archive"
	"rapport/internal/transfer"
	"rapport/store"
	"rapport/store/embedpg"
)

type restoreCmd struct {
	databaseFlags
	logFlags
	Check   bool   `help:"Only read the whole archive, and prove it to be what was written. Needs no database."`
	Archive string `arg:"" placeholder:"URL" help:"What rapport serve --archive was given."`
}

// Help is what --help says besides the flags.
func (*restoreCmd) Help() string {
	return `Makes a database of an archive alone: every event at its position, what was erased as stubs, sessions and
totals as they were. The database must have no events: a new data directory will do, or an empty
database of a Postgres; it is migrated first. No server may use it meanwhile.

An object that is missing, damaged or overlaps another is named, and nothing is restored behind it.
Interrupted, run it again: it goes on. Afterwards, rapport verify proves the result, and a server with the
same --archive goes on with the archive.

Not in the archive: keys, sources and their secrets, the audit, what waits to be delivered. Make these anew.`
}

// Run restores.
func (c *restoreCmd) Run(ctx context.Context, io streams) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	logger := c.logger(io.Err)
	bucket, err := archive.OpenBucket(ctx, c.Archive, false)
	if err != nil {
		return err
	}
	defer func() { _ = bucket.Close() }()
	manifest, err := archive.ReadManifest(ctx, bucket)
	if err != nil {
		return err
	}
	if c.Check {
		return c.check(ctx, io, bucket, manifest, logger)
	}
	database, err := c.open(ctx, logger, true, embedpg.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.close()) }()
	db, err := database.migrated(ctx, true, logger)
	if err != nil {
		return err
	}
	defer db.Close()
	began := time.Now()
	rebuilt, err := c.restore(ctx, io, &restoring{bucket: bucket, manifest: manifest, database: database, db: db, logger: logger})
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: run the same command again, and it goes on")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.Out, "%d events restored, up to position %d, as of %s; %d sessions; in %.1f s\n",
		manifest.Events, manifest.Position, manifest.WrittenAt.Format(time.RFC3339), rebuilt.Sessions, time.Since(began).Seconds())
	return err
}

// check proves the archive to be whole.
func (c *restoreCmd) check(ctx context.Context, io streams, bucket *archive.Bucket, manifest *archive.Manifest, logger *slog.Logger) error {
	progress := newRestoreProgress(io, "checking", manifest.Position, logger)
	err := archive.Check(ctx, bucket, manifest, decodeAgain, progress.set)
	progress.clear()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.Out, "%d events up to position %d, as of %s: the archive is whole\n",
		manifest.Events, manifest.Position, manifest.WrittenAt.Format(time.RFC3339))
	return err
}

// restoring is what a restore works with.
type restoring struct {
	bucket   *archive.Bucket
	manifest *archive.Manifest
	database *database
	db       *store.DB
	logger   *slog.Logger
}

func (c *restoreCmd) restore(ctx context.Context, io streams, with *restoring) (aggregator.Rebuilt, error) {
	r, err := store.BeginRestore(ctx, with.database.OwnerURL, with.manifest.Name())
	if err != nil {
		return aggregator.Rebuilt{}, err
	}
	defer r.Close()
	progress := newRestoreProgress(io, "restoring", with.manifest.Position, with.logger)
	err = archive.Restore(ctx, with.bucket, with.manifest, decodeAgain, r, progress.set)
	progress.clear()
	if err != nil {
		return aggregator.Rebuilt{}, err
	}
	settings, err := with.db.Settings(ctx)
	if err != nil {
		return aggregator.Rebuilt{}, err
	}
	settings.ScoreVersion = rapport.ScoreVersion
	rebuilt, err := rebuild(ctx, r.BeginRebuild, settings, newRebuildProgress(io.Err, with.logger))
	if err != nil {
		return rebuilt, err
	}
	if err := with.db.Audit(ctx, store.AuditEntry{
		Actor: cliActor(), Action: "log.restore", Subject: with.manifest.Name(),
		Details: map[string]any{"events": with.manifest.Events, "position": with.manifest.Position},
	}); err != nil {
		return rebuilt, err
	}
	return rebuilt, r.End(ctx)
}

// restoreProgress is a bar on a terminal, and a line of the log now and then anywhere
// else.
type restoreProgress struct {
	bar    *transfer.Bar
	logger *slog.Logger
	what   string
	total  int64
	last   time.Time
	isBar  bool
}

func newRestoreProgress(io streams, what string, total int64, logger *slog.Logger) *restoreProgress {
	file, ok := io.Err.(*os.File)
	isBar := ok && term.IsTerminal(int(file.Fd()))
	return &restoreProgress{isBar: isBar, bar: transfer.NewBar(io.Err, what, total, false), logger: logger, what: what, total: total, last: time.Now()}
}

func (p *restoreProgress) set(done int64) {
	p.bar.Set(done)
	if !p.isBar && time.Since(p.last) >= rebuildLineEvery {
		p.last = time.Now()
		p.logger.Info(p.what+" the archive", "position", done, "of", p.total)
	}
}

func (p *restoreProgress) clear() { p.bar.Clear() }
