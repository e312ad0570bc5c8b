package spool

import (
	"errors"
	"fmt"
	"io/fs"
)

// retire deletes the segments that are drained. The caller holds draining.
func (s *Spool) retire() error {
	done, tail := s.finished()
	if tail != nil {
		_ = tail.Close() // synced already
	}
	if len(done) == 0 {
		return nil
	}
	// From here on only this tells their numbers.
	if err := s.mark(); err != nil {
		return err
	}
	for _, seg := range done {
		if s.winSeg == seg {
			s.shutWindow()
		}
		if err := s.dispose(seg); err != nil {
			return err
		}
	}
	return nil
}

// finished returns the segments in front of which nothing is left to be drained, and
// the file of the tail if it is among them: it will not be written again.
func (s *Spool) finished() (done []*segment, tail file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.segments {
		if !seg.finished(s.drainedTo) || seg == s.tail && s.writing {
			break
		}
		if seg == s.tail {
			tail = s.tailFile
			s.tail, s.tailFile = nil, nil
		}
		s.drainedTo = max(s.drainedTo, seg.last) // what is lost at its end is no longer waited for
		done = append(done, seg)
	}
	return done, tail
}

// dispose deletes or sets aside the first segment.
func (s *Spool) dispose(seg *segment) error {
	s.mu.Lock()
	damaged := seg.damaged
	s.mu.Unlock()
	var err error
	if damaged {
		err = s.setAside(seg, "a segment of the spool was damaged or has vanished: what could be read of it is drained; look at the file, then delete it")
	} else {
		err = s.disk.remove(s.path(seg.name))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a drained segment of the spool stays for now: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = s.segments[1:]
	s.bytes -= seg.size
	s.isFull = false // of what is gone there is room now
	seg.retired = true
	return nil
}

// setAside keeps a segment for the operator, under another name, and says why.
func (s *Spool) setAside(seg *segment, why string) error {
	name, err := s.freeName(seg.name)
	if err != nil {
		return err
	}
	err = s.disk.rename(s.path(seg.name), s.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.mu.Lock()
	s.aside = true
	saved, lost := seg.saved, int64(0)
	for _, gone := range seg.lost {
		lost += overlap(gone, 0)
	}
	s.mu.Unlock()
	s.opts.Logger.Error(why, "file", s.path(name), "records_saved", saved, "records_lost", lost)
	return nil
}

// freeName is a name for a segment to be set aside that no other file has.
func (s *Spool) freeName(name string) (string, error) {
	free := name + damagedSuffix
	for i := 1; ; i++ {
		_, err := s.disk.size(s.path(free))
		if errors.Is(err, fs.ErrNotExist) {
			return free, nil
		}
		if err != nil {
			return "", err
		}
		free = fmt.Sprintf("%s.%d%s", name, i, damagedSuffix)
	}
}
