package transfer

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rapport/store"
)

// What can be exported.
const (
	Sessions = "sessions"
	Messages = "messages"
	Events   = "events"
)

// Stdout is the Out that writes to standard output.
const Stdout = "-"

// Export is one export.
type Export struct {
	DB       *store.DB
	What     string
	Format   string
	From, To time.Time // [From, To) on started_at of sessions, else on occurred_at; zero is without a bound
	AgentID  string    // empty: of any agent
	Out      string    // a directory, which gets a file for each UTC month; a file; or Stdout
	Stdout   io.Writer
	Now      time.Time // at which sessions are open or closed

	OnProgress func(rows int64) // is told how many rows are written
}

// Exported tells what was written.
type Exported struct {
	Rows  int64
	Files []string
	Head  int64 // position up to which the log was read; of sessions, the least that they contain
}

// FormatOf is the format that the name of a file asks for, empty if none.
func FormatOf(out string) string {
	switch format := strings.TrimPrefix(filepath.Ext(out), "."); format {
	case Parquet, CSV, NDJSON:
		return format
	case "jsonl":
		return NDJSON
	}
	return ""
}

// Run exports. Of an export that failed the files that are complete stay.
func (e *Export) Run(ctx context.Context) (Exported, error) {
	done := &Exported{}
	err := e.run(ctx, done)
	return *done, err
}

func (e *Export) run(ctx context.Context, done *Exported) (err error) {
	byMonth := e.Out != Stdout && isDir(e.Out)
	if byMonth {
		if err := os.MkdirAll(e.Out, 0o700); err != nil {
			return fmt.Errorf("making the directory %s: %w", e.Out, err)
		}
	}
	if e.What == Sessions {
		if done.Head, err = e.DB.FollowerPosition(ctx, store.SessionsFollower); err != nil {
			return err
		}
		return write(ctx, e, byMonth, done, func(s *sessionRow) time.Time { return s.StartedAt }, e.sessions)
	}
	if done.Head, err = e.DB.Head(ctx); err != nil {
		return err
	}
	parts, err := e.parts(ctx, byMonth, done.Head)
	switch {
	case err != nil:
		return err
	case e.What == Messages:
		return write(ctx, e, byMonth, done, func(m *messageRow) time.Time { return m.OccurredAt }, pagesOf(parts, e.DB.ExportMessages, messageRowOf))
	case e.What == Events:
		return write(ctx, e, byMonth, done, func(e *eventRow) time.Time { return e.OccurredAt }, pagesOf(parts, e.DB.ExportEvents, eventRowOf))
	}
	return fmt.Errorf("there is no export of %q: use %s, %s or %s", e.What, Sessions, Messages, Events)
}

// pages gives all rows to each, a page at a time.
type pages[T any] func(ctx context.Context, each func([]T) error) error

// sessions are by started_at.
func (e *Export) sessions(ctx context.Context, each func([]sessionRow) error) error {
	const page = 2000
	query := store.SessionQuery{
		From: e.From, To: e.To, AgentID: e.AgentID, Sort: store.SortStartedAt, Limit: page, Now: e.Now,
	}
	for {
		found, behind, err := e.DB.Sessions(ctx, query)
		if err != nil {
			return err
		}
		rows := make([]sessionRow, len(found))
		for i := range found {
			rows[i] = sessionRowOf(found[i], e.Now)
		}
		if err := each(rows); err != nil || behind == nil {
			return err
		}
		query.After = behind
	}
}

// parts are what is asked of the log: month by month, or all of it at once.
func (e *Export) parts(ctx context.Context, byMonth bool, head int64) ([]store.ExportQuery, error) {
	all := store.ExportQuery{Since: e.From, Until: e.To, AgentID: e.AgentID, UpTo: head}
	if !byMonth {
		return []store.ExportQuery{all}, nil
	}
	months, err := e.DB.LogMonths(ctx)
	var parts []store.ExportQuery
	for _, month := range months {
		part, next := all, month.AddDate(0, 1, 0)
		if part.Since.Before(month) {
			part.Since = month
		}
		if part.Until.IsZero() || part.Until.After(next) {
			part.Until = next
		}
		if part.Since.Before(part.Until) {
			parts = append(parts, part)
		}
	}
	return parts, err
}

// positioned is a row of the log.
type positioned interface{ place() int64 }

func (m messageRow) place() int64 { return m.Position }
func (e eventRow) place() int64   { return e.Position }

// stretch is over how many positions a page is looked for: what few rows match must not
// take as long as the whole log.
const stretch = 200_000

// pagesOf reads the parts one after another.
func pagesOf[R any, T positioned](parts []store.ExportQuery, read func(context.Context, store.ExportQuery) ([]R, error), show func(*R) T) pages[T] {
	return func(ctx context.Context, each func([]T) error) error {
		for _, part := range parts {
			for query := part; query.After < part.UpTo; {
				query.UpTo = min(query.After+stretch, part.UpTo)
				found, err := read(ctx, query)
				if err != nil {
					return err
				}
				if len(found) == 0 {
					query.After = query.UpTo
					continue
				}
				rows := make([]T, len(found))
				for i := range found {
					rows[i] = show(&found[i])
				}
				if err := each(rows); err != nil {
					return err
				}
				query.After = rows[len(rows)-1].place()
			}
		}
		return nil
	}
}

// write writes all rows to where they go.
func write[T any](ctx context.Context, e *Export, byMonth bool, done *Exported, at func(*T) time.Time, all pages[T]) error {
	out := &outlet[T]{export: e, done: done}
	defer out.drop()
	each := out.write
	if byMonth {
		each = func(rows []T) error { return out.writeMonths(rows, at) }
	} else if err := out.begin(e.Out); err != nil {
		return err
	}
	if err := all(ctx, each); err != nil {
		return err
	}
	return out.end()
}

func monthOf(t time.Time) string { return t.UTC().Format("2006-01") }

// outlet is where the rows of an export go: one file after another, or standard output.
type outlet[T any] struct {
	export *Export
	done   *Exported
	month  string    // of the present file
	file   *newFile  // nil for standard output, and before the first
	writer writer[T] // nil before the first
}

// begin begins a file.
func (o *outlet[T]) begin(path string) (err error) {
	out := o.export.Stdout
	if path != Stdout {
		if o.file, err = createFile(path); err != nil {
			return err
		}
		out = o.file
	}
	o.writer, err = newWriter[T](o.export.Format, out)
	return err
}

// writeMonths writes rows that are in the order of their months, each month to a file.
func (o *outlet[T]) writeMonths(rows []T, at func(*T) time.Time) error {
	for len(rows) > 0 {
		month, n := monthOf(at(&rows[0])), 1
		for n < len(rows) && monthOf(at(&rows[n])) == month {
			n++
		}
		if month != o.month {
			if err := o.end(); err != nil {
				return err
			}
			o.month = month
			name := fmt.Sprintf("%s-%s.%s", o.export.What, month, o.export.Format)
			if err := o.begin(filepath.Join(o.export.Out, name)); err != nil {
				return err
			}
		}
		if err := o.write(rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func (o *outlet[T]) write(rows []T) error {
	if err := o.writer.write(rows); err != nil {
		return fmt.Errorf("writing %s: %w", o.export.What, err)
	}
	o.done.Rows += int64(len(rows))
	if o.export.OnProgress != nil {
		o.export.OnProgress(o.done.Rows)
	}
	return nil
}

// end completes the present file.
func (o *outlet[T]) end() error {
	if o.writer == nil {
		return nil
	}
	if err := o.writer.close(); err != nil {
		return fmt.Errorf("writing %s: %w", o.export.What, err)
	}
	o.writer = nil
	if o.file == nil {
		return nil
	}
	file := o.file
	o.file = nil
	if err := file.keep(); err != nil {
		return err
	}
	o.done.Files = append(o.done.Files, file.path)
	return nil
}

// drop forgets what is not complete.
func (o *outlet[T]) drop() {
	if o.file != nil {
		o.file.drop()
	}
}
