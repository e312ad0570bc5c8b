package chaos

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// proxy stands between servers and their Postgres, and does them harm. It reads
// the protocol's messages, for only so can the one answer be swallowed that says
// that a transaction was committed.
type proxy struct {
	listener net.Listener
	dial     func() (net.Conn, error)

	mu        sync.Mutex
	links     map[*link]bool // guarded by mu
	open      chan struct{}  // closed while bytes pass; guarded by mu
	delay     time.Duration  // of each message; guarded by mu
	swallow   *swallow       // what is to happen to the next append; guarded by mu
	running   sync.WaitGroup
	closeOnce sync.Once
}

// swallow is a commit whose answer is not to arrive.
type swallow struct {
	linger    time.Duration // how long the client is left waiting before the connection is cut
	done      chan struct{} // closed when it has happened
	committed bool          // and not failed; to be read after done
}

// link is one connection through the proxy.
type link struct {
	proxy          *proxy
	client, server net.Conn
	ended          chan struct{}
	once           sync.Once
	appends        map[string]bool // statements that append; of the client's direction alone

	completed bool // the append, whose answer is swallowed; of the server's direction alone

	mu      sync.Mutex
	swallow *swallow // guarded by mu
}

// newProxy makes a proxy to a Postgres.
func (t *Trial) newProxy(p *postgres) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	x := &proxy{listener: listener, dial: p.dial, links: make(map[*link]bool), open: make(chan struct{})}
	close(x.open)
	x.running.Go(x.accept)
	t.atEnd(x.close)
	return x, nil
}

// url is the way through the proxy.
func (x *proxy) url(role string) string {
	return fmt.Sprintf("postgres://%s@%s/rapport?sslmode=disable", role, x.listener.Addr())
}

func (x *proxy) close() {
	x.closeOnce.Do(func() {
		_ = x.listener.Close()
		x.cut()
		x.running.Wait()
	})
}

func (x *proxy) accept() {
	for {
		client, err := x.listener.Accept()
		if err != nil {
			return
		}
		x.running.Go(func() { x.connect(client) })
	}
}

func (x *proxy) connect(client net.Conn) {
	server, err := x.dial()
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{proxy: x, client: client, server: server, ended: make(chan struct{}), appends: make(map[string]bool)}
	x.mu.Lock()
	x.links[l] = true
	x.mu.Unlock()
	x.running.Go(func() { l.pump(server, client, l.fromClient) })
	l.pump(client, server, l.fromServer)
	x.mu.Lock()
	delete(x.links, l)
	x.mu.Unlock()
}

// cut cuts the connections that there are.
func (x *proxy) cut() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for l := range x.links {
		l.end()
	}
}

// cutSome cuts those connections that are picked.
func (x *proxy) cutSome(pick func() bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for l := range x.links {
		if pick() {
			l.end()
		}
	}
}

// stall lets no byte pass, and cuts nothing, as a network does that loses all; until
// resume.
func (x *proxy) stall() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.open = make(chan struct{})
}

func (x *proxy) resume() {
	x.mu.Lock()
	defer x.mu.Unlock()
	close(x.open)
}

// slow delays every message by so much.
func (x *proxy) slow(delay time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.delay = delay
}

// swallowNext has the answer to the next commit of an append swallowed.
func (x *proxy) swallowNext(linger time.Duration) *swallow {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.swallow = &swallow{linger: linger, done: make(chan struct{})}
	return x.swallow
}

// end cuts the connection, both ways.
func (l *link) end() {
	l.once.Do(func() {
		close(l.ended)
		_ = l.client.Close()
		_ = l.server.Close()
	})
}

// pump takes messages from one side to the other, until either ends.
func (l *link) pump(to io.Writer, from io.Reader, look func(*frame) (pass bool)) {
	defer l.end()
	r, w := bufio.NewReaderSize(from, 64<<10), bufio.NewWriterSize(to, 64<<10)
	for first := from == l.client; ; first = false {
		f, err := readFrame(r, first)
		if err != nil || !l.wait() {
			return
		}
		if !look(&f) {
			_, err = io.CopyN(io.Discard, r, f.length)
		} else {
			err = f.forward(r, w)
		}
		if err == nil && r.Buffered() == 0 {
			err = w.Flush()
		}
		if err != nil {
			return
		}
	}
}

// wait holds a message up, if that is asked for. It is false once the link has ended.
func (l *link) wait() bool {
	l.proxy.mu.Lock()
	open, delay := l.proxy.open, l.proxy.delay
	l.proxy.mu.Unlock()
	select {
	case <-open:
	case <-l.ended:
		return false
	}
	return delay == 0 || l.sleep(delay)
}

func (l *link) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ended:
		return false
	}
}

// fromClient learns which statements append, and whether this is the one whose
// answer is to be swallowed.
func (l *link) fromClient(f *frame) bool {
	switch f.kind {
	case frontParse:
		if name, query := f.strings(); strings.Contains(query, "append_events(") {
			l.appends[name] = true
		}
	case frontBind:
		if _, statement := f.strings(); l.appends[statement] {
			l.proxy.mu.Lock()
			asked := l.proxy.swallow
			l.proxy.swallow = nil
			l.proxy.mu.Unlock()
			if asked != nil {
				l.mu.Lock()
				l.swallow = asked
				l.mu.Unlock()
			}
		}
	}
	return true
}

// fromServer swallows the answer to a commit, all of it. It is committed once
// Postgres is ready for more; before that a part of a long answer may have come.
func (l *link) fromServer(f *frame) bool {
	l.mu.Lock()
	asked := l.swallow
	l.mu.Unlock()
	if asked == nil {
		return true
	}
	switch f.kind {
	case backComplete:
		l.completed = true
	case backReadyForMore:
		asked.committed = l.completed
		close(asked.done)
		l.sleep(asked.linger)
		l.end()
	}
	return false
}
