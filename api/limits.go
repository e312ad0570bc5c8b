package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/go-chi/httprate"

	"rapport/api/access"
)

// Limits are how much is answered to whom. 0 is no limit.
//
// A proven delivery has none: its sender may send it only once. So it is verified
// first, whatever its address has sent before; all else that has no valid proof
// costs no more than a look at a table, from an address over its limit.
type Limits struct {
	KeyRate      int // requests a second that carry one API key
	UnprovenRate int // requests a minute without a valid proof that one address may send
	Reads        int // requests, other than deliveries and probes, that are answered at once

	Hold time.Duration // what an address over UnprovenRate waits for each refusal, on average
}

// RefusalHold is the Limits.Hold that a server should have. Who floods it comes no
// faster than its connections are let go; who is only mistaken hardly notices.
const RefusalHold = time.Second

// maxHeld is how many requests wait for their refusal at once, over all addresses:
// about 16 kB of memory each. What else is refused is refused at once.
const maxHeld = 4096

// Check tells whether there can be such limits.
func (l Limits) Check() error {
	if l.KeyRate < 0 || l.UnprovenRate < 0 || l.Reads < 0 || l.Hold < 0 {
		return errors.New("limits must be at least 0")
	}
	return nil
}

// rateLimit counts requests by what they have in common. nil counts nothing.
type rateLimit struct {
	limiter *httprate.RateLimiter
	most    int
	window  time.Duration
	detail  string
}

// newRateLimit makes a limit that counts at most maxCounted different keys.
func newRateLimit(most int, window time.Duration, detail string) *rateLimit {
	if most == 0 {
		return nil
	}
	headers := httprate.ResponseHeaders{Limit: "RateLimit-Limit", Remaining: "RateLimit-Remaining", RetryAfter: "Retry-After"}
	limiter := httprate.NewRateLimiter(most, window,
		httprate.WithLimitCounter(&counter{}), httprate.WithResponseHeaders(headers))
	return &rateLimit{limiter, most, window, detail}
}

// spend counts a request, and reports whether that was one too many. It tells the
// client in the headers RateLimit-….
func (l *rateLimit) spend(w http.ResponseWriter, r *http.Request, key string) (over bool) {
	if l == nil {
		return false
	}
	w.Header().Set("RateLimit-Reset", l.seconds())
	return l.limiter.OnLimit(w, r, key)
}

// isOver reports whether another request would be one too many, and counts none.
func (l *rateLimit) isOver(key string) bool {
	if l == nil {
		return false
	}
	_, rate, err := l.limiter.Status(key)
	return err == nil && math.Round(rate)+1 > float64(l.most) // as spend has it
}

// refusal is the answer to one too many.
func (l *rateLimit) refusal() *problem {
	p := newProblem(http.StatusTooManyRequests, l.detail)
	p.headers = http.Header{
		"Retry-After":         {l.seconds()},
		"Ratelimit-Limit":     {strconv.Itoa(l.most)},
		"Ratelimit-Remaining": {"0"},
		"Ratelimit-Reset":     {l.seconds()},
	}
	return p
}

func (l *rateLimit) seconds() string { return strconv.Itoa(int(l.window / time.Second)) }

// limiters are the limits at work.
type limiters struct {
	keys     *rateLimit
	unproven *rateLimit
	reads    chan struct{} // a seat each; nil: any number
	streams  *shares       // a seat for each list that is streamed; nil: any number
	bodies   *shares       // a seat for each large body that may turn out to be proven
	proven   chan struct{} // a seat for each large body that is proven already
	held     chan struct{} // a seat for each request that waits for its refusal
	hold     time.Duration
}

func newLimiters(l Limits, maxBodyBytes int64) limiters {
	made := limiters{
		keys: newRateLimit(l.KeyRate, time.Second,
			fmt.Sprintf("more than %d requests in a second carry this API key (--api-rate)", l.KeyRate)),
		unproven: newRateLimit(l.UnprovenRate, time.Minute,
			fmt.Sprintf("more than %d requests in a minute came from your address without a valid proof (--unproven-rate)", l.UnprovenRate)),
	}
	made.held, made.hold = make(chan struct{}, maxHeld), l.Hold
	seats := int(max(4, largeBodies/2/maxBodyBytes))
	made.bodies, made.proven = newShares(seats, max(1, seats/8)), make(chan struct{}, seats)
	if l.Reads > 0 {
		made.reads = make(chan struct{}, l.Reads)
		made.streams = newShares(l.Reads, max(1, l.Reads/4))
	}
	return made
}

// isUnlimited tells of paths that are answered whoever asks, and however often:
// deliveries have a rule of their own, and what probes ask is not for clients.
func isUnlimited(path string) bool {
	return isDeliveryPath(path) || path == "/healthz" || path == "/readyz"
}

// limitUnproven refuses addresses that have sent too much without a valid key,
// before more than the key is looked at; deliveries and probes apart. Every answer
// 401 counts. Who has a valid key is let in all the same: others may send from the
// same address, behind a proxy or in an office.
func (s *server) limitUnproven(next http.Handler) http.Handler {
	if s.limits.unproven == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isUnlimited(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		key := limitKey(clientOf(r))
		if s.limits.unproven.isOver(key) && !s.seemsKnown(r) {
			s.Metrics.limited.WithLabelValues("unproven").Inc()
			s.limits.holdBack(r.Context())
			s.limits.unproven.refusal().write(w)
			return
		}
		next.ServeHTTP(&unprovenCounter{ResponseWriter: w, r: r, limit: s.limits.unproven, key: key}, r)
	})
}

// unprovenCounter counts an answer 401 just before it goes out, so that its
// headers can tell.
type unprovenCounter struct {
	http.ResponseWriter
	r     *http.Request
	limit *rateLimit
	key   string
}

func (c *unprovenCounter) WriteHeader(status int) {
	if status == http.StatusUnauthorized {
		c.limit.spend(c.ResponseWriter, c.r, c.key)
	}
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (c *unprovenCounter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// holdBack lets somebody who sends too much wait, while there are seats. It holds
// nothing but the connection. Not all wait equally long: who came together would come
// together again.
func (l *limiters) holdBack(ctx context.Context) {
	select {
	case l.held <- struct{}{}:
	default:
		return
	}
	defer func() { <-l.held }()
	over := time.NewTimer(l.hold/2 + rand.N(l.hold+1)) // #nosec G404 -- no secret
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
	}
}

// limitUnprovenDelivery counts a delivery that turned out to have no valid proof,
// and is the answer to one too many, once that has waited; nil if it is not.
func (s *server) limitUnprovenDelivery(w http.ResponseWriter, r *http.Request) *problem {
	if !s.limits.unproven.spend(w, r, limitKey(clientOf(r))) {
		return nil
	}
	s.Metrics.limited.WithLabelValues("unproven").Inc()
	s.limits.holdBack(r.Context())
	return s.limits.unproven.refusal()
}

// limitKeys refuses a key that asks too often. Who needs none, on this machine,
// asks as often as they like.
func (s *server) limitKeys(next http.Handler) http.Handler {
	if s.limits.keys == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := access.Of(r.Context())
		if len(who.Scopes) > 0 && who.Name != loopbackName && s.limits.keys.spend(w, r, who.Name) {
			s.Metrics.limited.WithLabelValues("key").Inc()
			s.limits.keys.refusal().write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limitKey is what the limits know of a client: of IPv6 the /64, all of which is
// usually one client's.
func limitKey(client netip.Addr) string {
	if client.Is6() && !client.Is4In6() {
		prefix, _ := client.Prefix(64)
		return prefix.Addr().String()
	}
	return client.String()
}
