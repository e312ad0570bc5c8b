package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// balancer hands requests to the servers that say that they are ready, in turn. As
// balancers do, it asks them several times a second, and tries nothing twice.
type balancer struct {
	addr  string
	backs []*back
	turn  atomic.Uint64
}

// back is a server behind the balancer.
type back struct {
	server    *server
	ready     atomic.Bool
	transport *http.Transport
	proxy     *httputil.ReverseProxy
}

const (
	askEvery      = 50 * time.Millisecond
	maxUnanswered = 3
)

func (t *Trial) newBalancer(servers []*server) (*balancer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &balancer{addr: listener.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	for _, s := range servers {
		back := newBack(s)
		back.ready.Store(true)
		b.backs = append(b.backs, back)
		go back.watch(ctx)
	}
	front := &http.Server{Handler: b, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = front.Serve(listener) }()
	t.atEnd(func() { cancel(); _ = front.Close() })
	return b, nil
}

func newBack(s *server) *back {
	b := &back{server: s, transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	b.proxy = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.addr})
	b.proxy.Transport = b.transport
	b.proxy.ErrorLog = log.New(io.Discard, "", 0)
	return b
}

// watch asks for readiness. Who says that it is not ready gets nothing any more; who
// doesn't answer, only after some tries, as with any balancer: it may be busy.
// Connections to a server that leaves are not kept.
func (b *back) watch(ctx context.Context) {
	unanswered := 0
	for pause(ctx, askEvery) == nil {
		within, cancel := context.WithTimeout(ctx, time.Second)
		_, err := b.server.readiness(within)
		cancel()
		unanswered++
		if err == nil || errors.Is(err, errNotReady) {
			unanswered = 0
		}
		if unanswered > 0 && unanswered < maxUnanswered {
			continue
		}
		if b.ready.Swap(err == nil) && err != nil {
			b.transport.CloseIdleConnections()
		}
	}
}

// ServeHTTP hands a request to the next server that is ready.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	turn := b.turn.Add(1) // taken once: others move it meanwhile, and each back is to be looked at
	for i := range b.backs {
		next := b.backs[(turn+uint64(i))%uint64(len(b.backs))]
		if next.ready.Load() {
			next.proxy.ServeHTTP(w, r)
			return
		}
	}
	http.Error(w, "no server is ready", http.StatusBadGateway)
}

// awaitAll waits until the balancer uses all servers.
func (b *balancer) awaitAll(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return poll(within, func() error {
		for _, back := range b.backs {
			if !back.ready.Load() {
				return fmt.Errorf("%s is not ready for the balancer", back.server.name)
			}
		}
		return nil
	})
}
