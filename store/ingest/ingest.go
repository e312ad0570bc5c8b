// Package ingest takes deliveries from many goroutines to the log in few
// transactions: group commit.
//
// A delivery joins the open batch and waits. With no batch in flight the batch
// goes at once; with one in flight the next gathers meanwhile. So an idle
// system waits for no timer, and batches grow by themselves under load.
//
// What the database can't take within a deadline goes to the spool, a local
// file, and is kept as well. Then a circuit is open: later deliveries go to the
// spool at once, until Drain finds that the database works again. Drain appends
// the spool to the log; fingerprints make that safe to repeat.
package ingest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"rapport"
	"rapport/store"
	"rapport/store/ingest/spool"
)

// ErrOverloaded says that too much is waiting already. Nothing was kept.
var ErrOverloaded = errors.New("too many deliveries are waiting for the database")

// ErrUnavailable says that the database could not be reached, or did not
// answer, within the deadline, and that there is no spool or it can't keep more.
// Whether the event was kept is not known; sending it again is right in either
// case.
var ErrUnavailable = errors.New("the database is unavailable")

// ErrFull is an ErrUnavailable: the spool is at a bound.
var ErrFull = errors.New("the database is unavailable, and the spool is full")

// ErrClosed says that the ingest has stopped. Nothing was kept.
var ErrClosed = errors.New("the server is shutting down")

// RefusedError says that the database refused the event itself. It is in the
// quarantine.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// Log is where batches go. *store.DB is the one; tests inject faults.
type Log interface {
	Ping(ctx context.Context) error
	// Prepared reports whether the log is ready for an event of its time; else
	// Prepare makes it so, which may take time.
	Prepared(event *rapport.Event) bool
	Prepare(ctx context.Context, event *rapport.Event) error
	Append(ctx context.Context, events []*rapport.Event) ([]store.Appended, error)
	Quarantine(ctx context.Context, body []byte, reason string, headers map[string]string, seenAt time.Time) (int64, error)
	QuarantinePrune(ctx context.Context, bounds store.QuarantineBounds, now time.Time) (int64, error)
	// QuarantineDrained is Quarantine for a record of a spool, which it counts
	// once however often it is drained.
	QuarantineDrained(ctx context.Context, from store.SpoolRecord, body []byte, reason string, headers map[string]string, seenAt time.Time) error
	// SpoolDrained notes that everything of a spool up to a record is kept.
	SpoolDrained(ctx context.Context, to store.SpoolRecord) error
}

// Spool is a local file that keeps records in order. *spool.Spool is the one;
// tests inject faults.
type Spool interface {
	ID() string
	Append(records [][]byte, at time.Time) (last uint64, err error)
	Next(maxRecords int, maxBytes int64) (spool.Batch, error)
	Drained(to uint64) error
	Room() error
	Stats() spool.Stats
}

// Commit tells of one committed batch.
type Commit struct {
	Events     int
	Duplicates int // and what was erased: whatever is no new event
	Took       time.Duration
}

// Kept tells where an event is: in the log, or in the spool, and then without a
// position.
type Kept struct {
	store.Appended
	Spooled bool
}

// Options of an Ingest; the zero values of all but Logger have defaults.
type Options struct {
	MaxBatchEvents  int           // of one transaction; 4096
	MaxBatchBytes   int           // payload bytes of one transaction; 8 MiB
	MaxWaitingBytes int           // of all deliveries that wait; 256 MiB
	Deadline        time.Duration // for a batch; 2 s with a spool, else 8 s: the sender waits for 10
	Quarantine      store.QuarantineBounds

	// Spools are drained into the log; the first keeps what the log can't. With
	// none, what the log can't keep is ErrUnavailable.
	Spools []Spool
	// Ready, unless nil, is called by Drain until it returns nil. Until then
	// the log is not used: the database is not known to be the right one.
	Ready func(context.Context) error

	OnCommit func(Commit) // called by Run after each batch of which anything was kept
	Logger   *slog.Logger
}

// Ingest is the group commit. Append and Quarantine may be called by many
// goroutines, Run and Drain by one each.
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

	circuit     circuit
	spooled     chan struct{} // holds one token when a spool may have records, or the circuit has opened
	counts      counts
	complaints  rate.Sometimes // of a spool that can't keep
	quarantined atomic.Int64   // bytes since the last pruning
}

// batch is what one transaction appends, or one write to the spool.
type batch struct {
	events  []*rapport.Event
	records [][]byte // for the spool; of events or of none
	bytes   int
	done    chan struct{} // closed when the outcomes are known

	outcomes []outcome // one for each event or record; written before done is closed
}

type outcome struct {
	kept Kept
	err  error
}

// New makes an Ingest; it commits while Run runs.
func New(log Log, opts Options) *Ingest {
	setDefault(&opts.MaxBatchEvents, 4096)
	setDefault(&opts.MaxBatchBytes, 8<<20)
	setDefault(&opts.MaxWaitingBytes, 256<<20)
	if len(opts.Spools) > 0 {
		setDefault(&opts.Deadline, 2*time.Second)
	}
	setDefault(&opts.Deadline, 8*time.Second)
	setDefault(&opts.Quarantine, store.DefaultQuarantineBounds())
	if opts.OnCommit == nil {
		opts.OnCommit = func(Commit) {}
	}
	in := &Ingest{
		log: log, opts: opts, wake: make(chan struct{}, 1), spooled: make(chan struct{}, 1),
		complaints: rate.Sometimes{Interval: 5 * time.Second},
	}
	in.base, in.giveUp = context.WithCancel(context.Background())
	if opts.Ready != nil {
		in.circuit.open(time.Now())
	}
	return in
}

// Hurry gives all commits, under way and to come, so much time more. What is not
// in the log by then goes to the spool, or is ErrUnavailable, so that nobody is
// left without an answer at a shutdown.
func (in *Ingest) Hurry(within time.Duration) { time.AfterFunc(within, in.giveUp) }

func setDefault[T comparable](value *T, byDefault T) {
	var zero T
	if *value == zero {
		*value = byDefault
	}
}

// Append returns when the event is durably kept, and tells where; or when it was
// refused (*RefusedError), when it could not be kept (ErrOverloaded,
// ErrUnavailable, ErrClosed), or when ctx ends. After the latter the event may
// still be kept: only its answer is given up.
func (in *Ingest) Append(ctx context.Context, event *rapport.Event) (Kept, error) {
	if in.circuit.isOpen() {
		return in.appendAside(ctx, eventRecord(event))
	}
	if err := in.prepare(event); err != nil {
		if in.hasSpool() && errors.Is(err, ErrUnavailable) {
			return in.appendAside(ctx, eventRecord(event))
		}
		return Kept{}, err
	}
	return in.wait(ctx, weight(event), func(b *batch) { b.events = append(b.events, event) }, false)
}

// appendAside is Append past the database.
func (in *Ingest) appendAside(ctx context.Context, record []byte) (Kept, error) {
	return in.wait(ctx, recordCost+len(record), func(b *batch) { b.records = append(b.records, record) }, true)
}

// wait has something join a batch, and returns when its outcome is known.
func (in *Ingest) wait(ctx context.Context, size int, add func(*batch), aside bool) (Kept, error) {
	b, i, err := in.join(size, add, aside)
	if err != nil {
		return Kept{}, err
	}
	select {
	case <-b.done:
		return b.outcomes[i].kept, b.outcomes[i].err
	case <-ctx.Done():
		return Kept{}, ctx.Err()
	}
}

// prepare has only this event wait for what only this event needs.
func (in *Ingest) prepare(event *rapport.Event) error {
	if in.log.Prepared(event) {
		return nil // as nearly always
	}
	ctx, cancel := context.WithTimeout(in.base, in.opts.Deadline)
	defer cancel()
	return in.persist(ctx, 1, func() error { return in.log.Prepare(ctx, event) })
}

// join puts something into the open batch, and returns its place there.
func (in *Ingest) join(size int, add func(*batch), aside bool) (*batch, int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil, 0, ErrClosed
	}
	if in.waiting+size > in.opts.MaxWaitingBytes {
		return nil, 0, ErrOverloaded
	}
	b := in.openBatch(size, aside)
	add(b)
	b.bytes += size
	in.waiting += size
	signal(in.wake)
	return b, b.size() - 1, nil
}

// openBatch is the last of the queue, or a new one if that is full or of the
// other kind. The caller holds mu.
func (in *Ingest) openBatch(size int, aside bool) *batch {
	if n := len(in.queue); n > 0 {
		last := in.queue[n-1]
		if last.isAside() == aside && last.size() < in.opts.MaxBatchEvents && last.bytes+size <= in.opts.MaxBatchBytes {
			return last
		}
	}
	b := &batch{done: make(chan struct{})}
	in.queue = append(in.queue, b)
	return b
}

func (b *batch) size() int     { return len(b.events) + len(b.records) }
func (b *batch) isAside() bool { return len(b.records) > 0 }

// recordCost is about what anything that waits costs besides its bytes.
const recordCost = 512

// weight is about what an event costs in memory, in bytes.
func weight(event *rapport.Event) int {
	return recordCost + len(event.Payload) + len(event.Text)
}

// signal leaves a token; there may be one already.
func signal(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}

// Run keeps batches until ctx ends. Then it keeps what still waits, refuses what
// comes later, and returns nil.
func (in *Ingest) Run(ctx context.Context) error {
	for {
		select {
		case <-in.wake:
			in.keepAll()
		case <-ctx.Done():
			in.mu.Lock()
			in.closed = true
			in.mu.Unlock()
			in.keepAll()
			return nil
		}
	}
}

func (in *Ingest) keepAll() {
	for b := in.take(); b != nil; b = in.take() {
		in.keep(b)
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

// keep takes the batch to the log, or what of it the log can't take to the
// spool, and releases everyone who waits for it.
func (in *Ingest) keep(b *batch) {
	switch {
	case b.isAside():
		b.outcomes = in.spoolRecords(b.records)
	case in.circuit.isOpen():
		b.outcomes = in.spoolEvents(b.events)
	default:
		b.outcomes = in.commit(b.events)
		in.spoolUnavailable(b)
	}
	in.mu.Lock()
	in.waiting -= b.bytes
	in.mu.Unlock()
	close(b.done)
}
