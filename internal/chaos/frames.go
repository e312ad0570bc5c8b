package chaos

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// frame is the head of a message of Postgres's protocol, version 3: a kind, none in
// a client's first message, and the length of what follows, itself included.
// https://www.postgresql.org/docs/current/protocol-message-formats.html
type frame struct {
	kind   byte
	head   []byte
	length int64  // of the body
	peek   []byte // the first bytes of the body, not read yet
}

// Of the kinds, those that the proxy knows.
const (
	frontParse       = 'P'
	frontBind        = 'B'
	backComplete     = 'C'
	backReadyForMore = 'Z'
)

const maxPeek = 512

// readFrame reads the head of the next message.
func readFrame(r *bufio.Reader, first bool) (frame, error) {
	f := frame{head: make([]byte, 5)}
	if first {
		f.head = f.head[:4]
	}
	if _, err := io.ReadFull(r, f.head); err != nil {
		return f, err
	}
	if !first {
		f.kind = f.head[0]
	}
	f.length = int64(binary.BigEndian.Uint32(f.head[len(f.head)-4:])) - 4
	if f.length < 0 {
		return f, fmt.Errorf("a message of %d bytes", f.length)
	}
	var err error
	if f.kind == frontParse || f.kind == frontBind {
		f.peek, err = r.Peek(int(min(f.length, maxPeek)))
	}
	return f, err
}

// forward writes the message whose head was read.
func (f *frame) forward(r io.Reader, w *bufio.Writer) error {
	if _, err := w.Write(f.head); err != nil {
		return err
	}
	_, err := io.CopyN(w, r, f.length)
	return err
}

// strings are the two that a Parse begins with (a statement's name, the query), or
// a Bind (a portal's name, a statement's).
func (f *frame) strings() (first, second string) {
	parts := bytes.SplitN(f.peek, []byte{0}, 3)
	if len(parts) < 2 {
		return "", ""
	}
	return string(parts[0]), string(parts[1])
}
