package deliver

import (
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"rapport/internal/guard"
)

// line is the way to one destination, with what this process knows of it.
type line struct {
	destination Destination
	*way
}

// way is what outlives a change of the rules that leaves the destination where it is.
type way struct {
	allow   []netip.Prefix
	client  *http.Client
	breaker circuitbreaker.CircuitBreaker[any]
	tempo   tempo

	mu        sync.Mutex
	waitUntil time.Time // the destination has asked for it; guarded by mu
	toldAt    time.Time // when the log last told of a failure; guarded by mu
}

// newLine makes a line. It takes the way of the one that there was (nil: none) if that
// leads to the same place: what is known of it stands.
func newLine(d Destination, allow []netip.Prefix, t tempo, old *line) *line {
	if old != nil && old.destination.isSamePlace(&d) && slices.Equal(old.allow, allow) {
		return &line{d, old.way}
	}
	return &line{d, &way{
		allow: allow, client: newClient(guard.New(allow), &d), tempo: t,
		breaker: circuitbreaker.NewBuilder[any]().WithFailureThreshold(breakerFailures).WithSuccessThreshold(1).
			WithDelay(t.breakerDelay).Build(),
	}}
}

// breakerFailures in a row open a breaker.
const breakerFailures = 5

// blocked is for how long a delivery must wait at least; 0 if it may go now. Then it has
// the breaker's permit, which record gives back.
func (l *line) blocked() time.Duration {
	l.mu.Lock()
	wait := time.Until(l.waitUntil)
	l.mu.Unlock()
	if wait > 0 {
		return wait
	}
	if l.breaker.TryAcquirePermit() {
		return 0
	}
	// Half-open, there is no delay: somebody else tries.
	return max(l.breaker.RemainingDelay(), l.tempo.breakerDelay/30)
}

// record notes how an attempt went.
func (l *line) record(failed *sendError) {
	if failed != nil && failed.isDown {
		l.breaker.RecordFailure()
	} else {
		l.breaker.RecordSuccess()
	}
	if failed == nil || failed.wait == 0 && !failed.isLimit {
		return
	}
	wait := min(max(failed.wait, l.tempo.limitWait), maxWait)
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(wait); until.After(l.waitUntil) {
		l.waitUntil = until
	}
}

// release gives a permit back where nothing was found out.
func (l *line) release() {
	if l.breaker.IsHalfOpen() {
		l.breaker.Open() // else nobody would try any more
	}
}

// tellEvery is how often the log tells that a destination fails: a wrong address is to be
// seen at once, and not only when the first delivery is dead; but not again and again.
const tellEvery = 5 * time.Minute

// mayTell is whether the log should tell of a failure, which it then has.
func (l *line) mayTell(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.toldAt.IsZero() && now.Sub(l.toldAt) < tellEvery {
		return false
	}
	l.toldAt = now
	return true
}

// maxWait is the longest that a destination can make us wait.
const maxWait = 10 * time.Minute

// tempo are times that tests shorten.
type tempo struct {
	firstRetry   time.Duration // after the first failure; each next one twice as long
	longestRetry time.Duration
	breakerDelay time.Duration // for which a breaker stays open
	limitWait    time.Duration // after a 429 that says nothing
	hold         time.Duration // for which a worker waits with a delivery that may not go, so that few of them move
	jobTimeout   time.Duration // of an attempt, with what is asked of the database
	rescueAfter  time.Duration // what was begun so long ago was begun by a process that is gone; no shorter than jobTimeout
	poll         time.Duration // for deliveries that nobody told of
	softStop     time.Duration // for what is under way at a stop
	testOnly     bool          // River begins its upkeep at once
}

var usual = tempo{
	firstRetry: 2 * time.Second, longestRetry: time.Hour, breakerDelay: 15 * time.Second, limitWait: time.Second,
	hold: 3 * time.Second, jobTimeout: maxTimeout + 8*time.Second, rescueAfter: maxTimeout + 15*time.Second, poll: 2 * time.Second, softStop: time.Second,
}

// retryIn is for how long to wait after an attempt failed, the first being 1. It doubles
// each time, and varies by a quarter, so that those that failed together don't come
// back together.
func (t *tempo) retryIn(attempt int) time.Duration {
	wait := t.longestRetry
	if doublings := max(attempt, 1) - 1; doublings < 30 {
		wait = min(wait, t.firstRetry<<doublings)
	}
	return spread(wait)
}

// spread is a time, longer or shorter by a quarter at most.
func spread(d time.Duration) time.Duration {
	return d - d/4 + rand.N(d/2+1) // #nosec G404 -- nobody gains from guessing it
}
