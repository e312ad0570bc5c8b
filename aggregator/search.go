package aggregator

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"rapport/aggregator/internal/pace"
	"rapport/store"
)

// Search is the follower that makes messages searchable. It gives way to deliveries and
// to the sessions: see pace.Pace.
type Search struct {
	db     *store.DB
	watch  *store.Watch
	logger *slog.Logger

	// Of Run alone.
	pace   pace.Pace
	alarms rate.Sometimes // how often a failure that lasts is logged
}

// NewSearch makes the follower.
func NewSearch(db *store.DB, watch *store.Watch, logger *slog.Logger) *Search {
	return &Search{
		db: db, watch: watch, logger: logger.With("follower", store.SearchFollower),
		pace:   pace.Pace{Events: searchEvents, Hurried: hurryEvents, IdleRest: idleRest, Quick: quickGrowth},
		alarms: rate.Sometimes{First: 3, Interval: alarmGap},
	}
}

// The pace of the search.
const (
	searchEvents = 2000 // of a step while the log rests
	hurryEvents  = 500  // of a step while it grows quickly
	quickGrowth  = 100  // events a second: as many deliveries are under load
	idleRest     = 500 * time.Millisecond
)

// Run follows until the context ends, and then returns nil. A step that fails is tried
// again, with half the events.
func (s *Search) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.turn(ctx); err != nil && ctx.Err() == nil {
			s.alarms.Do(func() { s.logger.Error("making messages searchable failed, trying again", "error", err) })
			s.pace.Failed()
			pause(ctx, nil, maxWait)
		}
	}
	return nil
}

// turn takes a step, unless it must give way, and rests.
func (s *Search) turn(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	moved := s.watch.Moved() // before the look, so that nothing is missed between
	now := time.Now()
	standing, err := s.db.SearchStanding(limited)
	if err != nil {
		return err
	}
	limit := s.pace.Limit(standing.Head, standing.Folded, now)
	if limit == 0 {
		pause(ctx, nil, pace.GiveWay)
		return nil
	}
	began := time.Now()
	step, err := s.db.FillSearch(limited, limit)
	if err != nil {
		return err
	}
	if step.Busy {
		pause(ctx, nil, pace.GiveWay)
		return nil
	}
	s.pace.Took(limit)
	isAtHead := step.Position == step.Head
	pause(ctx, nil, s.pace.Rest(time.Since(began), isAtHead))
	if isAtHead {
		pause(ctx, moved, maxPause)
	}
	return nil
}
