package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
)

// Inspection is what a spool has on its disk, all of it read.
type Inspection struct {
	ID        string
	Kept      uint64 // number of the last record that was kept before the first one that is there; 0 if there is none
	Last      uint64 // number of the last record that is there
	Records   int64  // that are there; some may have been drained
	DrainedTo uint64 // as the spool itself knows
	Lost      int64  // records known to be lost by damage
	Damaged   int    // damaged segments
}

// inspectTries is how often an inspection begins anew that was disturbed.
const inspectTries = 5

// Inspect reads the spool in dir and changes nothing, also while a server uses it. It
// is an fs.ErrNotExist if there is none.
func Inspect(dir string) (Inspection, error) {
	var found Inspection
	var err error
	for range inspectTries {
		found, err = inspect(dir)
		if !errors.Is(err, fs.ErrNotExist) { // else a segment was drained meanwhile
			break
		}
	}
	if err != nil {
		return Inspection{}, fmt.Errorf("looking into the spool %s: %w", dir, err)
	}
	return found, nil
}

func inspect(dir string) (Inspection, error) {
	text, err := readMark(osDisk{}, dir, idFile)
	if err != nil {
		return Inspection{}, err
	}
	if text == "" {
		return Inspection{}, fs.ErrNotExist
	}
	s, err := open(dir, Options{Logger: slog.New(slog.DiscardHandler)}, lookingDisk{})
	if err != nil {
		return Inspection{}, err
	}
	defer func() { _ = s.Close() }()
	found := Inspection{ID: s.ID(), DrainedTo: s.drainedTo, Kept: s.drainedTo}
	if len(s.segments) > 0 {
		found.Kept = keptBefore(s.segments[0])
	}
	damaged := make(map[*segment]bool)
	for {
		batch, err := s.Next(1000, 4<<20)
		if err != nil {
			return Inspection{}, err
		}
		for _, seg := range s.segments {
			if seg.damaged {
				damaged[seg] = true
			}
		}
		if len(batch.Records) == 0 {
			break
		}
		found.Records, found.Last = found.Records+int64(len(batch.Records)), batch.Last
		if err := s.Drained(batch.Last); err != nil {
			return Inspection{}, err
		}
	}
	found.Lost, found.Damaged = s.Stats().Lost, len(damaged)+s.setAsideCount()
	return found, nil
}

// lookingDisk is a disk on which nothing changes, whatever is asked.
type lookingDisk struct{ osDisk }

func (lookingDisk) makeDir(string) error           { return nil }
func (lookingDisk) create(string) (file, error)    { return nowhere{}, nil }
func (lookingDisk) overwrite(string) (file, error) { return nowhere{}, nil }
func (lookingDisk) rename(string, string) error    { return nil }
func (lookingDisk) remove(string) error            { return nil }
func (lookingDisk) truncate(string, int64) error   { return nil }
func (lookingDisk) syncDir(string) error           { return nil }

// nowhere is a file that nothing is written to.
type nowhere struct{}

func (nowhere) Write(p []byte) (int, error)       { return len(p), nil }
func (nowhere) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (nowhere) Close() error                      { return nil }
func (nowhere) Sync() error                       { return nil }
