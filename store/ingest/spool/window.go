package spool

import (
	"bytes"
	"errors"
	"io"
	"syscall"
)

const (
	windowBytes = 256 << 10 // read at once, if no record is larger
	blockBytes  = 4 << 10   // what a disk gives back or not
)

// window reads a file in pieces, so that memory is bounded by the largest record.
type window struct {
	file  io.ReaderAt
	size  int64  // of what may be read, in bytes
	start int64  // where buf begins in the file
	buf   []byte // never longer than the file
	holes bool   // something was there that could not be read
}

// bytes returns n bytes from off on, which must lie within size, valid until the
// next call. The error is io.ErrUnexpectedEOF if the file turns out to be shorter;
// size tells then how long it is.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	if off < w.start || off+int64(n) > w.start+int64(len(w.buf)) {
		if err := w.fill(off, n); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	return w.buf[off-w.start:][:n], nil
}

func (w *window) fill(off int64, n int) error {
	want := int(min(int64(max(n, windowBytes)), w.size-off))
	if cap(w.buf) < want {
		w.buf = make([]byte, want)
	}
	w.buf, w.start = w.buf[:want], off
	read, err := w.file.ReadAt(w.buf, off)
	if errors.Is(err, syscall.EIO) {
		read, err = w.salvage(off)
	}
	switch {
	case read == want:
		return nil
	case errors.Is(err, io.EOF):
		w.size, w.holes = off+int64(read), true
		return io.ErrUnexpectedEOF
	default:
		return err
	}
}

// salvage fills buf block by block. A block that the disk fails to give back once
// more is taken as zeros, which are never a record: what is behind a bad place
// must not be lost with it.
func (w *window) salvage(off int64) (int, error) {
	for done := 0; done < len(w.buf); {
		next := min(done+blockBytes-int((off+int64(done))%blockBytes), len(w.buf))
		read, err := w.file.ReadAt(w.buf[done:next], off+int64(done))
		switch {
		case errors.Is(err, syscall.EIO):
			clear(w.buf[done:next])
			w.holes = true
		case read < next-done:
			return done + read, err
		}
		done = next
	}
	return len(w.buf), nil
}

// zerosFrom reports whether nothing but zeros is in the file from off on.
func (w *window) zerosFrom(off int64) (bool, error) {
	for off < w.size {
		n := min(windowBytes, w.size-off)
		b, err := w.bytes(off, int(n))
		if errors.Is(err, io.ErrUnexpectedEOF) {
			continue // the file is shorter, and size tells so now
		}
		if err != nil || len(bytes.Trim(b, "\x00")) > 0 {
			return false, err
		}
		off += n
	}
	return !w.holes, nil
}

// nothing is the file that has gone.
type nothing struct{}

func (nothing) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
