package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// deliveries are when each event was sent, and answered, since the begin.
type deliveries struct {
	began    time.Time
	sent     []atomic.Int64 // ns
	answered []atomic.Int64 // ns; 0: not yet
}

// crowd has the streams.
type crowd struct {
	conns []net.Conn
	*deliveries
	heard   atomic.Int64
	reading sync.WaitGroup

	mu          sync.Mutex
	fromCommit  latency // guarded by mu
	fromSending latency // guarded by mu
}

// gather opens the streams, a few at a time.
func gather(ctx context.Context, addr string, o options) (*crowd, error) {
	events := o.rate * (int(o.during/time.Second) + 1)
	c := &crowd{deliveries: &deliveries{began: time.Now(), sent: make([]atomic.Int64, events), answered: make([]atomic.Int64, events)}}
	for i := range o.streams {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		query := "?kind=event"
		if i >= o.hearers {
			query = "?agent_id=silent"
		}
		conn, lines, err := open(addr, query)
		if err != nil {
			c.leave()
			return nil, fmt.Errorf("stream %d: %w", i+1, err)
		}
		c.conns = append(c.conns, conn)
		if i < o.hearers {
			c.reading.Go(func() { c.hear(lines) })
		}
	}
	return c, nil
}

// open opens a stream, and reads up to its begin.
func open(addr, query string) (net.Conn, *bufio.Reader, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	if _, err := fmt.Fprintf(conn, "GET /live%s HTTP/1.1\r\nHost: localhost\r\n\r\n", query); err != nil {
		return nil, nil, err
	}
	lines := bufio.NewReaderSize(conn, 4<<10)
	for begun := false; !begun; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil, nil, err
		}
		if strings.HasPrefix(line, "HTTP/1.1 ") && !strings.HasPrefix(line, "HTTP/1.1 200") {
			return nil, nil, errors.New(strings.TrimSpace(line))
		}
		begun = strings.HasPrefix(line, "id:")
	}
	return conn, lines, nil
}

var textMark = []byte(`"message":"event `)

// hear notes when each event comes.
func (c *crowd) hear(lines *bufio.Reader) {
	var fromCommit, fromSending latency
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := range fromCommit {
			c.fromCommit[i] += fromCommit[i]
			c.fromSending[i] += fromSending[i]
		}
	}()
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		_, text, ok := bytes.Cut(line, textMark)
		if !ok {
			continue
		}
		number, _, _ := bytes.Cut(text, []byte{'"'})
		n, err := strconv.Atoi(string(number))
		if err != nil {
			continue
		}
		now := time.Since(c.began)
		fromSending.add(now - time.Duration(c.sent[n].Load()))
		sinceAnswer := time.Duration(0) // it came before the answer did
		if answered := c.answered[n].Load(); answered > 0 {
			sinceAnswer = now - time.Duration(answered)
		}
		fromCommit.add(sinceAnswer)
		c.heard.Add(1)
	}
}

// await waits until all has come, or nothing more does.
func (c *crowd) await(ctx context.Context) int {
	last := int64(-1)
	for heard := c.heard.Load(); heard != last && ctx.Err() == nil; heard = c.heard.Load() {
		last = heard
		time.Sleep(2 * time.Second)
	}
	return int(c.heard.Load())
}

func (c *crowd) leave() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.reading.Wait()
}

func (c *crowd) latencies() (fromCommit, fromSending *latency) {
	c.leave() // which adds them up
	return &c.fromCommit, &c.fromSending
}

// senders is how many deliveries are under way at once, at most.
const senders = 16

// deliver posts events at an even pace, and tells how many.
func deliver(ctx context.Context, addr string, o options, c *crowd) (int, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}, Timeout: 30 * time.Second}
	numbers := make(chan int)
	failed := make(chan error, senders)
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			for n := range numbers {
				if err := c.post(ctx, client, addr, n); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	total := o.rate * int(o.during/time.Second)
	tick := time.NewTicker(time.Second / time.Duration(o.rate))
	defer tick.Stop()
	var err error
	for n := 0; n < total && err == nil; n++ {
		select {
		case <-tick.C:
			select {
			case numbers <- n:
			case err = <-failed:
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	close(numbers)
	sending.Wait()
	return total, err
}

func (c *crowd) post(ctx context.Context, client *http.Client, addr string, n int) error {
	at := float64(time.Now().UnixMicro()) / 1e6
	body := fmt.Sprintf(`{"agent_id":"A80HVD8577","event_type":"chat.push","data":{"role":"user","message":"event %d","session_id":"s%d","timestamp":%f},"timestamp":%f}`,
		n, n%200, at, at)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/webhook", strings.NewReader(body))
	if err != nil {
		return err
	}
	c.sent[n].Store(int64(time.Since(c.began)))
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	c.answered[n].Store(int64(time.Since(c.began)))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("a delivery is answered %s", answer.Status)
	}
	return nil
}
