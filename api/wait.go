package api

import (
	"context"
	"errors"
	"fmt"

	"rapport/store"
)

// ReadParams are those of every read. (Exported, since huma passes over embedded
// structs that are not.)
type ReadParams struct {
	MinPosition int64         `query:"min_position" echo:"-" minimum:"0" doc:"Answer only once the rollups contain this log position, such as that of a delivery of yours."`
	Wait        durationParam `query:"wait" echo:"-" doc:"For how long to wait for min_position at most, up to 60s, as seconds or a Go duration; 5s by default. Then the answer is 503."`
}

// waited says that a list has waited, and need not for its next page.
func (p *ReadParams) waited() { p.MinPosition = 0 }

// wait returns when the rollups contain the position that the reader asks for.
func (s *server) wait(ctx context.Context, p ReadParams) error {
	return s.waitFor(ctx, store.SessionsFollower, "the rollups have", p)
}

// waitFor returns when what a follower writes contains the position.
func (s *server) waitFor(ctx context.Context, follower, what string, p ReadParams) error {
	if p.MinPosition == 0 {
		return nil
	}
	// The first look is free of the time limit, which may be 0.
	at, err := s.DB.FollowerPosition(ctx, follower)
	if err != nil || at >= p.MinPosition {
		return err
	}
	limit := defaultWait
	if p.Wait.set {
		limit = p.Wait.value
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = withoutSeat(ctx, func() error {
		return s.DB.WaitForFollower(limited, s.Watch, follower, p.MinPosition)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		if at, err = s.DB.FollowerPosition(ctx, follower); err != nil {
			return err
		}
		return tryAgain(fmt.Sprintf("min_position: %s not reached %d within %s, but %d", what, p.MinPosition, limit, at))
	}
	return err
}
