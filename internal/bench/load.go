package main

import (
	"bufio"
	"bytes"
	"context"
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

	"golang.org/x/time/rate"

	"rapport/api/webhook"
)

// delivery is a signed body.
type delivery struct {
	body      []byte
	signature string
}

// generator makes distinct, signed deliveries in the shape of today's session
// events: conversations of 20 messages, 1,000 of them at a time.
type generator struct {
	run string // tells the conversations of one generator from another's
	n   int64
}

var firstAt = time.Now().Add(-time.Hour).UnixMicro()

func (g *generator) next() delivery {
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
	return delivery{body, webhook.SignLegacy(secret, body)}
}

// load has a process of its own post to the address, so that the sender's
// memory is no burden on the server's, and returns the deliveries a second.
func load(ctx context.Context, addr string, o options) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, "-post", addr, "-connections", fmt.Sprint(o.connections), "-duration", o.duration.String(),
		"-rate", fmt.Sprint(o.rate), fmt.Sprintf("-forge=%v", o.forge))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// postAll posts from many connections at once, and prints the deliveries a
// second. The deliveries are made beforehand: signing is the sender's work.
func postAll(o options) error {
	debug.SetGCPercent(-1) // it ends soon
	g := generator{run: fmt.Sprint(os.Getpid())}
	perSecond := 60_000 // more than any server takes
	if o.rate > 0 {
		perSecond = o.rate
	}
	deliveries := make([]delivery, int(o.duration.Seconds()*float64(perSecond)))
	for i := range deliveries {
		deliveries[i] = g.next()
		if o.forge {
			deliveries[i].signature = forged
		}
	}
	pace := rate.NewLimiter(rate.Inf, 0)
	if o.rate > 0 {
		pace = rate.NewLimiter(rate.Limit(o.rate), o.connections)
	}
	var next, answered atomic.Int64
	var firstErr error
	var once sync.Once
	var wg sync.WaitGroup
	began := time.Now()
	end := began.Add(o.duration)
	for range o.connections {
		wg.Go(func() {
			connection, err := dial(o.post)
			if err != nil {
				once.Do(func() { firstErr = err })
				return
			}
			defer func() { _ = connection.conn.Close() }()
			sender := newSender(o.post, connection)
			sender.isRefused = o.forge
			for i := next.Add(1) - 1; i < int64(len(deliveries)) && time.Now().Before(end); i = next.Add(1) - 1 {
				_ = pace.Wait(context.Background())
				if err := sender.post(deliveries[i]); err != nil {
					once.Do(func() { firstErr = err })
					return
				}
				answered.Add(1)
			}
		})
	}
	wg.Wait()
	fmt.Println(float64(answered.Load()) / time.Since(began).Seconds())
	return firstErr
}

// sender posts deliveries over connections that it keeps.
type sender struct {
	url       string
	client    *http.Client
	isRefused bool // the deliveries are forged
}

func newSender(addr string, transport http.RoundTripper) *sender {
	return &sender{url: "http://" + addr + "/webhook", client: &http.Client{Transport: transport}}
}

// line is one connection, without the goroutines of http.Transport. All that is
// measured uses it: what a client spends is taken from the server, on one machine,
// and counts in latency and in the ratio of the rates alike.
type line struct {
	conn   net.Conn
	reader *bufio.Reader
}

func dial(addr string) (*line, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &line{conn, bufio.NewReader(conn)}, nil
}

// RoundTrip is for one request at a time.
func (l *line) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := request.Write(l.conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(l.reader, request)
}

// post sends one, and reads the whole answer. Anything but 200 is an error; of a
// forged one, anything but 401 and 429.
func (s *sender) post(d delivery) error {
	request, err := http.NewRequest(http.MethodPost, s.url, bytes.NewReader(d.body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-bitHuman-Signature", d.signature)
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if s.isRefused && (response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusTooManyRequests) {
		return nil
	}
	if s.isRefused || response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", response.Status)
	}
	return nil
}
