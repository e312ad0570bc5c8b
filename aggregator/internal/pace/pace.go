// Package pace decides how much a follower works that gives way to the deliveries and to
// the sessions.
package pace

import "time"

// Pace is that of one follower. While the sessions are behind, it does nothing, or takes a
// small step whenever its patience ends; while the log grows quickly, it works a tenth of
// the time; else as fast as it can.
type Pace struct {
	Events   int           // of a step while the log rests
	Hurried  int           // of a step while it grows quickly, or the sessions are behind
	IdleRest time.Duration // at the head, so that the next step has something to do
	Quick    int64         // events a second: from here on the log grows quickly
	Patience time.Duration // for how long it gives way to the sessions, before it takes a step; for ever if 0

	head      int64 // as it was seen last
	seen      time.Time
	isHurried bool      // the log grows quickly, or the sessions are behind
	waits     time.Time // since when it gives way; zero if it does not
	most      int       // events of a step, after steps that failed; 0 is no limit
}

const sessionsLag = 2000 // events that the sessions may be behind

// GiveWay is for how long to do nothing where others come first.
const GiveWay = time.Second

// Limit is how many events the next step may take, by the head of the log and how far the
// sessions are; 0 if it is to be left.
func (p *Pace) Limit(head, folded int64, now time.Time) int {
	if elapsed := now.Sub(p.seen); elapsed > 0 {
		p.isHurried = !p.seen.IsZero() && float64(head-p.head) > float64(p.Quick)*elapsed.Seconds()
		p.head, p.seen = head, now
	}
	if p.givesWay(head-folded, now) {
		return 0
	}
	limit := p.Events
	if p.isHurried {
		limit = p.Hurried
	}
	if p.most > 0 {
		limit = min(limit, p.most)
	}
	return limit
}

func (p *Pace) givesWay(behind int64, now time.Time) bool {
	switch {
	case behind <= sessionsLag:
		p.waits = time.Time{}
		return false
	case p.waits.IsZero():
		p.waits = now
	case p.Patience > 0 && now.Sub(p.waits) >= p.Patience:
		p.waits = now
		p.isHurried = true // a small step, since the sessions still come first
		return false
	}
	return true
}

// Failed has the next steps be smaller: it may be that the last one was too much.
func (p *Pace) Failed() {
	if p.most == 0 {
		p.most = p.Events
	}
	p.most = max(1, p.most/2)
}

// IsNarrow reports whether the next step takes a single event.
func (p *Pace) IsNarrow() bool { return p.most == 1 }

// Took notes that a step of a limit went well.
func (p *Pace) Took(limit int) {
	if p.most == 0 {
		return
	}
	if p.most = 2 * limit; p.most >= p.Events {
		p.most = 0
	}
}

// Rest is for how long to rest after a step that took a time.
func (p *Pace) Rest(took time.Duration, isAtHead bool) time.Duration {
	rest := time.Duration(0)
	if p.isHurried {
		rest = 9 * took
	}
	if isAtHead {
		rest = max(rest, p.IdleRest)
	}
	return rest
}
