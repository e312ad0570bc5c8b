package chaos

import (
	"context"
	"fmt"
	"time"
)

// mustAllBeKept is for faults of which a sender may notice nothing: since then, every
// delivery had its answer, 200 or 422.
func (t *Trial) mustAllBeKept(before tally) {
	n := t.ledger.tallyNow().since(before)
	if n.Refused+n.Unanswered+n.Unconnected > 0 {
		t.violate("of %d deliveries %d were answered 503, %d not at all, and %d found nobody who listens",
			n.Sent, n.Refused, n.Unanswered, n.Unconnected)
	}
}

// patience is the sender's.
const patience = 10 * time.Second

// mustAnswerWithin is for deliveries that were due in a span of time.
func (t *Trial) mustAnswerWithin(bound time.Duration, l *load, from, to time.Time) latency {
	got := l.latencyBetween(from, to)
	if got.max > bound {
		t.violate("a delivery waited %s for its answer, %v are allowed (%v)", ms(got.max), bound, got)
	}
	return got
}

// slowest keeps the greatest latency of several rounds.
type slowest struct{ latency }

func (s *slowest) add(l latency) {
	if l.max > s.max {
		s.latency = l
	}
}

// loadWhile posts to a server while something is done, and some time after it, and
// returns when all of it is answered.
func (t *Trial) loadWhile(ctx context.Context, s *server, do func(*load) error) (latency, error) {
	began := time.Now()
	l := t.load(s.addr, t.between(t.Rate/4, t.Rate))
	defer l.end()
	if err := pause(ctx, t.someTime(200*time.Millisecond, time.Second)); err != nil {
		return latency{}, err
	}
	if err := do(l); err != nil {
		return latency{}, err
	}
	if err := pause(ctx, t.someTime(200*time.Millisecond, time.Second)); err != nil {
		return latency{}, err
	}
	l.end()
	return l.latencyBetween(began, time.Now()), nil
}

// unnoticed runs rounds of a fault that senders of one server may not notice, but for
// waiting, within their patience.
func (t *Trial) unnoticed(ctx context.Context, s *server, fault func(context.Context) error) error {
	var worst slowest
	err := t.eachRound(ctx, func(ctx context.Context) error {
		before := t.ledger.tallyNow()
		got, err := t.loadWhile(ctx, s, func(*load) error { return fault(ctx) })
		if err != nil {
			return err
		}
		worst.add(got)
		t.mustAllBeKept(before)
		if got.max > patience {
			t.violate("a delivery waited %s for its answer, %v are allowed (%v)", ms(got.max), patience, got)
		}
		return nil
	})
	t.measure("answers in the worst round", "%v", worst)
	return err
}

// watchMemory samples a server's memory until the function that it returns is called,
// which tells the greatest, in bytes.
func (t *Trial) watchMemory(s *server) (peak func() int64) {
	ctx, cancel := context.WithCancel(context.Background())
	greatest := make(chan int64, 1)
	go func() {
		var most int64
		for {
			most = max(most, residentBytes(s.pid()))
			if pause(ctx, 200*time.Millisecond) != nil {
				greatest <- most
				return
			}
		}
	}()
	t.atEnd(cancel)
	return func() int64 { cancel(); return <-greatest }
}

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
