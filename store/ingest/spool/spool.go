package spool

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrFull says that the spool is at one of its bounds, or the disk is full; the
// message says which. Nothing was kept.
var ErrFull = errors.New("the spool is full")

var errClosed = fmt.Errorf("the spool is closed: %w", os.ErrClosed)

// Options of a Spool; zero values are replaced by the defaults.
type Options struct {
	MaxBytes     int64 // of all segments together, those set aside not counted; 4 GiB
	MinFreeBytes int64 // that must remain free on the disk; 256 MiB
	SegmentBytes int64 // of one segment, at most an eighth of MaxBytes; 16 MiB. A larger batch has a segment of its own.
	Logger       *slog.Logger
}

func (o Options) withDefaults() Options {
	o.MaxBytes = cmp.Or(o.MaxBytes, 4<<30)
	o.MinFreeBytes = cmp.Or(o.MinFreeBytes, 256<<20)
	// Room comes back by whole segments: it must not take draining everything.
	o.SegmentBytes = min(cmp.Or(o.SegmentBytes, 16<<20), max(o.MaxBytes/8, 1))
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// Spool is a durable queue of records in a directory. Append may be called by one
// goroutine, Next and Drained by another, and the rest by any, all at the same time.
type Spool struct {
	dir  string
	opts Options
	disk disk
	key  [16]byte // the id
	seed uint32   // of its records' checksums

	// The order of the locks is appending, draining, mu.

	// appending is held over the I/O of writing.
	appending sync.Mutex
	buf       []byte // guarded by appending

	// draining is held over the I/O of reading and deleting.
	draining sync.Mutex
	win      *window  // on winSeg; guarded by draining
	winSeg   *segment // guarded by draining
	cursor   position // at or before the oldest record not drained; guarded by draining
	ahead    position // behind what Next returned last; guarded by draining
	marked   uint64   // what the file of drained says; guarded by draining

	// mu is held for moments, never over I/O.
	mu        sync.Mutex
	segments  []*segment // in order; guarded by mu
	tail      *segment   // the last one while it may be written; else nil; guarded by mu
	tailFile  file       // of tail; used by Append, closed by who sets tail to nil; guarded by mu
	writing   bool       // Append uses tailFile: it is not to be closed; guarded by mu
	next      uint64     // number of the next record; guarded by mu
	last      uint64     // number of the last record kept; guarded by mu
	before    uint64     // first number of the segment made last, 0 if there is none; guarded by mu
	drainedTo uint64     // guarded by mu
	bytes     int64      // of segments; guarded by mu
	refused   int64      // bytes of a batch for which there was no room, 0 once there was; guarded by mu
	isFull    bool       // the disk said so when it was to keep the last batch; guarded by mu
	fullAt    int64      // bytes that were free then; guarded by mu
	lost      int64      // guarded by mu
	aside     bool       // segments were set aside, some time; guarded by mu
	oldestAt  time.Time  // when the oldest record was kept, or one before it; guarded by mu
	closed    bool       // guarded by mu
}

// Open opens the spool in dir, and makes dir (0700) and what is above it if it is missing. It
// recovers what a crash left; the package comment says how. An error means that the
// disk failed; nothing is lost by trying again.
func Open(dir string, o Options) (*Spool, error) { return open(dir, o, osDisk{}) }

func open(dir string, o Options, d disk) (*Spool, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	s := &Spool{dir: dir, opts: o.withDefaults(), disk: d}
	if err := s.recover(); err != nil {
		s.shutWindow()
		return nil, fmt.Errorf("opening the spool %s: %w", dir, err)
	}
	return s, nil
}

// ID is the spool's own name, 32 hexadecimal digits: the same for as long as the
// directory lives. Sequence numbers are unique within it.
func (s *Spool) ID() string { return fmt.Sprintf("%x", s.key) }

// Stats tell what a spool has at one time.
type Stats struct {
	Records      int64     // to be drained, but for those known to be lost
	Bytes        int64     // of all segments that have records to be drained
	OldestAt     time.Time // when the oldest record was kept; zero if there is none
	LastSequence uint64    // of the last record that was kept, ever
	DrainedTo    uint64    // every record up to this one is drained or lost
	Damaged      int       // segments found damaged that are still in the directory
	Lost         int64     // records known to be lost by damage, or with a missing segment, since Open; at least
}

// Stats may be called at any time.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	st := Stats{
		Records: s.pending(), Bytes: s.bytes, LastSequence: s.last, DrainedTo: s.drainedTo, Lost: s.lost,
	}
	if st.Records > 0 {
		st.OldestAt = s.oldestAt
	}
	for _, seg := range s.segments {
		if seg.damaged {
			st.Damaged++
		}
	}
	aside := s.aside
	s.mu.Unlock()
	if aside {
		st.Damaged += s.setAsideCount()
	}
	return st
}

// setAsideCount looks into the directory: the operator deletes such files.
func (s *Spool) setAsideCount() int {
	names, _ := s.disk.list(s.dir)
	n := 0
	for _, name := range names {
		if _, aside, ok := parseName(name); ok && aside {
			n++
		}
	}
	return n
}

// pending is the number of records to be drained. The caller holds mu.
func (s *Spool) pending() int64 {
	var n int64
	for _, seg := range s.segments {
		n += seg.pending(s.drainedTo)
	}
	return n
}

// Room is nil if the spool can keep records now, ErrFull if it can't. After Append
// had no room for a batch, there is room when there is for that one. After the disk
// itself had none, whatever it says is free, there is when more is free than then: a
// file takes blocks, others write to the disk too, and of quotas statfs tells nothing.
func (s *Spool) Room() error {
	s.mu.Lock()
	size := int64(overheadBytes)
	if s.bytes > 0 { // else it is the batch that is too large
		size = max(size, s.refused)
	}
	isFull, fullAt := s.isFull, s.fullAt
	s.mu.Unlock()
	if err := s.room(size); err != nil || !isFull {
		return err
	}
	free, err := s.disk.free(s.dir)
	if err != nil || free <= fullAt {
		return fmt.Errorf("%w: the disk of %s could not keep the last batch, and no more is free now (%d bytes)", ErrFull, s.dir, free)
	}
	return nil
}

// room says whether so many bytes of records can be kept.
func (s *Spool) room(size int64) error {
	size += headerBytes
	s.mu.Lock()
	held, closed := s.bytes, s.closed
	s.mu.Unlock()
	if closed {
		return errClosed
	}
	if held+size > s.opts.MaxBytes {
		return fmt.Errorf("%w: it holds %d of at most %d bytes", ErrFull, held, s.opts.MaxBytes)
	}
	free, err := s.disk.free(s.dir)
	if err != nil {
		return nil // the disk itself will say so
	}
	if free-size < s.opts.MinFreeBytes {
		return fmt.Errorf("%w: the disk of %s has %d bytes free, and %d must remain", ErrFull, s.dir, free, s.opts.MinFreeBytes)
	}
	return nil
}

// Close lets go of the files. All that Append acknowledged is on the disk anyway.
func (s *Spool) Close() error {
	s.appending.Lock()
	defer s.appending.Unlock()
	s.draining.Lock()
	defer s.draining.Unlock()
	s.mu.Lock()
	closed, f := s.closed, s.tailFile
	s.closed, s.tail, s.tailFile = true, nil, nil
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.shutWindow()
	if f != nil {
		_ = f.Close() // synced already
	}
	return s.mark()
}

// mark writes down how far the spool was drained, if that is not known. The caller
// holds draining.
func (s *Spool) mark() error {
	s.mu.Lock()
	to := s.drainedTo
	s.mu.Unlock()
	if to == s.marked {
		return nil
	}
	value := fmt.Sprintf("%020d", to)
	if err := writeMark(s.disk, s.dir, drainedFile, value); err != nil {
		return fmt.Errorf("writing down how far the spool was drained: %w", err)
	}
	spareMark(s.disk, s.dir, drainedFile, value)
	s.marked = to
	return nil
}

func (s *Spool) path(name string) string { return filepath.Join(s.dir, name) }
