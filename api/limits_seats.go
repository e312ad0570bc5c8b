package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"rapport/api/dashboard"
)

// seatPatience is for how long a request waits for a seat among those that are
// answered at once.
const seatPatience = 5 * time.Second

// A seat is one of those that are given to so many at once.
type seat struct {
	among chan struct{}
	held  bool
}

// take waits for a seat, at most for a time. It reports whether it got it.
func (p *seat) take(ctx context.Context, patience time.Duration) bool {
	select {
	case p.among <- struct{}{}:
		p.held = true
		return true
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case p.among <- struct{}{}:
		p.held = true
	case <-timer.C:
	case <-ctx.Done():
	}
	return p.held
}

// leave gives a seat back, if it is held.
func (p *seat) leave() {
	if p.held {
		<-p.among
		p.held = false
	}
}

// shares are seats of which each client gets a part only: whoever takes them all and
// is slow would keep everybody else out.
type shares struct {
	seats chan struct{}
	most  int // of one client

	mu sync.Mutex
	of map[string]*share // of clients that have a seat, or wait for one; guarded by mu
}

type share struct {
	seats chan struct{}
	users int // guarded by shares.mu
}

func newShares(seats, most int) *shares {
	return &shares{seats: make(chan struct{}, seats), most: most, of: make(map[string]*share)}
}

// take waits for a seat, at most for a time. Who gets one calls leave.
func (s *shares) take(ctx context.Context, client string, patience time.Duration) (leave func(), ok bool) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	own := &seat{among: s.join(client)}
	common := &seat{among: s.seats}
	leave = func() {
		common.leave()
		own.leave()
		s.part(client)
	}
	if !own.take(limited, patience) || !common.take(limited, patience) {
		leave()
		return nil, false
	}
	return leave, true
}

func (s *shares) join(client string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[client] == nil {
		s.of[client] = &share{seats: make(chan struct{}, s.most)}
	}
	s.of[client].users++
	return s.of[client].seats
}

func (s *shares) part(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[client].users--; s.of[client].users == 0 {
		delete(s.of, client)
	}
}

type seatKey struct{}

// limitReads bounds how many requests are at work at once, so that readers can't
// take what deliveries need. Deliveries and probes aren't counted.
func (s *server) limitReads(next http.Handler) http.Handler {
	if s.limits.reads == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isUnlimited(r.URL.Path) || probes[r.URL.Path] || dashboard.IsPath(r.URL.Path) { // a page's questions are counted
			next.ServeHTTP(w, r)
			return
		}
		p := &seat{among: s.limits.reads}
		if !p.take(r.Context(), seatPatience) {
			s.Metrics.limited.WithLabelValues("reads").Inc()
			tooManyReads().write(w)
			return
		}
		defer p.leave()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), seatKey{}, p)))
	})
}

func tooManyReads() *problem {
	return tryAgain("as many reads are being answered as the server answers at once (--max-reads); try again")
}

// withoutSeat runs what only waits: meanwhile another request has its seat.
func withoutSeat(ctx context.Context, wait func() error) error {
	p, isCounted := ctx.Value(seatKey{}).(*seat)
	if !isCounted {
		return wait()
	}
	p.leave()
	err := wait()
	if !p.take(ctx, seatPatience) && err == nil {
		return tooManyReads()
	}
	return err
}

// elsewhere runs what waits for the client, without the seat, and then waits for one
// for as long as the client does: a stream that has begun would be cut, if it were
// refused.
func elsewhere(ctx context.Context, do func() error) error {
	p, isCounted := ctx.Value(seatKey{}).(*seat)
	if !isCounted {
		return do()
	}
	p.leave()
	if err := do(); err != nil {
		return err
	}
	for !p.take(ctx, seatPatience) {
		if ctx.Err() != nil {
			return errClientGone
		}
	}
	return nil
}
