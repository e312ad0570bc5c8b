package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"rapport"
	"rapport/internal/redact"
	"rapport/store"
)

// Import is one import.
type Import struct {
	DB      *store.DB
	Redact  *redact.Rules // what is masked before it is kept; nil for nothing
	MaxBody int64         // bytes of a body, as for a live delivery
	Strict  bool          // stop at the first line that is no event, and keep nothing of it
	Skip    int64         // so many lines are passed over unread
	Now     time.Time     // when the import began: the receipt of deliveries
	Undated time.Time     // the receipt of deliveries that tell no time: the same whenever the same is imported
	Logger  *slog.Logger

	OnProgress func(*Imported) // is told of each batch

	complaints rate.Sometimes // of lines
}

// Imported counts lines.
type Imported struct {
	Read        int64 // without empty ones
	Appended    int64 // events that are new in the log
	Duplicates  int64 // events that were there already
	Quarantined int64 // deliveries that are no event
	Refused     int64 // what is kept nowhere: exported events that were changed, bodies that are too long
	Stubs       int64 // what was erased before it was exported
	Erased      int64 // events that the log lets go: they were erased here, or are older than what it keeps
	Undated     int64 // deliveries that tell no time, among the others
	Line        int64 // the last one that is done with, empty ones counted
}

// String is the summary in one line.
func (i *Imported) String() string {
	return fmt.Sprintf("%d lines read: %d events appended, %d already there, %d in the quarantine, %d refused, "+
		"%d erased before the export, %d erased here or too old", i.Read, i.Appended, i.Duplicates, i.Quarantined, i.Refused, i.Stubs, i.Erased)
}

// A batch is small enough that live deliveries, which need the same lock, hardly wait
// for it.
const (
	batchLines = 1000
	batchBytes = 2 << 20
)

// batch is some lines in order.
type batch struct {
	reads []read
	line  int64 // the last one, empty ones counted
}

// Run imports what it reads from in. Whatever ends it, the lines up to Imported.Line
// are done with, and to import all of it again is right.
func (i *Import) Run(ctx context.Context, in io.Reader) (Imported, error) {
	var done Imported
	i.complaints = rate.Sometimes{First: 10, Interval: time.Second}
	if _, err := i.DB.Head(ctx); err != nil { // so that the newest receipt is known
		return done, err
	}
	plain, err := decompress(in)
	if err != nil {
		return done, err
	}
	defer plain.Close()
	batches := make(chan batch, 2)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(batches)
		return i.read(ctx, plain, batches)
	})
	group.Go(func() error {
		for b := range batches {
			if err := i.keep(ctx, &b, &done); err != nil {
				return err
			}
			done.Line = b.line
			if i.OnProgress != nil {
				i.OnProgress(&done)
			}
		}
		return ctx.Err()
	})
	err = group.Wait()
	return done, err
}

// read decodes lines, a batch ahead of those that are kept.
func (i *Import) read(ctx context.Context, in io.Reader, batches chan<- batch) error {
	d := &decoder{mask: i.Redact, now: i.Now, undated: i.Undated, newest: i.DB.NewestReceipt(), maxBody: i.MaxBody}
	lines := newLines(in, 16*i.MaxBody)
	var b batch
	bytes := 0
	send := func() error {
		select {
		case batches <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
		b, bytes = batch{}, 0
		return nil
	}
	for {
		if err := ctx.Err(); err != nil { // also where nothing comes of the lines
			return err
		}
		text, err := lines.next()
		switch {
		case err == io.EOF:
			b.line = lines.number
			return send()
		case errors.Is(err, errLong):
			b.reads = append(b.reads, read{number: lines.number, refused: err})
		case err != nil:
			return fmt.Errorf("reading line %d: %w", lines.number+1, err)
		case lines.number > i.Skip && len(text) > 0:
			b.reads = append(b.reads, d.decode(lines.number, text))
			bytes += len(text)
		}
		b.line = lines.number
		if len(b.reads) >= batchLines || bytes >= batchBytes {
			if err := send(); err != nil {
				return err
			}
		}
	}
}

// keep appends a batch, and puts what is no event aside.
func (i *Import) keep(ctx context.Context, b *batch, done *Imported) error {
	if done.Read == 0 {
		if err := misread(b); err != nil {
			return err
		}
	}
	var events []*rapport.Event
	var failed error
	for _, r := range b.reads {
		if err := i.fault(&r); err != nil && i.Strict {
			failed = err // what is before it is kept
			break
		}
		if r.event != nil {
			events = append(events, r.event)
		}
	}
	if err := i.append(ctx, events, done); err != nil {
		return err
	}
	for _, r := range b.reads {
		if err := i.fault(&r); err != nil && i.Strict {
			done.Line = r.number - 1
			return failed
		}
		if err := i.putAside(ctx, &r, done); err != nil {
			return err
		}
	}
	return nil
}

// complain tells of a line; of very many, of some.
func (i *Import) complain(what string, r *read) {
	i.complaints.Do(func() { i.Logger.Warn(what, "error", i.fault(r)) })
}

// fault tells what is wrong with a line, as an error of the line.
func (i *Import) fault(r *read) error {
	switch {
	case r.refused != nil:
		return fmt.Errorf("line %d: %w", r.number, r.refused)
	case r.quarantine != nil:
		return fmt.Errorf("line %d: %s", r.number, r.quarantine.reason)
	}
	return nil
}

// misread is an error if nothing at the beginning is an event: it is the wrong file.
func misread(b *batch) error {
	const enough = 20
	for _, r := range b.reads {
		if r.refused == nil && r.quarantine == nil {
			return nil
		}
	}
	if len(b.reads) < enough {
		return nil
	}
	r := b.reads[0]
	reason := r.refused
	if r.quarantine != nil {
		reason = errors.New(r.quarantine.reason)
	}
	return fmt.Errorf("none of the first %d lines is an event, so nothing was kept; line %d: %w", len(b.reads), r.number, reason)
}

// putAside counts a line, and keeps what is no event in the quarantine.
func (i *Import) putAside(ctx context.Context, r *read, done *Imported) error {
	done.Read++
	if r.undated {
		done.Undated++
	}
	switch {
	case r.event != nil:
	case r.refused != nil:
		done.Refused++
		i.complain("a line was refused", r)
	case r.quarantine != nil:
		q := r.quarantine
		i.complain("a line is no event, and is in the quarantine", r)
		done.Quarantined++
		return i.retry(ctx, func() error {
			_, err := i.DB.Quarantine(ctx, q.body, q.reason, q.headers, q.seenAt)
			return err
		})
	default:
		done.Stubs++
	}
	return nil
}

// append appends events. One that the database refuses must not harm the others: they
// are halved until it is alone.
func (i *Import) append(ctx context.Context, events []*rapport.Event, done *Imported) error {
	var appended []store.Appended
	err := i.retry(ctx, func() (err error) {
		appended, err = i.DB.Append(ctx, events)
		return err
	})
	switch {
	case err != nil && store.IsDataError(err) && len(events) == 1:
		e := events[0]
		done.Quarantined++
		reason := "the database refused it: " + err.Error()
		i.Logger.Warn("an event is in the quarantine", "reason", reason)
		_, err := i.DB.Quarantine(ctx, e.Payload, reason, e.Headers, e.ReceivedAt)
		return err
	case err != nil && store.IsDataError(err):
		half := len(events) / 2
		return errors.Join(i.append(ctx, events[:half], done), i.append(ctx, events[half:], done))
	case err != nil:
		return err
	}
	for _, a := range appended {
		switch {
		case a.Erased:
			done.Erased++
		case a.Duplicate:
			done.Duplicates++
		default:
			done.Appended++
		}
	}
	return nil
}

// maxTries is how often the database may be unavailable in a row.
const maxTries = 6

// retry tries again what failed since the database was unavailable. Fingerprints make
// it safe.
func (i *Import) retry(ctx context.Context, do func() error) error {
	pause := 100 * time.Millisecond
	for tries := 1; ; tries++ {
		err := do()
		if err == nil || !store.IsUnavailable(err) || tries == maxTries || ctx.Err() != nil {
			return err
		}
		i.Logger.Warn("the database failed, trying again", "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause *= 2
	}
}
