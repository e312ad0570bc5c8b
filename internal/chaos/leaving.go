package chaos

import (
	"context"
	"time"
)

// sigterm: every request that was accepted is answered, and what was answered is kept.
func sigterm(ctx context.Context, t *Trial) error {
	s, err := t.serve(ctx, "")
	if err != nil {
		return err
	}
	var longest time.Duration
	unaccepted := 0
	err = t.eachRound(ctx, func(ctx context.Context) error {
		before := t.ledger.tallyNow()
		took, err := t.terminateUnderLoad(ctx, s)
		longest = max(longest, took)
		n := t.ledger.tallyNow().since(before)
		// A request on a new connection may have come before the listener's end, and after
		// the last connection that it gave out.
		unaccepted += n.Unanswered - n.Broken
		if n.Broken > 0 {
			t.violate("%d requests on open connections were not answered", n.Broken)
		}
		if n.Refused > 0 {
			t.violate("%d deliveries were answered 503", n.Refused)
		}
		return err
	})
	if longest > terminateWithin {
		t.violate("SIGTERM took %v to end the server, %v are allowed", longest, terminateWithin)
	}
	t.measure("ended by SIGTERM", "within %.1f s", longest.Seconds())
	t.measure("requests on connections that were never accepted", "%d", unaccepted)
	return err
}

// terminateUnderLoad posts so often over each connection that none is idle: whoever
// closes an idle one can't know what is on its way.
func (t *Trial) terminateUnderLoad(ctx context.Context, s *server) (took time.Duration, err error) {
	rate := t.between(t.Rate/4, t.Rate)
	l := t.loadOver(max(2, int(rate/40)), s.addr, rate)
	defer l.end()
	if err := pause(ctx, t.someTime(200*time.Millisecond, time.Second)); err != nil {
		return 0, err
	}
	if took, err = s.terminate(); err != nil {
		return 0, err
	}
	return took, s.start(ctx)
}

// rolling: behind a balancer that asks /readyz, a restart is not noticed.
func rolling(ctx context.Context, t *Trial) error {
	p, err := t.startPostgres(ctx)
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := t.serve(ctx, p.url("rapport_server"), "--shutdown-delay=3s"); err != nil {
			return err
		}
	}
	b, err := t.newBalancer(t.servers)
	if err != nil {
		return err
	}
	var worst slowest
	err = t.eachRound(ctx, func(ctx context.Context) error {
		before, began := t.ledger.tallyNow(), time.Now()
		l := t.load(b.addr, t.between(t.Rate/4, t.Rate))
		defer l.end()
		for _, s := range t.servers {
			if err := pause(ctx, t.someTime(500*time.Millisecond, time.Second)); err != nil {
				return err
			}
			if _, err := s.terminate(); err != nil {
				return err
			}
			if err := s.start(ctx); err != nil {
				return err
			}
			if err := b.awaitAll(ctx); err != nil {
				return err
			}
		}
		l.end()
		worst.add(l.latencyBetween(began, time.Now()))
		t.mustAllBeKept(before)
		return nil
	})
	t.measure("answers in the worst round", "%v", worst)
	return err
}
