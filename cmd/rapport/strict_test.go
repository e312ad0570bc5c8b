package main

import (
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func TestHeadersAreReadStrictly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                true,
		"GET / HTTP/1.1\r\n\r\nbody\nof lines\n folded":    true,
		"POST / HTTP/1.1\r\nX: a b\tc\r\n\r\n\r\n\n":       true,
		"GET / HTTP/1.1\r\nX: \r\nY:\r\n\r\n":              true,
		"GET / HTTP/1.1\nHost: x\r\n\r\n":                  false,
		"GET / HTTP/1.1\r\nHost: x\n\r\n":                  false,
		"GET / HTTP/1.1\r\nHost: x\r\n\n":                  false,
		"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n":     false,
		"GET / HTTP/1.1\r\n\tHost: x\r\n\r\n":              false,
		"GET / HTTP/1.1\r\nX: a\r\n \r\n\r\n":              false,
		"GET / HTTP/1.1\r\nX: a\r\r\n\r\nb\n":              true, // net/http refuses the CR
		"GET / HTTP/1.1\r\nX: a\r\n\rb\r\n\r\n then\nmore": true, // and this one
	} {
		whole := &strictConn{isHeader: true}
		if got := whole.look([]byte(text)); got != want {
			t.Errorf("%q: got %v", text, got)
		}
		bytewise := &strictConn{isHeader: true}
		reader, got := iotest.OneByteReader(strings.NewReader(text)), true
		for buf := make([]byte, 8); got; {
			n, err := reader.Read(buf)
			if err != nil {
				break
			}
			if bytewise.isHeader {
				got = bytewise.look(buf[:n])
			}
		}
		if got != want {
			t.Errorf("%q, byte by byte: got %v", text, got)
		}
	}
}

func TestEachRequestOfAConnectionHasAHeader(t *testing.T) {
	t.Parallel()
	c := &strictConn{isHeader: true}
	if !c.look([]byte("POST / HTTP/1.1\r\nHost: x\r\n\r\na\nb\n")) || c.isHeader {
		t.Error("the body is taken for a header")
	}
	c.track(http.StateActive)
	if c.isHeader {
		t.Error("the body is taken for a header once it is read")
	}
	c.track(http.StateIdle)
	if c.look([]byte("GET / HTTP/1.1\r\nX: a\n\r\n")) {
		t.Error("the second header is not looked at")
	}
}
