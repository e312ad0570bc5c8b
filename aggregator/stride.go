package aggregator

import "time"

// The pace of a follower whose steps are refused.
const (
	maxTries   = 3                     // of a step, and of a single event
	retryPause = 10 * time.Millisecond // before the second try; doubled before the third
)

// stride is how many events a follower takes in a step. A step that is refused
// is tried again, and then halved until the event that is to blame stands alone:
// of 10,000 events it takes 14 halvings. After it the steps double again.
type stride struct {
	limit int   // events of the next step, at most
	upTo  int64 // a step that ended here was refused; 0 if none is open
	after int64 // the checkpoint of the last step that was refused
	tries int   // of that step
}

// took notes that everything up to a position is done with.
func (s *stride) took(position int64) {
	s.tries = 0
	if left := s.upTo - position; left > 0 {
		s.limit = max(1, int(left/2))
		return
	}
	s.upTo = 0
	s.limit = min(2*s.limit, maxEvents)
}

// refused notes that a step of some events, from behind one position to another,
// was refused. It reports whether it was a single event that has been tried
// often enough.
func (s *stride) refused(after, last int64, events int) bool {
	if after != s.after {
		s.after, s.tries = after, 0
	}
	s.tries++
	if events == 1 {
		return s.tries >= maxTries
	}
	if s.isNarrow() || s.tries >= maxTries {
		s.limit, s.upTo, s.tries = events/2, last, 0
	}
	return false
}

// isNarrow reports whether steps are smaller than usual, on the way to an event
// that is to blame or back from there.
func (s *stride) isNarrow() bool { return s.limit < maxEvents }

// halve is for steps that are too much at once.
func (s *stride) halve() { s.limit = max(1, s.limit/2) }

// pause is for how long to wait before the step is tried again.
func (s *stride) pause() time.Duration {
	if s.tries == 0 {
		return 0
	}
	return retryPause << min(s.tries-1, 4)
}
