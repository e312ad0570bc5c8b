package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rapport/api/webhook"
)

// generator makes distinct, signed deliveries in the shape of today's session
// events: conversations of 20 messages, 1,000 of them at a time.
type generator struct {
	run string // tells the conversations of one generator from another's
	n   int64
}

var firstAt = time.Now().Add(-time.Hour).UnixMicro()

// request is a whole HTTP request.
func (g *generator) request() []byte {
	g.n++
	session, role := g.n%1000+1000*(g.n/20000), "user"
	if g.n/1000%2 == 1 {
		role = "assistant"
	}
	at := firstAt + 1000*g.n
	stamp := fmt.Sprintf("%d.%06d", at/1e6, at%1e6)
	body := fmt.Appendf(nil, `{"agent_id":"A80HVD8577","event_type":"chat.push","data":{"role":%q,`+
		`"message":"I would like a table for %d people at half past eleven, please.",`+
		`"session_id":"8d947f06-2c36-4d98-%s-%012d","timestamp":%s},"timestamp":%s}`,
		role, g.n%12, g.run, session, stamp, stamp)
	return fmt.Appendf(nil, "POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"+
		"X-bitHuman-Signature: %s\r\nContent-Length: %d\r\n\r\n%s", webhook.SignLegacy(secret, body), len(body), body)
}

// load has a process of its own post to the address, so that the sender's
// memory is no burden on the server's, and returns the deliveries a second.
func load(addr string, o options) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, "-post", addr, "-connections", fmt.Sprint(o.connections), "-duration", o.duration.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// postAll posts from many connections at once, and prints the deliveries a
// second. The requests are made beforehand: signing is the sender's work.
func postAll(o options) error {
	debug.SetGCPercent(-1) // it ends soon
	g := generator{run: fmt.Sprint(os.Getpid())}
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
			if err := post(o.post, requests, &next, &answered, end); err != nil {
				once.Do(func() { firstErr = err })
			}
		})
	}
	wg.Wait()
	fmt.Println(float64(answered.Load()) / time.Since(began).Seconds())
	return firstErr
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
