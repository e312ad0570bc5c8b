package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"rapport/internal/transfer"
	"rapport/store"
)

type importCmd struct {
	databaseFlags
	logFlags
	redactFlags
	MaxBodyBytes int64  `default:"1048576" placeholder:"BYTES" help:"The largest body that is accepted, as of a webhook. Default: ${default} (1 MiB)."`
	Strict       bool   `help:"Stop at the first line that is no event, instead of putting it into the quarantine."`
	Skip         int64  `placeholder:"LINES" help:"Pass over so many lines, which an earlier import has done."`
	File         string `arg:"" placeholder:"FILE" help:"NDJSON, also in gzip or zstd; - is standard input."`
}

// Help is what --help says besides the flags.
func (*importCmd) Help() string {
	return `A line is the body of a delivery, or an event that "rapport export events --format ndjson" wrote. They are
appended to the log in order, beside a running server or without one, with the decoder, the masks and the
checks of live deliveries; an exported event keeps its time of receipt, its headers and its payload, and gets a
position anew. What is in the log already is recognised: to import again what was imported, or a file whose
import was interrupted, is safe. What was erased stays away. A body that is no event goes to the quarantine,
an exported event that was changed is refused; the exit code is then 1. A delivery that tells no time gets that
of the file's last change. With --redact, mask as the server does.`
}

// Run imports.
func (c *importCmd) Run(ctx context.Context, io streams) error {
	if c.MaxBodyBytes < 1 || c.Skip < 0 {
		return errors.New("--max-body-bytes must be at least 1, and --skip at least 0")
	}
	mask, err := c.redaction()
	if err != nil {
		return err
	}
	in, err := openInput(c.File, io.In)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	now := time.Now().UTC().Truncate(time.Microsecond)
	i := &transfer.Import{
		Redact: mask, MaxBody: c.MaxBodyBytes, Strict: c.Strict, Skip: c.Skip, Now: now, Undated: in.undated(now),
		Logger: c.logger(io.Err),
	}
	return c.withStore(ctx, i.Logger, func(db *store.DB) error {
		if err := db.Audit(ctx, store.AuditEntry{Actor: cliActor(), Action: "log.import", Subject: filepath.Base(c.File)}); err != nil {
			return err
		}
		i.DB = db
		return c.runImport(ctx, i, in, io)
	})
}

func (c *importCmd) runImport(ctx context.Context, i *transfer.Import, in *input, io streams) error {
	bar := transfer.NewBar(io.Err, "importing", in.size, true)
	i.OnProgress = func(*transfer.Imported) { bar.Set(in.read.Load()) }
	done, err := i.Run(ctx, in)
	bar.Clear()
	_, _ = fmt.Fprintln(io.Out, &done)
	switch {
	case err != nil:
		return fmt.Errorf("%w (%d lines are done with: import again, and --skip %d to be quicker)", err, done.Line, done.Line)
	case done.Undated > 0 && in.modified.IsZero():
		i.Logger.Warn("deliveries that tell no time got the present one: importing them again later doubles them", "count", done.Undated)
	}
	if done.Quarantined+done.Refused > 0 {
		return fmt.Errorf("%d of %d lines are no events", done.Quarantined+done.Refused, done.Read)
	}
	return nil
}

// input is what is imported.
type input struct {
	io.Reader
	close    func() error
	size     int64        // bytes; -1 if nobody knows
	read     atomic.Int64 // bytes so far
	modified time.Time    // zero if it is no file
}

func openInput(path string, stdin io.Reader) (*input, error) {
	if path == transfer.Stdout {
		return &input{Reader: stdin, size: -1}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil || info.IsDir() {
		return nil, errors.Join(err, file.Close(), fmt.Errorf("%s is no file to import", path))
	}
	in := &input{Reader: file, close: file.Close, size: info.Size(), modified: info.ModTime()}
	if !info.Mode().IsRegular() {
		in.size, in.modified = -1, time.Time{}
	}
	return in, nil
}

// Read counts.
func (in *input) Read(p []byte) (int, error) {
	n, err := in.Reader.Read(p)
	in.read.Add(int64(n))
	return n, err
}

// Close closes a file.
func (in *input) Close() error {
	if in.close == nil {
		return nil
	}
	return in.close()
}

// undated is the time that deliveries get which tell none.
func (in *input) undated(now time.Time) time.Time {
	at := in.modified.UTC().Truncate(time.Microsecond)
	if at.After(now) || at.Year() < 2015 {
		return now
	}
	return at
}
