package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"

	"rapport/store/ingest"
	"rapport/store/ingest/spool"
)

// spoolFlags tell where deliveries go that the database can't keep.
type spoolFlags struct {
	NoSpool       bool  `help:"Don't keep deliveries in a local file of the data directory while the database can't: answer them 503. For containers whose disk doesn't outlive them."`
	SpoolMaxBytes int64 `default:"4294967296" placeholder:"BYTES" help:"The most that the spool keeps. Default: ${default} (4 GiB)."`
	SpoolMinFree  int64 `default:"268435456" placeholder:"BYTES" help:"What the spool leaves free on the disk. Default: ${default} (256 MiB)."`
}

// maxSpools bounds how many servers can share a data directory. Each has a spool
// of its own there.
const maxSpools = 64

// spools are those that this server writes (the first) or only drains: what a
// server has left that ran beside it once.
type spools struct {
	open  []*spool.Spool
	locks []*flock.Flock
}

func spoolDir(dataDir string, number int) string {
	if number == 1 {
		return filepath.Join(dataDir, "spool")
	}
	return filepath.Join(dataDir, fmt.Sprintf("spool-%d", number))
}

// databasesFile lists, in the first spool, the databases that a server of this
// data directory has once found to be as they must be, a line each.
const databasesFile = "databases"

// isKnown reports whether servers of this data directory have used the database.
func isKnown(dataDir, database string) bool {
	known, err := os.ReadFile(filepath.Join(spoolDir(dataDir, 1), databasesFile))
	return err == nil && slices.Contains(strings.Split(string(known), "\n"), database)
}

// mayBeLate reports whether the database may be away at the start: deliveries can
// be kept without it, and it is known that there is one.
func (f *spoolFlags) mayBeLate(dataDir, database string) bool {
	return !f.NoSpool && isKnown(dataDir, database)
}

// know notes that a database is as it must be.
func (f *spoolFlags) know(dataDir, database string) error {
	if f.NoSpool || isKnown(dataDir, database) {
		return nil
	}
	file, err := os.OpenFile(filepath.Join(spoolDir(dataDir, 1), databasesFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("noting the database: %w", err)
	}
	_, err = file.WriteString(database + "\n")
	return errors.Join(err, file.Close())
}

// openSpools opens the first spool that no other server has, and those of servers
// that are gone.
func (f *spoolFlags) openSpools(dataDir string, logger *slog.Logger) (_ *spools, err error) {
	s := &spools{}
	if f.NoSpool {
		return s, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	err = os.MkdirAll(dataDir, 0o755) // #nosec G301 -- Postgres's own user passes through it to its cluster
	if err != nil {
		return nil, fmt.Errorf("the spool needs a data directory that it may write (--data-dir), or --no-spool: %w", err)
	}
	for number := 1; number <= maxSpools; number++ {
		dir := spoolDir(dataDir, number)
		if _, err := os.Stat(dir); err != nil && len(s.open) > 0 {
			break // it has one, and there are no more
		}
		if err := s.add(dir, f, logger); err != nil {
			return nil, err
		}
	}
	if len(s.open) == 0 {
		return nil, fmt.Errorf("%d servers use the data directory %s already: give this one its own with --data-dir", maxSpools, dataDir)
	}
	return s, nil
}

// add opens a spool, unless another server has it.
func (s *spools) add(dir string, f *spoolFlags, logger *slog.Logger) error {
	lock := flock.New(dir + ".lock")
	locked, err := lock.TryLock()
	if err != nil {
		return fmt.Errorf("the spool needs a data directory that it may write (--data-dir), or --no-spool: %w", err)
	}
	if !locked {
		return nil
	}
	s.locks = append(s.locks, lock)
	opened, err := spool.Open(dir, spool.Options{MaxBytes: f.SpoolMaxBytes, MinFreeBytes: f.SpoolMinFree, Logger: logger})
	if err != nil {
		return fmt.Errorf("opening the spool: %w", err)
	}
	s.open = append(s.open, opened)
	if waiting := opened.Stats().Records; waiting > 0 {
		logger.Info("the spool has deliveries for the database", "directory", dir, "records", waiting)
	}
	return nil
}

// all are the spools as the ingest takes them.
func (s *spools) all() []ingest.Spool {
	var all []ingest.Spool
	for _, opened := range s.open {
		all = append(all, opened)
	}
	return all
}

func (s *spools) close() error {
	var errs []error
	for _, opened := range s.open {
		errs = append(errs, opened.Close())
	}
	for _, lock := range s.locks {
		errs = append(errs, lock.Unlock())
	}
	return errors.Join(errs...)
}
