package aggregator

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"rapport/store"
)

// Search is the follower that makes messages searchable. It gives way to deliveries and
// to the sessions: see searchPace.
type Search struct {
	db     *store.DB
	watch  *store.Watch
	logger *slog.Logger

	// Of Run alone.
	pace   searchPace
	alarms rate.Sometimes // how often a failure that lasts is logged
}

// NewSearch makes the follower.
func NewSearch(db *store.DB, watch *store.Watch, logger *slog.Logger) *Search {
	return &Search{
		db: db, watch: watch, logger: logger.With("follower", store.SearchFollower),
		alarms: rate.Sometimes{First: 3, Interval: alarmGap},
	}
}

// Run follows until the context ends, and then returns nil. A step that fails is tried
// again, with half the events.
func (s *Search) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.turn(ctx); err != nil && ctx.Err() == nil {
			s.alarms.Do(func() { s.logger.Error("making messages searchable failed, trying again", "error", err) })
			s.pace.failed()
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
	limit := s.pace.limit(standing, now)
	if limit == 0 {
		pause(ctx, nil, giveWay)
		return nil
	}
	began := time.Now()
	step, err := s.db.FillSearch(limited, limit)
	if err != nil {
		return err
	}
	if step.Busy {
		pause(ctx, nil, giveWay)
		return nil
	}
	s.pace.took(limit)
	isAtHead := step.Position == step.Head
	pause(ctx, nil, s.pace.rest(time.Since(began), isAtHead))
	if isAtHead {
		pause(ctx, moved, maxPause)
	}
	return nil
}

// The pace of the search.
const (
	searchEvents = 2000                   // of a step while the log rests
	hurryEvents  = 500                    // of a step while it grows quickly
	quickGrowth  = 100                    // events a second: as many deliveries are under load
	sessionsLag  = 2000                   // events that the sessions may be behind
	giveWay      = time.Second            // for which it does nothing where others come first
	idleRest     = 500 * time.Millisecond // at the head, so that the next step has something to do
)

// searchPace decides how much the search works. While the sessions are behind, not at
// all; while the log grows quickly, a tenth of the time; else as fast as it can.
type searchPace struct {
	head    int64 // as it was seen last
	seen    time.Time
	hurried bool // the log grows quickly
	most    int  // events of a step, after steps that failed; 0 is no limit
}

// limit is how many events the next step may take; 0 if it is to be left.
func (p *searchPace) limit(at store.SearchStanding, now time.Time) int {
	if elapsed := now.Sub(p.seen); elapsed > 0 {
		p.hurried = !p.seen.IsZero() && float64(at.Head-p.head) > quickGrowth*elapsed.Seconds()
		p.head, p.seen = at.Head, now
	}
	limit := searchEvents
	switch {
	case at.Head-at.Folded > sessionsLag:
		return 0
	case p.hurried:
		limit = hurryEvents
	}
	if p.most > 0 {
		limit = min(limit, p.most)
	}
	return limit
}

// failed has the next steps be smaller: it may be that the last one was too much.
func (p *searchPace) failed() {
	if p.most == 0 {
		p.most = searchEvents
	}
	p.most = max(1, p.most/2)
}

// took notes that a step of a size went well.
func (p *searchPace) took(limit int) {
	if p.most == 0 {
		return
	}
	if p.most = 2 * limit; p.most >= searchEvents {
		p.most = 0
	}
}

// rest is for how long to rest after a step that took a time.
func (p *searchPace) rest(took time.Duration, isAtHead bool) time.Duration {
	rest := time.Duration(0)
	if p.hurried {
		rest = 9 * took
	}
	if isAtHead {
		rest = max(rest, idleRest)
	}
	return rest
}
