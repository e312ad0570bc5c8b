package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Source is the log and the sessions.
type Source interface {
	// State is how far both are, at one moment.
	State(ctx context.Context) (State, error)
	// Events are the next events behind a position, in the order of the log, and the
	// position that was reached. It is bounded in number and bytes.
	Events(ctx context.Context, q Query) ([]Message, int64, error)
	// Sessions are the next sessions that have changed behind a position, in the order of
	// the positions at which they are told, and the position that was reached.
	Sessions(ctx context.Context, q Query) ([]Message, int64, error)
	// Moved is closed when something may have moved after the call.
	Moved() <-chan struct{}
}

// State is how far the log and its sessions are.
type State struct {
	Head       int64 // of the log
	Followed   int64 // up to here the sessions have it; at most Head
	Generation int64 // differs from before once events have been erased
}

// Query asks for the messages of the positions (After, UpTo] that a filter lets through.
type Query struct {
	After, UpTo int64
	Filter      *Filter
}

// Options are what a Hub needs. Source and Draining are; what else is zero has a default.
type Options struct {
	Source   Source
	Draining func() bool // the server is about to end

	Streams        int              // at once; any number
	StreamsOfOwner int              // of one owner at once; any number
	OnStreams      func(int)        // is told how many there are, one call at a time; nobody is
	RingBytes      int              // of messages that are kept for streams to take; 4 MiB
	Backlog        int64            // positions before the end of the log that are kept from the begin; 500
	Now            func() time.Time // time.Now
	Logger         *slog.Logger     // discards
}

// How the hub works.
const (
	ringBytes    = 4 << 20
	backlog      = 500
	readPatience = 5 * time.Second        // of one reading
	readRest     = 20 * time.Millisecond  // between two readings, so that one brings more
	streamRest   = 50 * time.Microsecond  // more of it for each stream that is written to
	maxRest      = 100 * time.Millisecond // of both
	idleRest     = time.Second            // without a wake-up, which may be lost
	failRest     = 500 * time.Millisecond // after a reading that failed
	lookEvery    = 100 * time.Millisecond // whether the server is about to end
	standEvery   = time.Second            // whether readers may still see what they see
	readersMost  = 4                      // readings of what is before the ring at once
	holdersMost  = 64                     // streams that hold what they have read of that, until it is written
)

// Why a stream is refused.
var (
	ErrTooMany        = errors.New("as many live streams are open as the server has room for")
	ErrTooManyOfOwner = errors.New("as many live streams are open with this key as one key may have")
)

// BeyondError says that a stream is to begin behind the end of the log.
type BeyondError struct{ Head int64 }

func (e *BeyondError) Error() string {
	return fmt.Sprintf("the log ends at %d: is the id of another one?", e.Head)
}

// Hub hands out to any number of streams what it reads once. It reads while there are
// streams. Its methods may be called by many goroutines.
type Hub struct {
	Options
	metrics *metrics
	readers chan struct{} // a seat for each that reads what is before the ring
	holders chan struct{} // a seat for each stream that holds some of it
	shelf   shelf

	mu      sync.Mutex // guards all below, and what the streams say that it guards
	streams map[*Stream]struct{}
	owners  map[string]int // how many streams each has
	reading *reading       // nil while there are no streams
	ring    ring
}

// ring has the last batches.
type ring struct {
	hasBegun bool
	at       Place // behind the last batch
	batches  []*batch
	first    int64 // number of the first batch; they are numbered without a gap
	evicted  int64 // those with a lower number were let go for their size: who has not taken them is too slow
	bytes    int
}

func (r *ring) next() int64 { return r.first + int64(len(r.batches)) }

// from is the place before the first batch.
func (r *ring) from() Place {
	if len(r.batches) == 0 {
		return r.at
	}
	return r.batches[0].from
}

// reading is the hub at work, from the first stream to the last.
type reading struct {
	hub  *Hub
	stop context.CancelFunc

	// Of run alone.
	at         Place
	hasBegun   bool
	generation int64
	since      int64 // the end of the log when it began: what is behind is new
	woken      int   // streams that the last batch was for
}

// NewHub makes a hub.
func NewHub(o Options) *Hub {
	if o.RingBytes == 0 {
		o.RingBytes = ringBytes
	}
	if o.Backlog == 0 {
		o.Backlog = backlog
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	readers := make(chan struct{}, readersMost)
	return &Hub{
		Options: o, metrics: newMetrics(), readers: readers, holders: make(chan struct{}, holdersMost),
		shelf:   shelf{source: o.Source, readers: readers, blocks: make(map[stretch]*block)},
		streams: make(map[*Stream]struct{}), owners: make(map[string]int),
	}
}

// admit counts a stream, and begins to read with the first one.
func (h *Hub) admit(s *Stream) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Streams > 0 && len(h.streams) >= h.Streams {
		return ErrTooMany
	}
	if s.Owner != "" && h.StreamsOfOwner > 0 && h.owners[s.Owner] >= h.StreamsOfOwner {
		return ErrTooManyOfOwner
	}
	h.streams[s] = struct{}{}
	h.owners[s.Owner]++
	h.count()
	if h.reading == nil {
		ctx, stop := context.WithCancel(context.Background())
		h.reading = &reading{hub: h, stop: stop}
		go h.reading.run(ctx)
		go h.reading.watch(ctx)
	}
	return nil
}

// dismiss is the opposite of admit. What was read is forgotten with the last stream:
// nobody would notice that it is erased.
func (h *Hub) dismiss(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.streams[s]; !ok {
		return
	}
	delete(h.streams, s)
	if h.owners[s.Owner]--; h.owners[s.Owner] == 0 {
		delete(h.owners, s.Owner)
	}
	h.count()
	if len(h.streams) == 0 {
		h.reading.stop()
		h.reading, h.ring = nil, ring{}
		h.shelf.forget()
	}
}

// count tells how many streams there are. The caller holds mu.
func (h *Hub) count() {
	h.metrics.streams.Set(float64(len(h.streams)))
	if h.OnStreams != nil {
		h.OnStreams(len(h.streams))
	}
}

// run reads until the last stream has left.
func (r *reading) run(ctx context.Context) {
	for ctx.Err() == nil {
		moved := r.hub.Source.Moved() // before the look, so that nothing is missed between
		hasMore, err := r.step(ctx)
		switch {
		case err != nil:
			r.hub.Logger.Debug("what happens live could not be read, trying again", "error", err)
			pause(ctx, nil, failRest)
		case !hasMore:
			pause(ctx, nil, min(readRest+time.Duration(r.woken)*streamRest, maxRest))
			pause(ctx, moved, idleRest)
		}
	}
}

// everything lets everything through.
var everything = &Filter{Kinds: All}

// step reads what is new, and reports whether there is more.
func (r *reading) step(ctx context.Context) (hasMore bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	state, err := r.hub.Source.State(ctx)
	if err != nil {
		return false, err
	}
	r.adopt(state)
	events, log, err := r.hub.Source.Events(ctx, Query{After: r.at.Log, UpTo: state.Head, Filter: everything})
	if err != nil {
		return false, err
	}
	upTo := min(state.Followed, log)
	sessions, followed, err := r.hub.Source.Sessions(ctx, Query{After: r.at.Sessions, UpTo: upTo, Filter: everything})
	if err != nil {
		return false, err
	}
	to := Place{Log: log, Sessions: max(followed, r.at.Sessions)}
	r.woken = r.hub.publish(r, newBatch(r.at, to, events, sessions))
	r.at = to
	return log < state.Head || followed < upTo, nil
}

// adopt looks whether what was read before still stands.
func (r *reading) adopt(state State) {
	switch {
	case !r.hasBegun:
		r.hasBegun, r.since = true, state.Head
		r.at = Place{max(0, state.Head-r.hub.Backlog), max(0, state.Followed-r.hub.Backlog)}
		r.hub.begin(r)
	case state.Head < r.at.Log:
		// The database has lost the end of the log, and gives its positions out again.
		r.at = Place{state.Head, min(state.Followed, r.at.Sessions)}
		r.hub.endAll(endReset)
		r.hub.forget(r, r.at)
	case state.Generation != r.generation:
		r.hub.forget(r, r.at) // erased texts are among it
	}
	r.generation = state.Generation
}

// begin tells the streams that there is a ring.
func (h *Hub) begin(r *reading) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reading != r {
		return
	}
	h.ring.hasBegun, h.ring.at = true, r.at
	for s := range h.streams {
		s.wakeUp()
	}
}

// forget empties the ring. Streams that have not taken all of it read it again.
func (h *Hub) forget(r *reading, at Place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reading != r {
		return
	}
	h.ring.first, h.ring.batches, h.ring.bytes, h.ring.at = h.ring.next(), nil, 0, at
	h.shelf.forget()
	for s := range h.streams {
		s.wakeUp()
	}
}

// publish adds a batch to the ring, and wakes the streams that it has something for. It
// returns how many these are.
func (h *Hub) publish(r *reading, b *batch) (woken int) {
	h.observe(b, r.since)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reading != r {
		return 0
	}
	h.ring.at = b.to
	if len(b.frames) == 0 {
		return 0
	}
	number := h.ring.next()
	h.ring.batches = append(h.ring.batches, b)
	h.ring.bytes += b.bytes
	h.ring.evict(h.RingBytes)
	for s := range h.streams {
		if s.isAttached && s.number == number && !b.has(&s.Filter) {
			s.number++
			continue
		}
		s.wakeUp()
		woken++
	}
	return woken
}

// evict lets the oldest batches go; the newest one stays.
func (r *ring) evict(most int) {
	n := 0
	for r.bytes > most && n < len(r.batches)-1 {
		r.bytes -= r.batches[n].bytes
		n++
	}
	if n > 0 {
		r.batches = slices.Delete(r.batches, 0, n) // which lets the collector have them
		r.first += int64(n)
		r.evicted = r.first
	}
}

// take is the next batch for a stream. Without one, the stream is to wait; or to read
// what is before the ring itself.
func (h *Hub) take(s *Stream) (b *batch, isBehind bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &h.ring
	if !r.hasBegun {
		return nil, false
	}
	if s.isAttached && s.number < r.first {
		if s.number < r.evicted {
			s.endLocked(endSlow)
			return nil, false
		}
		s.isAttached = false
	}
	if !s.isAttached {
		if !s.place.reaches(r.from(), s.Kinds) {
			return nil, true
		}
		s.isAttached, s.number = true, r.first
	}
	if s.number < r.next() {
		b = r.batches[s.number-r.first]
		s.number++
		return b, false
	}
	s.place = s.place.upTo(r.at)
	return nil, false
}

// reachedTo is how far the hub has read.
func (h *Hub) reachedTo() Place {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ring.at
}

// settle moves the place of a stream that has taken everything past what was not for it.
func (h *Hub) settle(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.isAttached && s.number == h.ring.next() {
		s.place = s.place.upTo(h.ring.at)
	}
}

// watch ends the streams of a server that is about to end, and of readers that may not
// read any more, whatever the database does.
func (r *reading) watch(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	looks := 0
	for {
		if r.hub.Draining() {
			r.hub.endAll(endDraining)
		}
		if looks++; looks%int(standEvery/lookEvery) == 0 {
			r.hub.endFallen()
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

func (h *Hub) endAll(why end) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		s.endLocked(why)
	}
}

// endFallen ends the streams of whoever may not read any more.
func (h *Hub) endFallen() {
	h.mu.Lock()
	streams := slices.Collect(maps.Keys(h.streams))
	h.mu.Unlock()
	for _, s := range streams {
		if s.Stands != nil && !s.Stands() {
			h.mu.Lock()
			s.endLocked(endFallen)
			h.mu.Unlock()
		}
	}
}

// pause waits for a time, or until woken or cancelled.
func pause(ctx context.Context, woken <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}
