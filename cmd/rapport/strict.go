package main

import (
	"bytes"
	"errors"
	"net"
	"net/http"
)

// strictListener is for plain HTTP, which is what proxies speak to a server. It
// refuses two ways of writing headers that net/http takes and proxies read
// otherwise, so that neither can be led to see different requests in the same
// bytes: lines that end in a bare LF, and folded lines. RFC 9112, 2.2 and 5.2.
type strictListener struct{ net.Listener }

// Accept waits for a connection.
func (l strictListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &strictConn{Conn: conn, isHeader: true}, nil
}

// strictConn looks at the headers as they come in. net/http reads from one
// goroutine at a time.
type strictConn struct {
	net.Conn
	isHeader bool // else it is a body, or what was sent before its time
	last     byte // of what was read
	isBlank  bool // the line that last is in is empty so far
}

// errHeader is answered 400 by net/http.
var errHeader = errors.New("a header's line is folded, or ends in a bare LF")

// track is for http.Server.ConnState: between two requests, the next bytes are a
// header.
func (c *strictConn) track(state http.ConnState) {
	if state == http.StateIdle {
		c.isHeader, c.last, c.isBlank = true, 0, false
	}
}

// Read is the connection's, and fails at what is not strictly a header.
func (c *strictConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.isHeader && !c.look(p[:n]) {
		return 0, errHeader
	}
	return n, err
}

// look reports whether all lines of a header are written properly.
func (c *strictConn) look(read []byte) bool {
	for c.isHeader && len(read) > 0 {
		if c.last == '\n' { // a line begins
			if read[0] == ' ' || read[0] == '\t' {
				return false
			}
			c.isBlank = read[0] == '\r'
		}
		end := bytes.IndexByte(read, '\n')
		switch end {
		case -1:
			c.isBlank = c.isBlank && len(read) == 1
			c.last = read[len(read)-1]
			return true
		case 0:
		default:
			c.last = read[end-1]
			c.isBlank = c.isBlank && end == 1
		}
		if c.last != '\r' {
			return false
		}
		c.isHeader = !c.isBlank
		c.last, c.isBlank = '\n', false
		read = read[end+1:]
	}
	return true
}
