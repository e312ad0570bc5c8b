// Package ingest takes deliveries from many goroutines to the log in few
// transactions: group commit.
//
// A delivery joins the open batch and waits. With no batch in flight the batch
// goes at once; with one in flight the next gathers meanwhile. So an idle
// system waits for no timer, and batches grow by themselves under load.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rapport"
	"rapport/store"
)

// ErrOverloaded says that too much is waiting already. Nothing was kept.
var ErrOverloaded = errors.New("too many deliveries are waiting for the database")

// ErrUnavailable says that the database could not be reached, or did not
// answer, within the deadline. Whether the event was kept is not known; sending
// it again is right in either case.
var ErrUnavailable = errors.New("the database is unavailable")

// ErrClosed says that the ingest has stopped. Nothing was kept.
var ErrClosed = errors.New("the server is shutting down")

// RefusedError says that the database refused the event itself. It is in the
// quarantine.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// Log is where batches go. *store.DB is the one; tests inject faults.
type Log interface {
	// Prepared reports whether the log is ready for an event of its time; else
	// Prepare makes it so, which may take time.
	Prepared(event *rapport.Event) bool
	Prepare(ctx context.Context, event *rapport.Event) error
	Append(ctx context.Context, events []*rapport.Event) ([]store.Appended, error)
	Quarantine(ctx context.Context, body []byte, reason string, headers map[string]string, seenAt time.Time) (int64, error)
	QuarantinePrune(ctx context.Context, bounds store.QuarantineBounds, now time.Time) (int64, error)
}

// Commit tells of one committed batch.
type Commit struct {
	Events     int
	Duplicates int
	Took       time.Duration
}

// Options of an Ingest; the zero values of all but Logger have defaults.
type Options struct {
	MaxBatchEvents  int           // of one transaction; 4096
	MaxBatchBytes   int           // payload bytes of one transaction; 8 MiB
	MaxWaitingBytes int           // of all deliveries that wait; 256 MiB
	Deadline        time.Duration // for a batch, tries included; 8 s: the sender waits for 10
	Quarantine      store.QuarantineBounds
	OnCommit        func(Commit) // called by Run after each batch of which anything was kept
	Logger          *slog.Logger
}

// Ingest is the group commit. Append may be called by many goroutines, Run by one.
type Ingest struct {
	log  Log
	opts Options
	wake chan struct{} // holds one token when the queue may have a batch

	base   context.Context // of all commits; ended by Hurry
	giveUp context.CancelFunc

	// mu is held for moments only, never over I/O.
	mu      sync.Mutex
	queue   []*batch // in order; deliveries join the last; guarded by mu
	waiting int      // bytes in the queue and in flight; guarded by mu
	closed  bool     // guarded by mu

	quarantined atomic.Int64 // bytes since the last pruning
}

// batch is what one transaction appends.
type batch struct {
	events   []*rapport.Event
	bytes    int
	done     chan struct{} // closed when the outcomes are known
	outcomes []outcome     // one for each event; written before done is closed
}

type outcome struct {
	appended store.Appended
	err      error
}

// New makes an Ingest; it commits while Run runs.
func New(log Log, opts Options) *Ingest {
	setDefault(&opts.MaxBatchEvents, 4096)
	setDefault(&opts.MaxBatchBytes, 8<<20)
	setDefault(&opts.MaxWaitingBytes, 256<<20)
	setDefault(&opts.Deadline, 8*time.Second)
	setDefault(&opts.Quarantine, store.DefaultQuarantineBounds())
	if opts.OnCommit == nil {
		opts.OnCommit = func(Commit) {}
	}
	in := &Ingest{log: log, opts: opts, wake: make(chan struct{}, 1)}
	in.base, in.giveUp = context.WithCancel(context.Background())
	return in
}

// Hurry gives all commits, under way and to come, so much time more. What is not
// kept by then is ErrUnavailable, so that nobody is left without an answer at a
// shutdown.
func (in *Ingest) Hurry(within time.Duration) { time.AfterFunc(within, in.giveUp) }

func setDefault[T comparable](value *T, byDefault T) {
	var zero T
	if *value == zero {
		*value = byDefault
	}
}

// Append returns when the event is durably in the log, and tells where; or when
// it was refused (*RefusedError), when it could not be kept (ErrOverloaded,
// ErrUnavailable, ErrClosed), or when ctx ends. After the latter the event may
// still be kept: only its answer is given up.
func (in *Ingest) Append(ctx context.Context, event *rapport.Event) (store.Appended, error) {
	if err := in.prepare(event); err != nil {
		return store.Appended{}, err
	}
	b, i, err := in.join(event)
	if err != nil {
		return store.Appended{}, err
	}
	select {
	case <-b.done:
		return b.outcomes[i].appended, b.outcomes[i].err
	case <-ctx.Done():
		return store.Appended{}, ctx.Err()
	}
}

// prepare has only this event wait for what only this event needs.
func (in *Ingest) prepare(event *rapport.Event) error {
	if in.log.Prepared(event) {
		return nil // as nearly always
	}
	ctx, cancel := context.WithTimeout(in.base, in.opts.Deadline)
	defer cancel()
	return in.untilDeadline(ctx, 1, func() error { return in.log.Prepare(ctx, event) })
}

// join puts the event into the open batch, and returns its place there.
func (in *Ingest) join(event *rapport.Event) (*batch, int, error) {
	size := weight(event)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil, 0, ErrClosed
	}
	if in.waiting+size > in.opts.MaxWaitingBytes {
		return nil, 0, ErrOverloaded
	}
	b := in.openBatch(size)
	b.events = append(b.events, event)
	b.bytes += size
	in.waiting += size
	select {
	case in.wake <- struct{}{}:
	default: // awake already
	}
	return b, len(b.events) - 1, nil
}

// openBatch is the last of the queue, or a new one if that is full. The caller
// holds mu.
func (in *Ingest) openBatch(size int) *batch {
	if n := len(in.queue); n > 0 {
		last := in.queue[n-1]
		if len(last.events) < in.opts.MaxBatchEvents && last.bytes+size <= in.opts.MaxBatchBytes {
			return last
		}
	}
	b := &batch{done: make(chan struct{})}
	in.queue = append(in.queue, b)
	return b
}

// weight is about what an event costs in memory, in bytes.
func weight(event *rapport.Event) int {
	return 512 + len(event.Payload) + len(event.Text)
}

// Run commits batches until ctx ends. Then it commits what still waits, refuses
// what comes later, and returns nil.
func (in *Ingest) Run(ctx context.Context) error {
	for {
		select {
		case <-in.wake:
			in.drain()
		case <-ctx.Done():
			in.mu.Lock()
			in.closed = true
			in.mu.Unlock()
			in.drain()
			return nil
		}
	}
}

func (in *Ingest) drain() {
	for b := in.take(); b != nil; b = in.take() {
		in.commit(b)
	}
}

func (in *Ingest) take() *batch {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) == 0 {
		return nil
	}
	b := in.queue[0]
	in.queue = in.queue[1:]
	return b
}

// commit appends the batch and releases everyone who waits for it.
func (in *Ingest) commit(b *batch) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(in.base, in.opts.Deadline)
	defer cancel()
	b.outcomes = in.append(ctx, b.events)

	commit := Commit{Took: time.Since(start)}
	for _, o := range b.outcomes {
		if o.err != nil {
			continue
		}
		commit.Events++
		if o.appended.Duplicate {
			commit.Duplicates++
		}
	}
	in.mu.Lock()
	in.waiting -= b.bytes
	in.mu.Unlock()
	close(b.done)
	if commit.Events > 0 {
		in.opts.OnCommit(commit)
	}
}

// append has an outcome for each event. A row that the database refuses must
// not harm the others: the batch is halved until that row is alone.
func (in *Ingest) append(ctx context.Context, events []*rapport.Event) []outcome {
	appended, err := in.try(ctx, events)
	switch {
	case err == nil:
		outcomes := make([]outcome, len(events))
		for i := range appended {
			outcomes[i].appended = appended[i]
		}
		return outcomes
	case store.IsDataError(err) && len(events) == 1:
		return []outcome{{err: in.refuse(ctx, events[0], err)}}
	case store.IsDataError(err):
		half := len(events) / 2
		return append(in.append(ctx, events[:half]), in.append(ctx, events[half:])...)
	default:
		in.opts.Logger.Error("deliveries could not be kept", "count", len(events), "error", err)
		outcomes := make([]outcome, len(events))
		for i := range outcomes {
			outcomes[i].err = err
		}
		return outcomes
	}
}

// firstPause is between the first two tries of a batch; each further one is
// twice as long.
const firstPause = 10 * time.Millisecond

// try appends, again and again until the context ends or the data is at fault.
// An append whose answer was lost is neither kept nor lost: the fingerprints
// make it safe to repeat.
func (in *Ingest) try(ctx context.Context, events []*rapport.Event) (appended []store.Appended, err error) {
	err = in.untilDeadline(ctx, len(events), func() error {
		appended, err = in.log.Append(ctx, events)
		return err
	})
	return appended, err
}

// untilDeadline does something again and again until it succeeds, the data is at
// fault, or the context ends: the last error is then ErrUnavailable.
func (in *Ingest) untilDeadline(ctx context.Context, events int, do func() error) error {
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		err := do()
		switch {
		case err == nil && pause > firstPause:
			in.opts.Logger.Info("the database works again", "events", events)
			return nil
		case err == nil || store.IsDataError(err):
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		in.opts.Logger.Warn("the database failed, trying again", "events", events, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

// refuse puts an event that the database refused into the quarantine.
func (in *Ingest) refuse(ctx context.Context, event *rapport.Event, cause error) error {
	reason := "the database refused it: " + cause.Error()
	if err := in.Quarantine(ctx, event.Payload, reason, event.Headers, event.ReceivedAt); err != nil {
		return err
	}
	return &RefusedError{Reason: reason}
}

// Quarantine keeps an authentic body that is no event, with the reason. It
// returns after the commit; ErrUnavailable if it could not be kept.
func (in *Ingest) Quarantine(ctx context.Context, body []byte, reason string, headers map[string]string, seenAt time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, in.opts.Deadline)
	defer cancel()
	err := in.untilDeadline(ctx, 1, func() error {
		_, err := in.log.Quarantine(ctx, body, reason, headers, seenAt)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if in.quarantined.Add(int64(len(body))) > in.opts.Quarantine.MaxBytes/16 {
		in.quarantined.Store(0)
		if _, err := in.log.QuarantinePrune(ctx, in.opts.Quarantine, seenAt); err != nil {
			in.opts.Logger.Warn("the quarantine could not be pruned", "error", err)
		}
	}
	return nil
}
