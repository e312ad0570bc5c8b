package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// What is promised while Postgres is away: see docs/reliability.md.
const (
	openWithin    = 3 * time.Second // from then on the circuit is open
	p99WhileAway  = 50 * time.Millisecond
	p99Lenient    = 2 * time.Second // where much else goes on
	memoryAllowed = 512 << 20       // bytes, of the server
)

// postgresGone: every delivery is answered 200, fast, and is in the log afterwards.
func postgresGone(ctx context.Context, t *Trial) error {
	p, err := t.startPostgres(ctx)
	if err != nil {
		return err
	}
	s, err := t.serve(ctx, p.url("rapport_server"))
	if err != nil {
		return err
	}
	return t.eachRound(ctx, func(ctx context.Context) error {
		before := t.ledger.tallyNow()
		memory := t.watchMemory(s)
		if err := t.takeAway(ctx, p, s); err != nil {
			return err
		}
		t.mustAllBeKept(before)
		began := time.Now()
		if err := t.settle(ctx); err != nil {
			return err
		}
		peak := memory()
		t.measure("spool drained and rollups caught up in", "%.0f s, for %d deliveries", time.Since(began).Seconds(),
			t.ledger.tallyNow().since(before).Spooled)
		t.measure("memory of the server, at most", "%s", mib(peak))
		if peak > memoryAllowed {
			t.violate("the server had %s of memory, %s are allowed", mib(peak), mib(memoryAllowed))
		}
		return nil
	})
}

// takeAway kills Postgres under load, and brings it back after a while.
func (t *Trial) takeAway(ctx context.Context, p *postgres, s *server) error {
	l := t.load(s.addr, t.Rate)
	defer l.end()
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	gone := time.Now()
	if err := p.end(syscall.SIGKILL); err != nil {
		return err
	}
	for time.Since(gone) < t.For {
		if err := pause(ctx, min(15*time.Second, t.For-time.Since(gone))); err != nil {
			return err
		}
		t.say("Postgres is away for %.0f s of %v: %v; the server has %s", time.Since(gone).Seconds(), t.For,
			l.latencyBetween(time.Now().Add(-15*time.Second), time.Now()), mib(residentBytes(s.pid())))
	}
	back := time.Now()
	if err := p.start(ctx); err != nil {
		return err
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	l.end()
	t.measure("answers as Postgres went", "%v", t.mustAnswerWithin(patience, l, gone, gone.Add(openWithin)))
	away := l.latencyBetween(gone.Add(openWithin), back)
	t.measure("answers while it was away", "%v", away)
	bound := p99Lenient
	if t.Strict {
		bound = p99WhileAway
	}
	if away.p99 > bound || away.n == 0 {
		t.violate("with the circuit open, p99 is over %v: %v", bound, away)
	}
	t.measure("answers as it came back", "%v", t.mustAnswerWithin(patience, l, back, time.Now()))
	return nil
}

// startWithout: a server that was here before needs no database to keep deliveries.
func startWithout(ctx context.Context, t *Trial) error {
	p, err := t.startPostgres(ctx)
	if err != nil {
		return err
	}
	s, err := t.serve(ctx, p.url("rapport_server"))
	if err != nil {
		return err
	}
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL}
	return t.startedAway(ctx, s,
		func() error { return p.end(signals[t.random.IntN(len(signals))]) },
		func() error { return p.start(ctx) })
}

// startBroken: nor does it need its own Postgres to start.
func startBroken(ctx context.Context, t *Trial) error {
	s, err := t.serve(ctx, "")
	if err != nil {
		return err
	}
	control := filepath.Join(s.dataDir, "postgres", "global", "pg_control")
	return t.startedAway(ctx, s,
		func() error { return os.Rename(control, control+".away") },
		func() error { return os.Rename(control+".away", control) })
}

// startedAway has a server end, its database go, and the server start, keep
// deliveries, be killed and start again before the database comes back.
func (t *Trial) startedAway(ctx context.Context, s *server, leave, comeBack func() error) error {
	var longest time.Duration
	err := t.eachRound(ctx, func(ctx context.Context) error {
		if _, err := s.terminate(); err != nil {
			return err
		}
		if err := leave(); err != nil {
			return err
		}
		for range 2 {
			began := time.Now()
			if err := s.start(ctx); err != nil {
				return err
			}
			longest = max(longest, time.Since(began))
			if err := t.mustSpool(ctx, s); err != nil {
				return err
			}
			if err := s.kill(); err != nil {
				return err
			}
		}
		if err := s.start(ctx); err != nil {
			return err
		}
		return comeBack()
	})
	t.measure("answers after a start without Postgres", "within %.1f s", longest.Seconds())
	return err
}

// mustSpool posts for a second to a server without a database.
func (t *Trial) mustSpool(ctx context.Context, s *server) error {
	before := t.ledger.tallyNow()
	l := t.load(s.addr, t.Rate)
	defer l.end()
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	l.end()
	t.mustAllBeKept(before)
	if n := t.ledger.tallyNow().since(before); n.Spooled != n.Kept || n.Kept == 0 {
		return fmt.Errorf("of %d deliveries that were kept without a database, %d are in the spool", n.Kept, n.Spooled)
	}
	return nil
}
