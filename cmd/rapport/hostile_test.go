package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rapport/api/webhook"
)

// wrongSignature is one that only the body can refute.
var wrongSignature = "sha256=" + strings.Repeat("0", 64)

// raw opens a connection to a server, for what no client library sends.
func (p *process) raw() net.Conn {
	p.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.base, "http://"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answers are the statuses of all that is answered until the connection is closed,
// or nothing more comes.
func answers(t *testing.T, conn net.Conn) (statuses []int, closed bool) {
	t.Helper()
	reader := bufio.NewReader(conn)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			timeout, isNet := errors.AsType[net.Error](err)
			return statuses, !isNet || !timeout.Timeout()
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		statuses = append(statuses, response.StatusCode)
	}
}

// proven sends deliveries with a right signature, which must all be kept.
func (p *process) proven(n int, session string) {
	p.t.Helper()
	for i := range n {
		body := chat(session, fmt.Sprint("message ", i), 1790000000+float64(i))
		if got := p.post(body, "X-bitHuman-Signature", webhook.SignLegacy("secret", []byte(body))); got.Code != 200 {
			p.t.Errorf("a proven delivery: %+v", got)
		}
	}
}

func TestSlowClientsStopNobody(t *testing.T) {
	t.Parallel()
	p := serve(t, []string{"--max-connections", "200"}, "RAPPORT_WEBHOOK_SECRET=secret")
	var cut atomic.Int64
	var clients sync.WaitGroup
	dribble := func(request string) {
		conn := p.raw()
		clients.Go(func() {
			_, _ = io.WriteString(conn, request)
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if _, err := io.WriteString(conn, "x"); err != nil {
					cut.Add(1)
					return
				}
			}
		})
	}
	for range 60 {
		dribble("POST /webhook HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		dribble("POST /webhook HTTP/1.1\r\nHost: x\r\nX-bitHuman-Signature: " + wrongSignature + "\r\nContent-Length: 100000\r\n\r\n")
		dribble("POST /webhook HTTP/1.1\r\nHost: x\r\nX-bitHuman-Signature: " + wrongSignature + "\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n")
	}
	began := time.Now()
	p.proven(20, "beside-slow-clients")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("20 deliveries took %v", took)
	}
	eventually(t, "all of them are cut off", func() bool { return cut.Load() == 180 })
	clients.Wait()
	p.proven(1, "after-slow-clients")
}

func TestMoreConnectionsThanThereMayBe(t *testing.T) {
	t.Parallel()
	p := serve(t, []string{"--max-connections", "20"}, "RAPPORT_WEBHOOK_SECRET=secret")
	var kept int
	for range 15 { // each would keep its connection, as idle
		conn := p.raw()
		_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !response.Close {
			kept++
		}
	}
	if kept > 10 {
		t.Errorf("%d connections of 20 are kept by those who have no need of them", kept)
	}
	p.proven(5, "in-a-crowd")
}

func TestHostileSizes(t *testing.T) {
	t.Parallel()
	p := serve(t, nil, "RAPPORT_WEBHOOK_SECRET=secret", "RAPPORT_WEBHOOK_TOKEN=token")
	proof := "X-bitHuman-Signature: " + wrongSignature + "\r\n"

	t.Run("a body without an end", func(t *testing.T) {
		conn := p.raw()
		_, _ = io.WriteString(conn, "POST /webhook HTTP/1.1\r\nHost: x\r\n"+proof+"Transfer-Encoding: chunked\r\n\r\n")
		chunk := []byte("10000\r\n" + strings.Repeat("x", 1<<16) + "\r\n")
		sent := 0
		for ; sent < 1<<30; sent += len(chunk) {
			if _, err := conn.Write(chunk); err != nil {
				break
			}
		}
		if sent > 64<<20 {
			t.Errorf("%d bytes were taken", sent)
		}
	})
	t.Run("a declared length that is too much is answered at once", func(t *testing.T) {
		conn := p.raw()
		_, _ = io.WriteString(conn, "POST /webhook HTTP/1.1\r\nHost: x\r\n"+proof+"Content-Length: 99999999999\r\n\r\n")
		if got, closed := answers(t, conn); fmt.Sprint(got) != "[413]" || !closed {
			t.Errorf("got %v, closed: %v", got, closed)
		}
	})
	t.Run("huge headers", func(t *testing.T) {
		for name, headers := range map[string]string{
			"one":  "X: " + strings.Repeat("x", 100<<10) + "\r\n",
			"many": strings.Repeat("X: x\r\n", 20<<10),
			"name": strings.Repeat("x", 100<<10) + ": x\r\n",
		} {
			conn := p.raw()
			go func() { _, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n"+headers+"\r\n") }()
			if got, closed := answers(t, conn); fmt.Sprint(got) != "[431]" || !closed {
				t.Errorf("%s: got %v, closed: %v", name, got, closed)
			}
		}
	})
	t.Run("a huge path", func(t *testing.T) {
		conn := p.raw()
		go func() {
			_, _ = io.WriteString(conn, "GET /"+strings.Repeat("x", 100<<10)+" HTTP/1.1\r\nHost: x\r\n\r\n")
		}()
		if got, closed := answers(t, conn); fmt.Sprint(got) != "[431]" || !closed {
			t.Errorf("got %v, closed: %v", got, closed)
		}
	})
	t.Run("a bomb is not unpacked, whatever proof it has", func(t *testing.T) {
		var bomb bytes.Buffer
		packer := gzip.NewWriter(&bomb)
		_, _ = packer.Write(make([]byte, 100<<20))
		_ = packer.Close()
		if got := p.post(bomb.String(), "X-API-Key", "token", "Content-Encoding", "gzip"); got.Code != 415 {
			t.Errorf("got %+v", got)
		}
	})
	p.proven(1, "after-hostile-sizes")
	p.terminate()
}

// Somebody before us, a proxy, may read such requests otherwise than we do: so each
// is refused, or is the last of its connection. What would be a second request
// then stays without an answer.
func TestRequestsThatCanBeReadInTwoWays(t *testing.T) {
	t.Parallel()
	p := serve(t, nil, "RAPPORT_WEBHOOK_TOKEN=token")
	const begin = "POST /webhook HTTP/1.1\r\nHost: x\r\n"
	const second = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, request := range map[string]string{
		"a length and chunks":              begin + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
		"chunks and a length":              begin + "Transfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\n" + second,
		"two lengths":                      begin + "Content-Length: 0\r\nContent-Length: 40\r\n\r\n" + second,
		"two lengths in one":               begin + "Content-Length: 0, 40\r\n\r\n" + second,
		"a length with a plus":             begin + "Content-Length: +0\r\n\r\n" + second,
		"a length with a minus":            begin + "Content-Length: -1\r\n\r\n" + second,
		"a length in hex":                  begin + "Content-Length: 0x0\r\n\r\n" + second,
		"no length":                        begin + "Content-Length: \r\n\r\n" + second,
		"a length with a space before":     begin + "Content-Length : 0\r\n\r\n" + second,
		"chunked, identity":                begin + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + second,
		"identity, chunked":                begin + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + second,
		"chunked twice":                    begin + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
		"gzip":                             begin + "Transfer-Encoding: gzip\r\n\r\n" + second,
		"xchunked":                         begin + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + second,
		"chunked after a tab":              begin + "Transfer-Encoding:\tchunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\n" + second,
		"chunked after a vertical tab":     begin + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + second,
		"chunked in HTTP/1.0":              "POST /webhook HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + second,
		"a folded line":                    begin + "X: a\r\n Content-Length: 40\r\nContent-Length: 0\r\n\r\n" + second,
		"a folded encoding":                begin + "Transfer-Encoding:\r\n chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\n" + second,
		"a folded first line":              "GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n" + second,
		"a bare LF before a length":        begin + "X: a\nContent-Length: 40\r\nContent-Length: 0\r\n\r\n" + second,
		"a bare LF before an encoding":     begin + "Content-Length: 60\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
		"bare LFs alone":                   "GET /healthz HTTP/1.1\nHost: x\n\n" + second,
		"a bare LF as the headers' end":    "GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\n\n" + second,
		"a bare CR in a header":            begin + "X: a\rContent-Length: 40\r\n\r\n" + second,
		"a bare CR as the headers' end":    begin + "X: a\r\r\n\r\n" + second,
		"a NUL in a header":                begin + "X: a\x00\r\n\r\n" + second,
		"a chunk that ends in a bare LF":   begin + "Transfer-Encoding: chunked\r\n\r\n0\n\r\n" + second,
		"a chunk's extension with an LF":   begin + "Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n" + second,
		"a chunk of a negative size":       begin + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + second,
		"a chunk of a huge size":           begin + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n" + second,
		"a chunk with 0x":                  begin + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + second,
		"two hosts":                        "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + second,
		"no host":                          "GET /healthz HTTP/1.1\r\n\r\n" + second,
		"a space in the path":              "GET /healthz x HTTP/1.1\r\nHost: x\r\n\r\n" + second,
		"a space before the first header":  "GET /healthz HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n" + second,
		"an upgrade to HTTP/2, in between": begin + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := p.raw()
			_, _ = io.WriteString(conn, request)
			got, closed := answers(t, conn)
			if len(got) > 1 || !closed {
				t.Errorf("answered %v, closed: %v", got, closed)
			}
			if len(got) == 1 && (got[0] < 400 || got[0] >= 500) && got[0] != 501 && got[0] != 505 {
				t.Errorf("answered %v", got)
			}
		})
	}
}

func TestWrongSignaturesBesideValidTraffic(t *testing.T) {
	t.Parallel()
	p := serve(t, []string{"--unproven-rate", "30"}, "RAPPORT_WEBHOOK_SECRET=secret")
	var refused, limited, others atomic.Int64
	stop := make(chan struct{})
	var attackers sync.WaitGroup
	for range 4 {
		attackers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := p.tryPost(roomJoin, "X-bitHuman-Signature", wrongSignature)
				switch {
				case err != nil:
					others.Add(1)
				case got.Code == 401:
					refused.Add(1)
				case got.Code == 429:
					limited.Add(1)
				default:
					others.Add(1)
				}
			}
		})
	}
	p.proven(100, "beside-an-attack") // from the same address
	close(stop)
	attackers.Wait()
	const mostUnproven = 2 * 30 // where a minute ends meanwhile
	if others.Load() != 0 || refused.Load() == 0 || refused.Load() > mostUnproven || limited.Load() == 0 {
		t.Errorf("401: %d, 429: %d, anything else: %d", refused.Load(), limited.Load(), others.Load())
	}
	if n := strings.Count(p.output(), "a delivery was refused"); n > 60 {
		t.Errorf("the log has %d lines of it", n)
	}
	last := chat("beside-an-attack", "the last one", 1790001000)
	if got := p.post(last, "X-bitHuman-Signature", webhook.SignLegacy("secret", []byte(last))); got.Position != 101 {
		t.Errorf("not exactly the proven ones are in the log: %+v", got)
	}
}
