package api

import (
	"context"
	"sync"
	"time"
)

// glanceAge is how old an answer about readiness may be where the database answers
// in time. Probes need no key, so that anybody can ask: however many do, the database
// is asked ten times a second at most.
const glanceAge = 100 * time.Millisecond

// probePatience is how long a probe waits for a look that is under way. Balancers
// give up after a second, or less, and a server that they can't ask is one that they
// take out, though it may keep deliveries very well.
const probePatience = 250 * time.Millisecond

// glance is what was found at the last look.
type glance struct {
	mu      sync.Mutex // guards what follows; nobody looks while holding it
	at      time.Time
	now     time.Time // by the server's clock
	found   readiness
	looking chan struct{} // closed when the look that is under way is over; nil if none is
}

// glance is how things are: as they were glanceAge ago at most, or where the database
// is slow, readyWithin before that. The spool is always as it is now.
func (s *server) glance(ctx context.Context) readiness {
	if looking := s.lookAgain(); looking != nil {
		patience := time.NewTimer(s.patience)
		defer patience.Stop()
		select {
		case <-looking:
		case <-patience.C:
		case <-ctx.Done():
		}
	}
	s.seen.mu.Lock()
	found := s.seen.found
	s.seen.mu.Unlock()
	if found.Status == "" {
		found = s.unknown() // the first look isn't over
	}
	found.Spool = s.lookAtSpool()
	return found
}

// lookAgain begins a look if the last one is too old, and tells of the one that is
// under way; nil if none is.
func (s *server) lookAgain() <-chan struct{} {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	now := s.now()
	if s.seen.looking != nil || time.Since(s.seen.at) < glanceAge && now.Sub(s.seen.now).Abs() < glanceAge {
		return s.seen.looking
	}
	over := make(chan struct{})
	s.seen.looking = over
	go func() {
		defer close(over)
		// Of no request: whoever asked may leave, and others wait for it, too.
		ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
		defer cancel()
		found := s.look(ctx)
		s.seen.mu.Lock()
		defer s.seen.mu.Unlock()
		s.seen.found, s.seen.at, s.seen.now, s.seen.looking = found, time.Now(), now, nil
	}()
	return over
}
