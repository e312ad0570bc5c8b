package live

import (
	"context"
	"sync"
	"time"
)

// A stream that begins before the ring reads what is before it in stretches of the log
// that are the same for all, so that those who come back together (after a restart, say)
// read the log once.
const (
	stretchLength = 500 // positions
	shelfBytes    = 8 << 20
	shelfFresh    = 2 * time.Second // for which what was read is handed to others
	readLongest   = 20 * time.Second
)

// stretch is of the positions (after, upTo], of one kind.
type stretch struct {
	kind        Kinds
	after, upTo int64
}

// block is a stretch that is read, or is being read.
type block struct {
	done  chan struct{} // closed when it is read
	epoch int           // of the shelf when it was begun

	// Once it is done.
	*batch
	reached int64
	err     error
	readAt  time.Time
}

func (b *block) isDone() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// shelf has the stretches that were read just now.
type shelf struct {
	source  Source
	readers chan struct{} // a seat for each reading

	mu     sync.Mutex // guards all below
	blocks map[stretch]*block
	epoch  int // how often all was forgotten
}

// get is the block of a stretch, which may still be read.
func (s *shelf) get(of stretch) *block {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.blocks[of]; b != nil && (!b.isDone() || b.err == nil && time.Since(b.readAt) < shelfFresh) {
		return b
	}
	s.tidy()
	b := &block{done: make(chan struct{}), epoch: s.epoch}
	s.blocks[of] = b
	go s.read(of, b)
	return b
}

// tidy lets go of what is old; and of all, if it is too much. The caller holds mu.
func (s *shelf) tidy() {
	bytes := 0
	for of, b := range s.blocks {
		switch {
		case !b.isDone():
		case b.err != nil || time.Since(b.readAt) >= shelfFresh:
			delete(s.blocks, of)
		default:
			bytes += b.bytes
		}
	}
	if bytes > shelfBytes {
		clear(s.blocks)
	}
}

// stands reports whether a block may still be told: nothing was erased since.
func (s *shelf) stands(b *block) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.epoch == s.epoch
}

// forget lets go of everything.
func (s *shelf) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.blocks)
	s.epoch++
}

// read reads a stretch, for whoever wants it: nobody in particular can call it off.
func (s *shelf) read(of stretch, b *block) {
	defer close(b.done)
	ctx, cancel := context.WithTimeout(context.Background(), readLongest)
	defer cancel()
	select {
	case s.readers <- struct{}{}:
		defer func() { <-s.readers }()
	case <-ctx.Done():
		b.err = ctx.Err()
		return
	}
	b.readAt = time.Now()
	q := Query{After: of.after, UpTo: of.upTo, Filter: everything}
	var found []Message
	if of.kind == Events {
		found, b.reached, b.err = s.source.Events(ctx, q)
		b.batch = newBatch(Place{Log: of.after}, Place{Log: b.reached}, found, nil)
	} else {
		found, b.reached, b.err = s.source.Sessions(ctx, q)
		b.batch = newBatch(Place{Sessions: of.after}, Place{Sessions: b.reached}, nil, found)
	}
}
