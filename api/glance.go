package api

import (
	"context"
	"sync"
	"time"
)

// glanceAge is how old an answer about readiness may be. Probes need no key, so
// that anybody can ask: however many do, the database is asked ten times a second
// at most.
const glanceAge = 100 * time.Millisecond

// glance is what was found at the last look.
type glance struct {
	mu    sync.Mutex // held while one looks; the others wait for what it finds
	at    time.Time
	now   time.Time // by the server's clock
	found readiness
}

// glance is how things are, or were glanceAge ago at most.
func (s *server) glance(ctx context.Context) readiness {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	now := s.now()
	if time.Since(s.seen.at) >= glanceAge || now.Sub(s.seen.now).Abs() >= glanceAge {
		// Whoever asked may leave: others wait for it, too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyWithin)
		defer cancel()
		s.seen.found = s.look(ctx)
		s.seen.at, s.seen.now = time.Now(), now
	}
	return s.seen.found
}
