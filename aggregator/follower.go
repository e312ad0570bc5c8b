// Package aggregator follows the event log and keeps what is derived from it.
//
// A Follower is the loop: it takes the events behind its checkpoint, gives them
// to a Projection, and moves the checkpoint, all in one transaction. Any number
// of processes may run the same follower; one at a time does the work, and one
// that is killed loses nothing and repeats nothing.
package aggregator

import (
	"context"
	"log/slog"
	"time"

	"rapport"
	"rapport/store"
)

// Projection derives something from the log. Apply writes in the transaction
// that it is given, and nowhere else: it may be called again with the same
// events after a failure.
type Projection interface {
	// Name names the checkpoint.
	Name() string
	// Apply takes the next events, in the order of the log.
	Apply(ctx context.Context, tx *store.Tx, events []*rapport.Event) error
}

// Follower runs a projection.
type Follower struct {
	db         *store.DB
	watch      *store.Watch
	projection Projection
	logger     *slog.Logger
}

// The pace of a follower.
const (
	maxEvents = 10_000                 // of one step
	minRest   = 20 * time.Millisecond  // after a step that came to the head, so that the next has something to do
	maxRest   = 300 * time.Millisecond // see rest
	busyPause = 250 * time.Millisecond // while another process follows
	busyLimit = 5 * time.Second        // without progress, after which the other may be frozen
	maxPause  = 5 * time.Second        // without anything to do, and between tries that fail
)

// NewFollower makes the follower of a projection.
func NewFollower(db *store.DB, watch *store.Watch, projection Projection, logger *slog.Logger) *Follower {
	return &Follower{db: db, watch: watch, projection: projection, logger: logger}
}

// Run follows until the context ends, and then returns nil. A step that fails
// is tried again.
func (f *Follower) Run(ctx context.Context) error {
	peer := peer{since: time.Now()}
	var failures int
	for ctx.Err() == nil {
		start := time.Now()
		moved := f.watch.Moved() // before the step, so that nothing is missed between
		step, err := f.db.Follow(ctx, f.projection.Name(), maxEvents, f.projection.Apply)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.logger.Error("following the log failed, trying again", "follower", f.projection.Name(), "error", err)
			pause(ctx, nil, min(minRest<<min(failures, 10), maxPause))
			failures++
			continue
		case step.Busy:
			f.checkPeer(ctx, &peer)
			pause(ctx, nil, busyPause)
		case step.Position == step.Head:
			pause(ctx, nil, rest(time.Since(start)))
			pause(ctx, moved, maxPause)
		}
		if !step.Busy {
			peer.since = time.Now()
		}
		failures = 0
	}
	return nil
}

// rest is for how long a follower that is at the head lets events gather: twice
// as long as its last step took. A step writes each of its sessions once, however
// many events they got, so under load fewer, larger steps leave more of the
// machine to the deliveries.
func rest(took time.Duration) time.Duration { return min(max(2*took, minRest), maxRest) }

// peer is what is known of the process that follows instead of this one.
type peer struct {
	position int64
	since    time.Time // it has not moved since
}

// checkPeer ends the transaction of a process that holds the checkpoint without
// moving it: it is frozen, and would keep everyone from following.
func (f *Follower) checkPeer(ctx context.Context, p *peer) {
	lag, err := f.db.FollowerLag(ctx, f.projection.Name(), time.Now())
	if err != nil {
		return // the next step tells
	}
	if lag.Position != p.position || lag.Events == 0 {
		p.position, p.since = lag.Position, time.Now()
		return
	}
	if time.Since(p.since) < busyLimit {
		return
	}
	if n, err := f.db.EndFrozen(ctx); err == nil && n > 0 {
		f.logger.Warn("ended the transactions of a frozen process", "count", n)
	}
}

// pause waits for a time, or until woken or cancelled.
func pause(ctx context.Context, woken <-chan struct{}, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}
