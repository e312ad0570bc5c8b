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
	MinPosition int64         `query:"min_position" minimum:"0" doc:"Answer only once the rollups contain this log position, such as that of a delivery of yours."`
	Wait        durationParam `query:"wait" doc:"For how long to wait for min_position at most, as a Go duration up to 60s. Then the answer is 503."`
}

// wait returns when the rollups contain the position that the reader asks for.
func (s *server) wait(ctx context.Context, p ReadParams) error {
	if p.MinPosition == 0 {
		return nil
	}
	// The first look is free of the time limit, which may be 0.
	at, err := s.DB.FollowerPosition(ctx, store.SessionsFollower)
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
		return s.DB.WaitForFollower(limited, s.Watch, store.SessionsFollower, p.MinPosition)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		at, _ = s.DB.FollowerPosition(ctx, store.SessionsFollower)
		return tryAgain(fmt.Sprintf("min_position: the rollups have not reached %d within %s; they are at %d", p.MinPosition, limit, at))
	}
	return err
}
