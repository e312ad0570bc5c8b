package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"rapport/internal/transfer"
	"rapport/store"
)

type exportCmd struct {
	Sessions exportSessionsCmd `cmd:"" help:"Export sessions, by started_at."`
	Messages exportMessagesCmd `cmd:"" help:"Export messages, by occurred_at."`
	Events   exportEventsCmd   `cmd:"" help:"Export events with their payloads, by occurred_at: as NDJSON they can be imported again."`
}

// exportFlags are those of every export.
type exportFlags struct {
	databaseFlags
	logFlags
	Format string `placeholder:"FORMAT" help:"parquet, csv or ndjson. Default: as the name of --out ends, else ndjson."`
	From   string `placeholder:"TIME" help:"From then on: RFC 3339, or a day (2026-09-01) or month (2026-09) in UTC."`
	To     string `placeholder:"TIME" help:"Up to, and without, then."`
	Agent  string `placeholder:"AGENT_ID" help:"Of this agent alone."`
	Out    string `placeholder:"PATH" default:"-" help:"A file; or a directory (a name without an extension), which gets a file for each month; - is standard output. Default: ${default}."`
}

type (
	exportSessionsCmd struct{ exportFlags }
	exportMessagesCmd struct{ exportFlags }
	exportEventsCmd   struct{ exportFlags }
)

// Help is what --help says besides the flags.
func (*exportCmd) Help() string {
	return `Reads beside a running server or without one, in constant memory. The columns are those of the views of
the schema analytics. Events and messages are those up to the head that the log has when the export
begins, in the order of their positions; sessions are as they are when they are read. What was erased
is among the events as a stub, whose erasure is not null. A file is there only once it is complete; an
export of the same rows writes the same bytes.`
}

// Run exports sessions.
func (c *exportSessionsCmd) Run(ctx context.Context, io streams) error {
	return c.export(ctx, io, transfer.Sessions)
}

// Run exports messages.
func (c *exportMessagesCmd) Run(ctx context.Context, io streams) error {
	return c.export(ctx, io, transfer.Messages)
}

// Run exports events.
func (c *exportEventsCmd) Run(ctx context.Context, io streams) error {
	return c.export(ctx, io, transfer.Events)
}

func (c *exportFlags) export(ctx context.Context, io streams, what string) error {
	e := &transfer.Export{
		What: what, Format: cmp.Or(c.Format, transfer.FormatOf(c.Out), transfer.NDJSON), AgentID: c.Agent,
		Out: c.Out, Stdout: io.Out, Now: time.Now().UTC(),
	}
	var err error
	if e.From, err = parseMoment("--from", c.From); err != nil {
		return err
	}
	if e.To, err = parseMoment("--to", c.To); err != nil {
		return err
	}
	if !e.From.IsZero() && !e.To.IsZero() && !e.From.Before(e.To) {
		return errors.New("--from must be before --to")
	}
	if file, ok := io.Out.(*os.File); ok && c.Out == transfer.Stdout && e.Format == transfer.Parquet && term.IsTerminal(int(file.Fd())) {
		return errors.New("parquet is not for a terminal: name a file or a directory with --out")
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		bar := transfer.NewBar(io.Err, "exporting "+what, -1, false)
		e.DB, e.OnProgress = db, bar.Set
		done, err := e.Run(ctx)
		bar.Clear()
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(io.Err, "%d %s exported, up to position %d, %s\n", done.Rows, what, done.Head, inFiles(done.Files))
		return nil
	})
}

func inFiles(files []string) string {
	switch len(files) {
	case 0:
		return "to no file"
	case 1:
		return "to " + files[0]
	}
	return fmt.Sprintf("to %d files, from %s to %s", len(files), files[0], files[len(files)-1])
}

// parseMoment reads a time, or the begin of a UTC day or month; empty is none.
func parseMoment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly, "2006-01"} {
		if at, err := time.Parse(form, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %q is no time: write 2026-09-01T00:00:00Z, 2026-09-01 or 2026-09", flag, text)
}
