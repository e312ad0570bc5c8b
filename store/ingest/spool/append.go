package spool

import (
	"errors"
	"fmt"
	"time"
)

// maxIdleBuffer is how much memory is kept for the next batch, in bytes.
const maxIdleBuffer = 4 << 20

// Append keeps the records, which may be empty but not longer than 2 GiB, as of at (to the
// microsecond), and returns the sequence number of the last one. They have
// consecutive numbers. When it returns without an error they are on the disk.
//
// ErrFull means that nothing was kept. After any other error some of them may
// come out of Next once the spool was opened again; they count as not kept.
func (s *Spool) Append(records [][]byte, at time.Time) (last uint64, err error) {
	s.appending.Lock()
	defer s.appending.Unlock()
	if len(records) == 0 {
		return s.Stats().LastSequence, nil
	}
	size, err := encodedSize(records)
	if err != nil {
		return 0, err
	}
	if err := s.admit(size); err != nil {
		return 0, err
	}
	w := s.reserve(len(records), size)
	if err := s.write(w, records, at); err != nil {
		s.abandon(w)
		if isFull(err) {
			s.noteFull()
			return 0, fmt.Errorf("%w: %w", ErrFull, err)
		}
		return 0, fmt.Errorf("writing to the spool: %w", err)
	}
	s.commit(w, at)
	return w.first + uint64(w.n) - 1, nil
}

// admit refuses a batch for which there is no room, and remembers it for Room.
func (s *Spool) admit(size int64) error {
	err := s.room(size)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = 0
	if errors.Is(err, ErrFull) {
		s.refused = size
	}
	return err
}

// noteFull remembers for Room that the disk was full.
func (s *Spool) noteFull() {
	free, err := s.disk.free(s.dir)
	if err != nil {
		free = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isFull, s.fullAt = true, free
}

// write is a batch on its way to the disk.
type write struct {
	seg    *segment
	header *header // of a new segment; nil if seg is the tail
	file   file    // set by write for a new segment
	old    file    // of a tail that is full
	first  uint64  // number of the first record
	n      int
	size   int64 // of the records, in bytes
}

// reserve gives out the batch's numbers, for this batch only, and chooses its
// segment.
func (s *Spool) reserve(n int, size int64) *write {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &write{seg: s.tail, file: s.tailFile, first: s.next, n: n, size: size}
	s.next += uint64(n)
	s.writing = true
	// Numbers are consecutive within a segment.
	if s.tail != nil && s.tail.last+1 == w.first && s.tail.size+size <= s.opts.SegmentBytes {
		return w
	}
	w.old, s.tail, s.tailFile = s.tailFile, nil, nil
	w.seg, w.file = newSegment(w.first), nil
	w.seg.size = headerBytes
	w.header = &header{first: w.first, kept: s.last, before: s.before, id: s.key}
	return w
}

// write returns when the records are on the disk.
func (s *Spool) write(w *write, records [][]byte, at time.Time) error {
	s.buf = s.buf[:0]
	if w.header != nil {
		s.buf = w.header.append(s.buf)
	}
	for i, payload := range records {
		s.buf = appendRecord(s.buf, s.seed, w.first+uint64(i), at.UnixMicro(), payload)
	}
	defer func() {
		if cap(s.buf) > maxIdleBuffer {
			s.buf = nil
		}
	}()
	if w.header == nil {
		return writeSynced(w.file, s.buf)
	}
	if w.old != nil {
		_ = w.old.Close() // synced already
	}
	f, err := s.disk.create(s.path(w.seg.name))
	if err != nil {
		return err
	}
	w.file = f
	if err := writeSynced(f, s.buf); err != nil {
		return err
	}
	return s.disk.syncDir(s.dir) // only now does the file have its name for sure
}

func writeSynced(f file, b []byte) error {
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}

// commit makes a batch that is on the disk visible to Next.
func (s *Spool) commit(w *write, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.header != nil {
		s.segments = append(s.segments, w.seg)
		s.tail, s.tailFile, s.before = w.seg, w.file, w.seg.first
		s.bytes += headerBytes
	}
	if s.last <= s.drainedTo {
		s.oldestAt = microseconds(at.UnixMicro())
	}
	s.last = w.first + uint64(w.n) - 1
	w.seg.last = s.last
	w.seg.size += w.size
	s.bytes += w.size
	s.isFull = false
	s.writing = false
}

// abandon gives up a segment of which it is no longer known what is on the disk.
// Removing what failed gives its space back; where that fails too, it does no harm: the next
// segment's header says that its numbers don't count.
func (s *Spool) abandon(w *write) {
	if w.file != nil { // else it was not made, or is somebody else's
		_ = w.file.Close()
		if w.header != nil {
			_ = s.disk.remove(s.path(w.seg.name))
		} else {
			_ = s.disk.truncate(s.path(w.seg.name), w.seg.size)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail, s.tailFile = nil, nil
	s.writing = false
}

func microseconds(us int64) time.Time { return time.UnixMicro(us).UTC() }
