package api

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"time"
)

// A reader of a live stream has livePatience to take liveChunk bytes.
const (
	livePatience = 10 * time.Second
	liveChunk    = 64 << 10
)

// HTTP2 is how a server of these answers has to treat HTTP/2: net/http waits for ever for
// a connection that takes nothing, whatever deadline an answer on it has.
func HTTP2() *http.HTTP2Config { return &http.HTTP2Config{WriteByteTimeout: streamPatience} }

// takenConn is a connection that is no longer net/http's. The answer on it has no
// length: it ends with the connection.
type takenConn struct{ conn net.Conn }

// takeOver begins an answer 200 with the headers of w, and takes its connection; nil
// where it has none of its own, as in HTTP/2.
func takeOver(w http.ResponseWriter, r *http.Request) *takenConn {
	hijacker, ok := w.(http.Hijacker)
	if !ok || r.ProtoMajor != 1 {
		return nil
	}
	header := w.Header()
	conn, _, err := hijacker.Hijack()
	if err != nil {
		return nil
	}
	_ = conn.SetDeadline(time.Time{}) // those of the server are for short answers
	header.Set("Connection", "close")
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 200 OK\r\n")
	_ = header.Write(&head) // a buffer takes everything
	head.WriteString("\r\n")
	taken := &takenConn{conn}
	_, _ = taken.Write(head.Bytes()) // what follows fails as well
	return taken
}

// Write gives the reader a time for each chunk.
func (c *takenConn) Write(p []byte) (int, error) {
	return writePatiently(p, c.conn.SetWriteDeadline, c.conn.Write)
}

func writePatiently(p []byte, setDeadline func(time.Time) error, write func([]byte) (int, error)) (int, error) {
	written := 0
	for written < len(p) {
		deadline := time.Now().Add(livePatience)
		_ = setDeadline(deadline)
		n, err := write(p[written:min(len(p), written+liveChunk)])
		written += n
		if err != nil && !time.Now().Before(deadline) {
			return written, os.ErrDeadlineExceeded // HTTP/2 calls it otherwise
		}
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// awaitEnd cancels once the reader has left. A reader has nothing to say: after more
// than that the end is noticed by writing.
func (c *takenConn) awaitEnd(cancel context.CancelFunc) {
	var said [1]byte
	if _, err := c.conn.Read(said[:]); err != nil {
		cancel()
	}
}

func (c *takenConn) close() { _ = c.conn.Close() }

// patientStream is an answer of net/http that is sent at once.
type patientStream struct {
	control *http.ResponseController
	w       http.ResponseWriter
}

// Write gives the reader a time for each chunk.
func (p *patientStream) Write(text []byte) (int, error) {
	n, err := writePatiently(text, p.control.SetWriteDeadline, func(chunk []byte) (int, error) {
		n, err := p.w.Write(chunk)
		if err == nil {
			err = p.control.Flush()
		}
		return n, err
	})
	_ = p.control.SetWriteDeadline(time.Time{}) // between two writes nobody is slow
	return n, err
}

// leaveSeat gives the seat of a request back for good: a stream works hardly at all.
func leaveSeat(ctx context.Context) {
	if p, isCounted := ctx.Value(seatKey{}).(*seat); isCounted {
		p.leave()
	}
}
