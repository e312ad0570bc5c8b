package reaction

import (
	"context"
	"errors"

	"rapport/aggregator/reaction/rules"
)

// Step does what a turn does, with so many events at most, without resting. It reports
// whether there is nothing left to do.
func (r *Reaction) Step(ctx context.Context, limit int) (isAtHead bool, err error) {
	standing, err := r.db.ReactionStanding(ctx)
	if err != nil {
		return false, err
	}
	r.settled = r.settled.Add(-settleEvery)
	done, err := r.work(ctx, standing, limit)
	if err != nil {
		r.known.forget()
		if r.faults.note(err) {
			r.pace.Failed()
		}
	}
	return done.isAtHead, err
}

// Pace is how many events a step takes after those that failed.
func (r *Reaction) Pace() int { return r.pace.Limit(0, 0, r.Now()) }

// ErrKilled ends a step that was killed.
var ErrKilled = errors.New("killed")

// StepKilled takes a step that is killed in the end of its transaction.
func (r *Reaction) StepKilled(ctx context.Context, limit int) error {
	_, _, err := r.transact(ctx, func(ctx context.Context, s *step) error {
		if err := s.follow(ctx, limit); err != nil {
			return err
		}
		if err := s.leave(ctx); err != nil {
			return err
		}
		return ErrKilled
	})
	return err
}

// Use has a set be in force from the next step on.
func (r *Reaction) Use(set *rules.Set) { r.use(set) }
