package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// connections is how many of them a load posts over, mostly.
const connections = 96

// load posts deliveries to one address at a steady rate, whatever becomes of them:
// a sender does not wait for a server that is slow.
type load struct {
	addr    string
	ledger  *ledger
	began   time.Time
	every   time.Duration // between two deliveries
	taken   atomic.Int64
	stopped chan struct{}
	stop    sync.Once
	workers sync.WaitGroup

	mu      sync.Mutex
	samples []sample // guarded by mu
}

// sample is one answer, and how long it took: from when it was sent, or, where all
// connections were waiting for answers, from when it should have been.
type sample struct {
	due  time.Duration // since the load began
	took time.Duration
}

// load begins to post so many deliveries a second. Stop it with end.
func (t *Trial) load(addr string, rate float64) *load { return t.loadOver(connections, addr, rate) }

// loadOver posts over so many connections, in turn.
func (t *Trial) loadOver(connections int, addr string, rate float64) *load {
	l := &load{
		addr: addr, ledger: t.ledger, began: time.Now(), every: time.Duration(float64(time.Second) / rate),
		stopped: make(chan struct{}),
	}
	for range connections {
		l.workers.Go(l.work)
	}
	t.loads = append(t.loads, l)
	return l
}

// end stops posting, and returns when what was sent is answered.
func (l *load) end() {
	l.stop.Do(func() { close(l.stopped) })
	l.workers.Wait()
}

func (l *load) work() {
	s := sender{addr: l.addr}
	defer s.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		due := l.began.Add(time.Duration(l.taken.Add(1)) * l.every)
		early := time.Until(due)
		timer.Reset(early)
		select {
		case <-l.stopped:
			return
		case <-timer.C:
		}
		d := l.ledger.next()
		since := due
		if early > 0 { // that this woke up late is not the server's fault
			since = time.Now()
		}
		a := s.post(d)
		if a.err == nil {
			l.note(sample{due.Sub(l.began), time.Since(since)})
		}
		l.ledger.record(d, a)
	}
}

func (l *load) note(s sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples = append(l.samples, s)
}

// latency sums up how long answers took.
type latency struct {
	n             int
	p50, p99, max time.Duration
}

// latencyBetween is of the deliveries that were due from one time to another.
func (l *load) latencyBetween(from, to time.Time) latency {
	l.mu.Lock()
	defer l.mu.Unlock()
	var took []time.Duration
	for _, s := range l.samples {
		if at := l.began.Add(s.due); !at.Before(from) && at.Before(to) {
			took = append(took, s.took)
		}
	}
	if len(took) == 0 {
		return latency{}
	}
	slices.Sort(took)
	return latency{len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1]}
}

func (l latency) String() string {
	return fmt.Sprintf("p50 %s, p99 %s, max %s of %d", ms(l.p50), ms(l.p99), ms(l.max), l.n)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// pause waits, unless the trial's time is up.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
