package live

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"
)

// Request is what a reader asks for.
type Request struct {
	Filter
	Owner  string      // whose stream it is; empty: nobody's, and not counted with others
	From   *Place      // behind which it begins; nil: now
	Stands func() bool // whether the reader may still read, asked every second; nil: always
}

// Stream is on its way to one reader.
type Stream struct {
	Request
	hub   *Hub
	wake  chan struct{} // has one when there may be something to take
	ended chan struct{} // closed with why

	// Of Run alone, once that runs.
	place   Place
	wroteAt time.Time

	// Guarded by hub.mu.
	isAttached bool  // it takes from the ring
	number     int64 // of the batch that it takes next
	why        end   // it is to end; empty while it is not
}

// end is why a stream ends.
type end string

const (
	endGone     end = "gone"     // the reader has left
	endSlow     end = "slow"     // the reader takes too long
	endDraining end = "draining" // the server is about to end
	endFallen   end = "key"      // the reader may not read any more
	endReset    end = "reset"    // the log has become another one
)

// farewells are the last comments. To who is slow nothing more can be said.
var farewells = map[end]string{
	endDraining: ": the server is about to end: come back\n\n",
	endFallen:   ": the key is not valid any more\n\n",
	endReset:    ": the database has lost the end of the log: read it again\n\n",
}

// heartbeatEvery is how often a reader hears something at least: proxies and browsers
// give silent connections up.
const heartbeatEvery = 15 * time.Second

// Readers come back retryLeast to retryMost after the end of a stream, not all at once.
const (
	retryLeast = time.Second
	retryMost  = 4 * time.Second
)

// chunkBytes is about how much of what it reads itself a stream writes at once; pooled
// buffers of more are let go.
const chunkBytes = 64 << 10

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Open admits a stream, and finds where it begins. It is ErrTooMany, ErrTooManyOfOwner,
// a *BeyondError, or an error of the Source. Close the stream after use.
func (h *Hub) Open(ctx context.Context, request Request) (*Stream, error) {
	s := &Stream{Request: request, hub: h, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	if err := h.admit(s); err != nil {
		h.metrics.refused.Inc()
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// begin reads where now is. The hub may be behind that, or not at work yet.
func (s *Stream) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	state, err := s.hub.Source.State(ctx)
	if err != nil {
		return err
	}
	place := Place{Log: state.Head, Sessions: state.Followed}
	if s.From != nil {
		if place = *s.From; place.Log > state.Head {
			return &BeyondError{state.Head}
		}
	}
	// The place is the hub's only once the stream has taken something.
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.place = place
	return nil
}

// Close lets another stream have its room. It may be called again.
func (s *Stream) Close() { s.hub.dismiss(s) }

func (s *Stream) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
}

// endLocked ends the stream. The caller holds hub.mu.
func (s *Stream) endLocked(why end) {
	if s.why == "" {
		s.why = why
		close(s.ended)
	}
}

// Run writes until the reader leaves, the context ends, or the hub ends the stream. Each
// write is whole lines; one that fails or takes the reader too long is an error of out.
func (s *Stream) Run(ctx context.Context, out io.Writer) {
	why := s.run(ctx, out)
	s.hub.metrics.ended.WithLabelValues(string(why)).Inc()
	if farewell := farewells[why]; farewell != "" {
		_, _ = io.WriteString(out, farewell) // it fails only if the reader is gone
	}
}

func (s *Stream) run(ctx context.Context, out io.Writer) end {
	retry := retryLeast + rand.N(retryMost-retryLeast) // #nosec G404 -- no secret
	if err := s.write(out, s.identified("retry: "+strconv.FormatInt(retry.Milliseconds(), 10)+"\n")); err != nil {
		return whyNot(ctx, err)
	}
	beat := time.NewTimer(heartbeatEvery)
	defer beat.Stop()
	for {
		select {
		case <-s.ended:
			return s.whyEnded()
		case <-ctx.Done():
			return endGone
		default:
		}
		b, isBehind := s.hub.take(s)
		var err error
		switch {
		case isBehind:
			err = s.readOn(ctx, out)
		case b != nil:
			err = s.send(out, b)
		default:
			err = s.wait(ctx, out, beat)
		}
		if err != nil {
			return whyNot(ctx, err)
		}
	}
}

// wait waits for something to take, and tells the reader from time to time that it is
// still there, and where it is: a filter may let nothing through for days.
func (s *Stream) wait(ctx context.Context, out io.Writer, beat *time.Timer) error {
	beat.Reset(time.Until(s.wroteAt.Add(heartbeatEvery)))
	select {
	case <-s.wake:
	case <-s.ended:
	case <-ctx.Done():
	case <-beat.C:
		return s.heartbeat(out)
	}
	return nil
}

func (s *Stream) heartbeat(out io.Writer) error {
	s.hub.settle(s)
	return s.write(out, s.identified(": heartbeat\n"))
}

// identified is lines with the place behind them. Without data they are no message, and
// still move what the reader sends as Last-Event-ID.
func (s *Stream) identified(lines string) []byte {
	return []byte(lines + "id: " + s.place.id(s.Kinds) + "\n\n")
}

// send writes what a batch has for the reader.
func (s *Stream) send(out io.Writer, b *batch) error {
	s.place = s.place.upTo(b.from) // all before it was taken, or was not for the reader
	if s.place == b.from && s.letsAll() {
		text, sent := b.textFor(s.Kinds)
		s.place = b.to
		return s.writeSome(out, text, sent)
	}
	return s.sendApart(out, b)
}

// sendApart writes what only this reader gets so, a part at a time: a reader may take its
// time.
func (s *Stream) sendApart(out io.Writer, b *batch) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for next := 0; ; {
		text, behindIt, behind, sent := b.render((*buffer)[:0], s.place, &s.Filter, next, chunkBytes)
		if cap(text) <= 2*chunkBytes {
			*buffer = text
		}
		if err := s.writeSome(out, text, sent); err != nil {
			return err
		}
		next, s.place = behindIt, behind
		if next >= len(b.frames) {
			return nil
		}
	}
}

// readOn reads some of what is before the ring.
func (s *Stream) readOn(ctx context.Context, out io.Writer) error {
	if isHeld, err := s.hold(ctx, out); !isHeld {
		return err
	}
	defer func() { <-s.hub.holders }()
	batches, err := s.read(ctx)
	if err != nil {
		s.hub.Logger.Debug("the log could not be read for a live stream, trying again", "error", err)
		s.pause(ctx, failRest)
	}
	for _, b := range batches {
		if err := s.sendApart(out, b); err != nil {
			return err
		}
	}
	if time.Since(s.wroteAt) >= heartbeatEvery {
		return s.heartbeat(out)
	}
	return nil
}

// hold waits for a seat among those who hold what they have read. Without one, the stream
// ends, or its error is out's.
func (s *Stream) hold(ctx context.Context, out io.Writer) (isHeld bool, err error) {
	for {
		select {
		case s.hub.holders <- struct{}{}:
			return true, nil
		case <-s.ended:
			return false, nil
		case <-ctx.Done():
			return false, nil
		case <-time.After(time.Until(s.wroteAt.Add(heartbeatEvery))):
			if err := s.heartbeat(out); err != nil {
				return false, err
			}
		}
	}
}

// pause waits for a time, unless the stream ends.
func (s *Stream) pause(ctx context.Context, d time.Duration) { pause(ctx, s.ended, d) }

// nearby is how many positions before the end of the log a stream with a filter reads
// what others read, too, and not what is for it alone.
const nearby = 10_000

// read reads what is next.
func (s *Stream) read(ctx context.Context) ([]*batch, error) {
	if at := s.hub.reachedTo(); s.letsAll() || at.Log-s.place.Log <= nearby {
		return s.readShared(ctx, at)
	}
	b, err := s.readAlone(ctx)
	if err != nil {
		return nil, err
	}
	return []*batch{b}, nil
}

// readShared reads the next stretches up to where the hub is.
func (s *Stream) readShared(ctx context.Context, at Place) (batches []*batch, err error) {
	log := at.Log
	if s.Kinds&Events != 0 && s.place.Log < at.Log {
		b, err := s.block(ctx, Events, s.place.Log, at.Log)
		if err != nil {
			return nil, err
		}
		batches, log = append(batches, b.batch), b.reached
	}
	if upTo := min(at.Sessions, log); s.Kinds&Sessions != 0 && s.place.Sessions < upTo {
		b, err := s.block(ctx, Sessions, s.place.Sessions, upTo)
		if err != nil {
			return nil, err
		}
		batches = append(batches, b.batch)
	}
	return batches, nil
}

// block is what is behind a position of a kind: the end of a stretch that others read, too.
func (s *Stream) block(ctx context.Context, kind Kinds, behind, upTo int64) (*block, error) {
	after := behind - behind%stretchLength
	for {
		b := s.hub.shelf.get(stretch{kind, after, min(after+stretchLength, upTo)})
		select {
		case <-b.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.ended:
			return nil, context.Canceled
		}
		switch {
		case b.err != nil:
			return nil, b.err
		case !s.hub.shelf.stands(b):
		case b.reached > behind:
			return b, nil
		case b.reached <= after:
			return nil, errors.New("the log could not be read any further")
		default: // it was too much for one reading
			after = b.reached
		}
	}
}

// readAlone reads the next batch for this reader alone.
func (s *Stream) readAlone(ctx context.Context) (*batch, error) {
	select {
	case s.hub.readers <- struct{}{}:
		defer func() { <-s.hub.readers }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ended:
		return nil, context.Canceled
	}
	ctx, cancel := context.WithTimeout(ctx, readLongest) // a filter may have it look far
	defer cancel()
	state, err := s.hub.Source.State(ctx)
	if err != nil {
		return nil, err
	}
	to := s.place
	var events, sessions []Message
	if s.Kinds&Events != 0 {
		if events, to.Log, err = s.hub.Source.Events(ctx, Query{s.place.Log, state.Head, &s.Filter}); err != nil {
			return nil, err
		}
	} else {
		to.Log = state.Head
	}
	if s.Kinds&Sessions != 0 {
		q := Query{s.place.Sessions, min(state.Followed, to.Log), &s.Filter}
		if sessions, to.Sessions, err = s.hub.Source.Sessions(ctx, q); err != nil {
			return nil, err
		}
	}
	return newBatch(s.place, to.upTo(s.place), events, sessions), nil
}

func (s *Stream) writeSome(out io.Writer, text []byte, sent tally) error {
	if len(text) == 0 {
		return nil
	}
	if err := s.write(out, text); err != nil {
		return err
	}
	s.hub.metrics.count(sent)
	return nil
}

func (s *Stream) write(out io.Writer, text []byte) error {
	if _, err := out.Write(text); err != nil {
		return err
	}
	s.wroteAt = time.Now()
	return nil
}

func (s *Stream) whyEnded() end {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.why
}

// whyNot is why nothing could be written.
func whyNot(ctx context.Context, err error) end {
	if ctx.Err() == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return endSlow
	}
	return endGone
}
