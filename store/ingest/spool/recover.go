package spool

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strconv"
)

// recover makes the spool of what is in the directory.
func (s *Spool) recover() error {
	if err := makeDirs(s.disk, s.dir); err != nil {
		return err
	}
	asideTo, err := s.load()
	if err != nil {
		return err
	}
	known, err := s.readDrained()
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return s.recoverID(known) },
		s.dropForeign,
		func() error { return s.recoverDrained(known, asideTo) },
		s.measureAll,
		func() error { s.reportGaps(known); s.countAll(); return nil },
		// What a former process created, renamed or removed may not be durable yet,
		// and numbers are about to build on it.
		func() error { return s.disk.syncDir(s.dir) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := s.retire(); err != nil {
		s.opts.Logger.Warn("the spool can't delete what is drained; it tries again", "error", err)
	}
	_, _ = s.gather(1, 0) // finds the age of the oldest; an error comes again with Next
	return nil
}

// load finds the segments and reads their headers. It returns a number that is no
// less than any that a segment set aside can have.
func (s *Spool) load() (asideTo uint64, err error) {
	names, err := s.disk.list(s.dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		first, aside, ok := parseName(name)
		if !ok {
			continue
		}
		size, err := s.disk.size(s.path(name))
		if err != nil {
			return 0, err
		}
		if aside {
			s.aside = true
			asideTo = max(asideTo, first+uint64(size))
			continue
		}
		seg := newSegment(first)
		seg.size = size
		if err := s.loadHeader(seg); err != nil {
			return 0, err
		}
		s.segments = append(s.segments, seg)
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return cmp.Compare(a.first, b.first) })
	return asideTo, nil
}

func (s *Spool) loadHeader(seg *segment) error {
	head, err := s.head(seg)
	if err != nil {
		return err
	}
	seg.header = parseHeader(head)
	if seg.header != nil && seg.header.first != seg.first {
		seg.header = nil
	}
	if seg.header == nil {
		seg.start, seg.damaged = 0, true // the search begins with the file
	}
	return nil
}

// head is the first bytes of a segment, up to a header's.
func (s *Spool) head(seg *segment) ([]byte, error) {
	n := min(seg.size, headerBytes)
	w, err := s.windowOn(seg, n)
	if err != nil {
		return nil, err
	}
	b, err := w.bytes(0, int(n))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil
	}
	return bytes.Clone(b), err
}

// readDrained reads how far the spool was drained, if that is known.
func (s *Spool) readDrained() (known bool, err error) {
	text, err := readMark(s.disk, s.dir, drainedFile)
	if err != nil {
		return false, err
	}
	to, err := strconv.ParseUint(text, 10, 64)
	if err != nil || to > maxSequence {
		return false, nil
	}
	s.drainedTo, s.marked = to, to
	return true, nil
}

// recoverDrained has everything that is there drained again, where it is not known
// how far it was drained. What was drained before is no loss.
func (s *Spool) recoverDrained(known bool, asideTo uint64) error {
	if known {
		return nil
	}
	s.drainedTo = asideTo
	if len(s.segments) > 0 {
		s.drainedTo = keptBefore(s.segments[0])
	}
	s.marked = s.drainedTo + 1 // so that it is written
	return s.mark()
}

// keptBefore is the last number that was acknowledged before this segment was made;
// if nobody knows, as if no write before it had failed.
func keptBefore(seg *segment) uint64 {
	if seg.header == nil {
		return seg.first - 1
	}
	return min(seg.header.kept, seg.first-1)
}

// recoverID reads the id, or takes it from a segment. If neither has it, or if there is an id
// but nothing that tells which numbers were used with it, the spool is a new one.
func (s *Spool) recoverID(known bool) error {
	text, err := readMark(s.disk, s.dir, idFile)
	if err != nil {
		return err
	}
	id, ok := parseID(text)
	if ok && (known || len(s.segments) > 0) {
		s.setID(id)
		if !known {
			s.opts.Logger.Error("the spool doesn't know any more how far it was drained, and is drained again", "file", s.path(drainedFile))
		}
		return nil
	}
	if ok {
		s.opts.Logger.Error("the spool doesn't know any more which numbers it gave out, and gets a new id", "file", s.path(drainedFile))
	}
	for _, seg := range s.segments {
		if seg.header != nil {
			s.opts.Logger.Warn("the id of the spool was lost; it is read from a segment", "file", s.path(idFile))
			return s.writeID(seg.header.id)
		}
	}
	_, _ = rand.Read(id[:]) // never fails
	return s.writeID(id)
}

func (s *Spool) setID(id [16]byte) { s.key, s.seed = id, seedOf(id) }

func (s *Spool) writeID(id [16]byte) error {
	s.setID(id)
	return writeMark(s.disk, s.dir, idFile, s.ID())
}

// dropForeign sets aside the segments of other spools: their numbers mean nothing here.
func (s *Spool) dropForeign() error {
	var ours []*segment
	for _, seg := range s.segments {
		if seg.header == nil || seg.header.id == s.key {
			ours = append(ours, seg)
			continue
		}
		if s.winSeg == seg {
			s.shutWindow()
		}
		if err := s.setAside(seg, "a segment of another spool is not read: drain it in its own directory"); err != nil {
			return err
		}
	}
	s.segments = ours
	return nil
}

// measureAll finds the last record of each segment, and drops those whose writing was
// interrupted before the first. Mostly the next segment's header tells; only the last
// one has to be read.
func (s *Spool) measureAll() error {
	for i := len(s.segments) - 1; i >= 0; i-- {
		seg := s.segments[i]
		var next *segment
		limit := uint64(maxSequence)
		if i+1 < len(s.segments) {
			next = s.segments[i+1]
			limit = next.first - 1
		}
		if next != nil && next.header != nil && next.header.before == seg.first {
			seg.last = keptBefore(next)
			continue
		}
		end, err := s.measure(seg, limit)
		if err != nil {
			return err
		}
		empty, err := s.interrupted(seg, next == nil)
		switch {
		case err != nil:
			return err
		case empty:
			err = s.removeEmpty(i)
		case next == nil:
			err = s.finishLast(seg, end)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// measure reads the whole segment, and returns where its last readable record ends.
func (s *Spool) measure(seg *segment, limit uint64) (end int64, err error) {
	w, err := s.windowOn(seg, seg.size)
	if err != nil {
		return 0, err
	}
	pos := beginOf(seg)
	for {
		sc := scanner{src: w, seed: s.seed, off: pos.off, sequence: pos.next, limit: limit}
		rec, ok, err := sc.next()
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		s.examined(&pos, rec, true, 0, w.holes)
		pos.off, pos.next = sc.off, sc.sequence
	}
	seg.damaged = seg.damaged || w.holes
	seg.last = seg.readable
	return pos.off, nil
}

// finishLast makes durable what is readable of the last segment, up to end: it is now
// counted as kept, and numbers go on behind it. What is behind the end was a write
// that was interrupted, and is cut off.
func (s *Spool) finishLast(seg *segment, end int64) error {
	if seg.damaged {
		// It may be more than an interrupted write: the operator gets it as it
		// is, and the numbers that may be in there are not used again.
		s.next = seg.last + 1 + uint64(seg.size-end)
		if seg.readable < seg.first && seg.size > headerBytes {
			s.lost++ // at least
		}
	} else if end < seg.size {
		if err := s.disk.truncate(s.path(seg.name), end); err != nil {
			return err
		}
		s.opts.Logger.Info("a write to the spool that a crash had interrupted was cut off", "file", s.path(seg.name), "bytes", seg.size-end)
		seg.size = end
	}
	f, err := s.disk.open(s.path(seg.name))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// interrupted reports whether the segment's first write was interrupted, so that
// nothing in it was ever acknowledged: the last one has no record, or there is but a
// part of a header, and zeros.
func (s *Spool) interrupted(seg *segment, isLast bool) (bool, error) {
	if seg.readable >= seg.first {
		return false, nil
	}
	if seg.header != nil {
		return isLast && !seg.damaged, nil
	}
	head, err := s.head(seg)
	if err != nil {
		return false, err
	}
	head = bytes.TrimRight(head, "\x00")
	if !beginsHeader(head) {
		return false, nil
	}
	w, err := s.windowOn(seg, seg.size)
	if err != nil {
		return false, err
	}
	return w.zerosFrom(int64(len(head)))
}

// removeEmpty removes the segment at i, of which nothing came to the disk.
func (s *Spool) removeEmpty(i int) error {
	seg := s.segments[i]
	s.shutWindow()
	if err := s.disk.remove(s.path(seg.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.segments = slices.Delete(s.segments, i, i+1)
	return nil
}

// reportGaps finds the segments that are missing: a header knows of records before
// it that are in no file, and were not drained.
func (s *Spool) reportGaps(known bool) {
	to := s.drainedTo
	for i, seg := range s.segments {
		if seg.header == nil && seg.last < seg.first {
			continue // its name alone is no proof
		}
		if gone := (span{to + 1, keptBefore(seg)}); gone.from <= gone.to && (i > 0 || known) {
			n := overlap(gone, s.drainedTo)
			s.lost += n
			s.opts.Logger.Error("segments of the spool are missing, with the records in them",
				"dir", s.dir, "from", gone.from, "to", gone.to, "records_lost", n)
		}
		to = max(to, seg.last)
	}
}

// countAll counts what is there, and finds the number to go on with.
func (s *Spool) countAll() {
	s.last = s.drainedTo
	for _, seg := range s.segments {
		s.bytes += seg.size
		s.before = seg.first
		s.last = max(s.last, seg.last, keptBefore(seg))
	}
	s.next = max(s.next, s.last+1)
}
