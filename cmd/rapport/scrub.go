package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"rapport/store"
	"rapport/store/embedpg"
	"rapport/store/ingest"
	"rapport/store/ingest/spool"
)

// scrub rewrites what is on the disk: the spool first, of which the rest goes into
// the log yet, and the tables then.
func (c *eraseCmd) scrub(ctx context.Context, database *database, db *store.DB, io streams, logger *slog.Logger) error {
	if err := c.emptySpools(ctx, db, logger, "*.seg*", spoolPatience); err != nil {
		return err
	}
	link := database.OwnerURL
	if !c.isConfigured() { // its socket lets whoever may use it be anyone
		link = asSuperuser(link)
	}
	left, err := store.Scrub(ctx, link, func(what string) { logger.Info(what) })
	if err != nil {
		return err
	}
	if !c.isConfigured() {
		if err := embedpg.DropOldLogs(ctx, c.DataDir); err != nil {
			return err
		}
	} else {
		left = append(left, "look after what lies outside of this database: its log files, archives of WAL, replicas, backups")
	}
	_, _ = fmt.Fprintln(io.Out, "the files are rewritten")
	for _, sentence := range left {
		_, _ = fmt.Fprintln(io.Out, "left to you:", sentence)
	}
	return nil
}

func asSuperuser(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return link
	}
	u.User = url.User("postgres")
	return u.String()
}

// spoolPatience is for how long a server may take to drain its spool.
const spoolPatience = 5 * time.Minute

// drainPatience is for how long an erasure waits for what it would else not find.
const drainPatience = 30 * time.Second

// drainFirst has what waits in a spool go into the log: what is to be erased is looked
// for there. What can't be drained doesn't keep the rest from being erased.
func (c *eraseCmd) drainFirst(ctx context.Context, db *store.DB, logger *slog.Logger) error {
	err := c.emptySpools(ctx, db, logger, "*.seg", drainPatience)
	if err == nil || ctx.Err() != nil {
		return err
	}
	logger.Warn("what waits in a spool is not looked through: erase again when it is drained", "error", err)
	return nil
}

// emptySpools has what the spools of this data directory keep for the database go
// there, until no such files are left: by the server that has the spool, or by this
// process if none has.
func (c *eraseCmd) emptySpools(ctx context.Context, db *store.DB, logger *slog.Logger, files string, patience time.Duration) error {
	address, err := c.address()
	if err != nil || !isKnown(c.DataDir, address) {
		return err
	}
	for number := 1; number <= maxSpools; number++ {
		dir := spoolDir(c.DataDir, number)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err := emptySpool(ctx, filepath.Join(dir, files), db, logger, patience); err != nil {
			return err
		}
	}
	return nil
}

func emptySpool(ctx context.Context, files string, db *store.DB, logger *slog.Logger, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; {
		if err := drainIfFree(ctx, filepath.Dir(files), db, logger); err != nil {
			return err
		}
		segments, err := fs.Glob(os.DirFS(filepath.Dir(files)), filepath.Base(files)) // the directory's name is no pattern
		if err != nil {
			return err
		}
		if len(segments) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the spool still has %s: wait until it is drained, delete what was set aside as damaged, and run this again", filepath.Join(filepath.Dir(files), segments[0]))
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drainIfFree drains a spool that no server has.
func drainIfFree(ctx context.Context, dir string, db *store.DB, logger *slog.Logger) (err error) {
	lock := flock.New(dir + ".lock")
	locked, err := lock.TryLock()
	if err != nil || !locked {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	sp, err := spool.Open(dir, spool.Options{Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sp.Close()) }()
	if _, err := sp.Next(1, 1); err != nil { // deletes what has nothing to be drained
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, spoolPatience)
	defer cancel()
	drained := make(chan error, 1)
	in := ingest.New(db, ingest.Options{Spools: []ingest.Spool{sp}, Logger: logger})
	go func() { drained <- in.Drain(ctx) }()
	for sp.Stats().Records > 0 && ctx.Err() == nil {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	cancel()
	return <-drained
}
