package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"rapport/api/webhook"
)

// generator makes distinct, signed deliveries in the shape of today's session
// events: conversations of 20 messages, 1,000 of them at a time.
type generator struct{ n atomic.Int64 }

func newGenerator() *generator { return &generator{} }

var start0 = time.Now().Add(-time.Hour).UnixMicro()

// request is a whole HTTP request.
func (g *generator) request() []byte {
	n := g.n.Add(1)
	session, role := n%1000+1000*(n/20000), "user"
	if n/1000%2 == 1 {
		role = "assistant"
	}
	at := start0 + 1000*n
	stamp := fmt.Sprintf("%d.%06d", at/1e6, at%1e6)
	body := fmt.Appendf(nil, `{"agent_id":"A80HVD8577","event_type":"chat.push","data":{"role":%q,`+
		`"message":"I would like a table for %d people at half past eleven, please.",`+
		`"session_id":"8d947f06-2c36-4d98-%p-%012d","timestamp":%s},"timestamp":%s}`,
		role, n%12, g, session, stamp, stamp)
	return fmt.Appendf(nil, "POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"+
		"X-bitHuman-Signature: %s\r\nContent-Length: %d\r\n\r\n%s", webhook.SignLegacy(secret, body), len(body), body)
}

// load posts from many connections at once, and returns the deliveries a second.
// The requests are made beforehand: signing is the sender's work.
func load(addr string, o options, g *generator) (float64, error) {
	requests := make([][]byte, int(o.duration.Seconds()*60_000))
	for i := range requests {
		requests[i] = g.request()
	}
	var next, answered atomic.Int64
	var firstErr error
	var once sync.Once
	var wg sync.WaitGroup
	began := time.Now()
	end := began.Add(o.duration)
	for range o.connections {
		wg.Go(func() {
			if err := post(addr, requests, &next, &answered, end); err != nil {
				once.Do(func() { firstErr = err })
			}
		})
	}
	wg.Wait()
	return float64(answered.Load()) / time.Since(began).Seconds(), firstErr
}

func post(addr string, requests [][]byte, next, answered *atomic.Int64, end time.Time) error {
	client, err := dial(addr)
	if err != nil {
		return err
	}
	defer client.close()
	for time.Now().Before(end) {
		i := next.Add(1) - 1
		if i >= int64(len(requests)) {
			return errors.New("the deliveries ran out before the time: shorten -duration")
		}
		status, err := client.post(requests[i])
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("answered %d", status)
		}
		answered.Add(1)
	}
	return nil
}

// client is an HTTP client that costs as little as one can.
type client struct {
	conn   net.Conn
	reader *bufio.Reader
}

func dial(addr string) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, reader: bufio.NewReader(conn)}, nil
}

func (c *client) close() { _ = c.conn.Close() }

// post sends a request, reads the whole answer, and returns its status.
func (c *client) post(request []byte) (int, error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 {
		return 0, fmt.Errorf("not an HTTP answer: %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, err
	}
	length := 0
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	_, err = io.CopyN(io.Discard, c.reader, int64(length))
	return status, err
}
