package chaos

import (
	"context"
	"syscall"
	"time"
)

// killServer: who was answered is in the log, whatever the server was about to do.
func killServer(ctx context.Context, t *Trial) error {
	s, err := t.serve(ctx, "")
	if err != nil {
		return err
	}
	var longest time.Duration
	err = t.eachRound(ctx, func(ctx context.Context) error {
		_, err := t.loadWhile(ctx, s, func(*load) error {
			if err := s.kill(); err != nil {
				return err
			}
			if t.oneIn(4) {
				if err := killOf(s.dataDir); err != nil {
					return err
				}
			}
			began := time.Now()
			err := s.start(ctx)
			longest = max(longest, time.Since(began))
			return err
		})
		return err
	})
	t.measure("ready again after a kill, at most", "%.1f s", longest.Seconds())
	return err
}

// killOf kills the postmaster of a data directory.
func killOf(dataDir string) error {
	pid, err := postmaster(dataDir)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// killPostgres: nobody notices but by waiting; the server starts its Postgres again.
func killPostgres(ctx context.Context, t *Trial) error {
	s, err := t.serve(ctx, "")
	if err != nil {
		return err
	}
	return t.unnoticed(ctx, s, func(context.Context) error {
		if !t.oneIn(3) {
			return killOf(s.dataDir)
		}
		pid, err := postmaster(s.dataDir)
		if err != nil {
			return err
		}
		// Without Linux its backends are not found; then the postmaster has to do.
		victims := append(childrenOf(pid), pid)
		return syscall.Kill(victims[t.random.IntN(max(1, len(victims)-1))], syscall.SIGKILL)
	})
}

// killDraining: what is drained twice is in the log once.
func killDraining(ctx context.Context, t *Trial) error {
	p, err := t.startPostgres(ctx)
	if err != nil {
		return err
	}
	s, err := t.serve(ctx, p.url("rapport_server"))
	if err != nil {
		return err
	}
	return t.eachRound(ctx, func(ctx context.Context) error {
		if err := t.fillSpool(ctx, p, s); err != nil {
			return err
		}
		l := t.load(s.addr, t.Rate/4)
		defer l.end()
		for range 1 + t.random.IntN(3) {
			if err := p.start(ctx); err != nil {
				return err
			}
			if err := t.killWhileDraining(ctx, p, s); err != nil {
				return err
			}
		}
		l.end()
		return p.start(ctx)
	})
}

// fillSpool takes Postgres away, and has deliveries come for a while.
func (t *Trial) fillSpool(ctx context.Context, p *postgres, s *server) error {
	if err := p.end(syscall.SIGINT); err != nil {
		return err
	}
	l := t.load(s.addr, t.Rate)
	defer l.end()
	return pause(ctx, t.For)
}

// killWhileDraining kills the server once its spool has become smaller, or a moment
// later, and takes Postgres away again. The server is up afterwards.
func (t *Trial) killWhileDraining(ctx context.Context, p *postgres, s *server) error {
	first, err := s.readiness(ctx)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = poll(within, func() error {
		now, err := s.readiness(ctx)
		if err == nil && now.Spool.Records >= first.Spool.Records && now.Spool.Records > 0 {
			err = errNotReady
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := pause(ctx, t.someTime(0, 200*time.Millisecond)); err != nil {
		return err
	}
	if err := s.kill(); err != nil {
		return err
	}
	if err := p.end([]syscall.Signal{syscall.SIGKILL, syscall.SIGQUIT, syscall.SIGINT}[t.random.IntN(3)]); err != nil {
		return err
	}
	return s.start(ctx)
}

// twoServers: the followers take each other's place, and servers share the log.
func twoServers(ctx context.Context, t *Trial) error {
	p, err := t.startPostgres(ctx)
	if err != nil {
		return err
	}
	for range 2 {
		s, err := t.serve(ctx, p.url("rapport_server"))
		if err != nil {
			return err
		}
		t.load(s.addr, t.Rate/2)
	}
	var longest time.Duration
	for t.round = 1; t.round <= t.Rounds; t.round++ {
		t.random = t.randomOf(t.round)
		lagged, err := t.killOneOfTwo(ctx)
		if err != nil {
			return err
		}
		longest = max(longest, lagged)
		t.say("%d/%d: the rollups were within 1 s of the log %.1f s after the kill", t.round, t.Rounds, lagged.Seconds())
		t.result.Rounds++
	}
	for _, l := range t.loads {
		l.end()
	}
	t.measure("lag back under 1 s after a kill", "%.1f s at most", longest.Seconds())
	return t.check(ctx)
}

// killEvery is how often one of two servers is killed, and within how much time the
// rollups have to be up to date again. Where much else goes on there is more time.
const (
	killEvery   = 5 * time.Second
	killLenient = 20 * time.Second
)

// killOneOfTwo kills one server, starts it again at once, and watches the other's lag:
// it tells how long after the kill that was 1 s or more.
func (t *Trial) killOneOfTwo(ctx context.Context) (lagged time.Duration, err error) {
	victim := t.random.IntN(2)
	killed, other := t.servers[victim], t.servers[1-victim]
	if err := killed.kill(); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := killed.launch(); err != nil {
		return 0, err
	}
	for time.Since(began) < killEvery || lagged > killEvery && time.Since(began)-lagged < time.Second && lagged < killLenient {
		r, err := other.readiness(ctx)
		if err != nil || r.Lag.Seconds == nil || *r.Lag.Seconds >= 1 {
			lagged = time.Since(began)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
	if t.Strict && lagged > killEvery-200*time.Millisecond || lagged >= killLenient {
		t.violate("%v after a kill the rollups were still 1 s behind", lagged)
	}
	return lagged, killed.ready(ctx)
}
