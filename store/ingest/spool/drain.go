package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Batch is what Next returns: records with the consecutive sequence numbers First
// to Last. Both are 0 if there are none.
type Batch struct {
	First, Last uint64
	Records     [][]byte // the caller's own
}

// position is between two records of a segment.
type position struct {
	seg  *segment // nil is the begin of the spool
	off  int64
	next uint64 // the least number of the record behind it
}

func beginOf(seg *segment) position { return position{seg: seg, off: seg.start, next: seg.first} }

// Next returns the oldest records that are not drained, in order: at least one if
// there is any, otherwise as many as fit into both bounds (bytes are those of the
// records) and have consecutive numbers. It returns the same again until Drained was
// called. An error means that the disk failed, and that it may be tried again.
func (s *Spool) Next(maxRecords int, maxBytes int64) (Batch, error) {
	s.draining.Lock()
	defer s.draining.Unlock()
	if s.isClosed() {
		return Batch{}, errClosed
	}
	batch, err := s.gather(maxRecords, maxBytes)
	if len(batch.Records) > 0 {
		return batch, nil // an error behind them comes again
	}
	if err != nil {
		return Batch{}, fmt.Errorf("reading the spool: %w", err)
	}
	return Batch{}, s.retire() // a segment may have had nothing that was readable
}

// Drained says that every record up to this number is durably elsewhere. Whole
// segments of them are deleted, or renamed if they are damaged. After an error Next
// goes on behind it all the same, and what could not be deleted is tried again by the next call.
//
// A number beyond the last record is one that somebody else knows of as drained (of
// a directory that was restored from a copy, say): the numbers up to it are taken
// as used.
func (s *Spool) Drained(to uint64) error {
	s.draining.Lock()
	defer s.draining.Unlock()
	if s.isClosed() {
		return errClosed
	}
	if to > maxSequence {
		return fmt.Errorf("no record of a spool can have the number %d", to)
	}
	known := s.advance(to)
	err := s.retire()
	if !known && err == nil {
		err = s.mark() // no record tells of these numbers
	}
	_, _ = s.gather(1, 0) // finds the age of the oldest; an error comes again with Next
	return err
}

func (s *Spool) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// advance is false if there was no record of that number.
func (s *Spool) advance(to uint64) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known = to <= s.last
	switch {
	case known:
	case s.writing:
		to = s.last // the numbers behind it are being given out
	default:
		s.last, s.next = to, max(s.next, to+1)
	}
	s.drainedTo = max(s.drainedTo, to)
	return known
}

// gather collects the next batch. The caller holds draining.
func (s *Spool) gather(maxRecords int, maxBytes int64) (Batch, error) {
	var batch Batch
	var size int64
	pos := s.oldest()
	for {
		rec, ok, err := s.read(&pos)
		if err != nil || !ok {
			return batch, err
		}
		size += int64(len(rec.payload))
		if n := len(batch.Records); n > 0 && (rec.sequence != batch.Last+1 || n >= maxRecords || size > maxBytes) {
			return batch, nil
		}
		if len(batch.Records) == 0 {
			batch.First = rec.sequence
			s.noteOldest(position{pos.seg, rec.off, rec.sequence}, rec)
		}
		batch.Last = rec.sequence
		batch.Records = append(batch.Records, bytes.Clone(rec.payload))
		s.ahead = pos
	}
}

// oldest is where to look for the oldest record that was not drained.
func (s *Spool) oldest() position {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ahead.seg != nil && s.ahead.next <= s.drainedTo+1 {
		return s.ahead
	}
	return s.cursor
}

func (s *Spool) noteOldest(pos position, rec record) {
	s.cursor = pos
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldestAt = microseconds(rec.at)
}

// read returns the first readable record behind pos that was not drained, and moves pos
// behind it. What is missing before it is noted. The caller holds draining.
func (s *Spool) read(pos *position) (record, bool, error) {
	for {
		v, ok := s.view(pos)
		if !ok {
			return record{}, false, nil
		}
		w, err := s.windowOn(pos.seg, v.size)
		if err != nil {
			return record{}, false, err
		}
		sc := scanner{src: w, seed: s.seed, off: pos.off, sequence: pos.next, limit: v.last}
		rec, ok, err := sc.next()
		if err != nil {
			return record{}, false, err
		}
		s.examined(pos, rec, ok, v.last, w.holes)
		if ok {
			pos.off, pos.next = sc.off, sc.sequence
			if rec.sequence > v.drainedTo {
				return rec, true, nil
			}
		} else if !s.follow(pos, v.last) {
			return record{}, false, nil
		}
	}
}

// view is what a reader needs of a segment that grows meanwhile.
type view struct {
	size            int64
	last, drainedTo uint64
}

// view moves pos to the first segment if its own has gone. It is false if there is none.
func (s *Spool) view(pos *position) (view, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pos.seg == nil || pos.seg.retired {
		if len(s.segments) == 0 {
			return view{}, false
		}
		*pos = beginOf(s.segments[0])
	}
	return view{size: pos.seg.size, last: pos.seg.last, drainedTo: s.drainedTo}, true
}

// follow moves pos to the segment behind its own, unless that one has grown since
// its last record was read. It is false if there is nothing more to be read.
func (s *Spool) follow(pos *position, read uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pos.seg.last != read {
		return true
	}
	i := slices.Index(s.segments, pos.seg)
	if i < 0 || i+1 == len(s.segments) {
		return false
	}
	*pos = beginOf(s.segments[i+1])
	return true
}

// examined notes what the reader found behind pos: a record, or (not ok) that there
// is none up to last.
func (s *Spool) examined(pos *position, rec record, ok bool, last uint64, holes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := pos.seg
	if holes || ok && rec.off != pos.off {
		seg.damaged = true
	}
	switch {
	case ok && rec.sequence > seg.examined:
		s.miss(seg, span{seg.examined + 1, rec.sequence - 1})
		seg.examined, seg.readable = rec.sequence, rec.sequence
		seg.saved++
	case !ok && last > seg.examined:
		s.miss(seg, span{seg.examined + 1, last})
		seg.examined = last
	}
}

// miss notes records that should be in the segment, and are not. The caller holds
// mu.
func (s *Spool) miss(seg *segment, gone span) {
	if gone.from > gone.to {
		return
	}
	seg.damaged = true
	if n := overlap(gone, s.drainedTo); n > 0 { // what was drained is not lost
		seg.lost = append(seg.lost, span{max(gone.from, s.drainedTo+1), gone.to})
		s.lost += n
	}
}

// windowOn is a window on the segment's first size bytes. The caller holds draining.
func (s *Spool) windowOn(seg *segment, size int64) (*window, error) {
	if s.winSeg == seg {
		s.win.size = size
		return s.win, nil
	}
	s.shutWindow()
	f, err := s.disk.open(s.path(seg.name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.win = &window{file: nothing{}, size: size} // somebody has deleted it
	case err != nil:
		return nil, err
	default:
		s.win = &window{file: f, size: size}
	}
	s.winSeg = seg
	return s.win, nil
}

// shutWindow closes the window. The caller holds draining.
func (s *Spool) shutWindow() {
	if s.win == nil {
		return
	}
	if f, ok := s.win.file.(file); ok {
		_ = f.Close() // it was only read
	}
	s.win, s.winSeg = nil, nil
}
