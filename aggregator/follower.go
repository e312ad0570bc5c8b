// Package aggregator follows the event log and keeps what is derived from it.
//
// A Follower is the loop: it takes the events behind its checkpoint, gives them
// to a Projection, and moves the checkpoint, all in one transaction. Any number
// of processes may run the same follower; one at a time does the work, and one
// that is killed loses nothing and repeats nothing.
//
// An event that a projection can't take is put aside, as a dead letter, and the
// others go on. What lies in the database is no such event: a follower that has
// none tries again for ever.
package aggregator

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"rapport"
	"rapport/store"
)

// Projection derives something from the log. Apply writes in the transaction
// that it is given, and nowhere else: it may be called again with the same
// events after a failure, or with events that come late. If it panics in its own
// goroutine, or fails, and goes on doing so with one event, that event becomes a
// dead letter.
type Projection interface {
	// Name names the checkpoint.
	Name() string
	// Settings are those that it is made with. What it writes is bound to them.
	Settings() rapport.Settings
	// With is the same projection made with other settings, which a rebuild has
	// brought; an error if this binary can't follow those.
	With(rapport.Settings) (Projection, error)
	// Apply takes the next events, in the order of the log.
	Apply(ctx context.Context, tx *store.Tx, events []*rapport.Event) error
}

// Follower runs a projection.
type Follower struct {
	db     *store.DB
	watch  *store.Watch
	name   string
	logger *slog.Logger

	// Of Run alone.
	projection Projection
	stride     stride
	proved     int64     // the checkpoint behind which others could be taken, but not the next event; -1 if none
	again      int       // dead letters that are tried again at once
	againAt    time.Time // when they are tried next, at the soonest
	failures   int       // of steps, in a row, for which no event is to blame
	late       int       // of these, those that took too long
	peer       peer
	alarms     rate.Sometimes // how often a failure that lasts is logged
}

// The pace of a follower.
const (
	maxEvents = 10_000                 // of one step
	stepLimit = time.Minute            // of one step: an answer that was lost on its way never comes; doubled up to thrice
	maxAgain  = 100                    // dead letters tried again at once
	minRest   = 20 * time.Millisecond  // after a step that came to the head, so that the next has something to do
	maxRest   = time.Second            // see rest
	busyPause = 250 * time.Millisecond // while another process follows
	busyLimit = 5 * time.Second        // without progress, after which somebody may be frozen
	maxWait   = time.Second            // between tries while the database is away, so that it is noticed soon
	maxPause  = 5 * time.Second        // without anything to do, or while only an operator can help
	alarmGap  = 10 * time.Second       // between log lines about what lasts
)

// A follower grows suspicious when suspectLetters of the last suspectSpan events
// are dead letters: see isBroken.
const (
	suspectLetters = 100
	suspectSpan    = 1000
)

// NewFollower makes the follower of a projection.
func NewFollower(db *store.DB, watch *store.Watch, projection Projection, logger *slog.Logger) *Follower {
	return &Follower{
		db: db, watch: watch, name: projection.Name(), logger: logger.With("follower", projection.Name()),
		projection: projection, stride: stride{limit: maxEvents}, again: maxAgain, proved: -1,
	}
}

// Run follows until the context ends, and then returns nil. A step that fails
// is tried again.
func (f *Follower) Run(ctx context.Context) error {
	f.peer.since = time.Now()
	f.calm()
	for ctx.Err() == nil {
		f.turn(ctx)
	}
	return nil
}

// turn takes a step, and waits until the next one is due.
func (f *Follower) turn(ctx context.Context) {
	start := time.Now()
	moved := f.watch.Moved() // before the step, so that nothing is missed between
	step, err := f.step(ctx, stepLimit<<min(f.late, 3))
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		f.fail(ctx, err)
		return
	}
	if step.Busy {
		f.checkPeer(ctx)
		pause(ctx, nil, busyPause)
		return
	}
	f.peer.since = time.Now()
	f.calm()
	if step.Counted {
		return // until everything that was there before has its totals
	}
	if step.Events > 0 {
		f.stride.took(step.Position)
	}
	if step.Retry && f.tryAgain(ctx) {
		return
	}
	if step.Position == step.Head {
		pause(ctx, nil, rest(time.Since(start)))
		pause(ctx, moved, maxPause)
	}
}

// step takes one, and looks who is in the way if it takes long.
func (f *Follower) step(ctx context.Context, limit time.Duration) (store.Step, error) {
	inTime, done := context.WithTimeout(ctx, limit)
	var watchdog sync.WaitGroup
	defer watchdog.Wait()
	defer done()
	watchdog.Go(func() {
		pause(inTime, nil, busyLimit)
		if inTime.Err() == nil {
			f.clearWay(ctx) // which may let the step end before it
		}
	})
	return f.db.Follow(inTime, f.name, f.projection.Settings(), f.stride.limit, f.projection.Apply)
}

// fail does what an error asks for.
func (f *Follower) fail(ctx context.Context, err error) {
	refused, isRefused := errors.AsType[*store.RefusedError](err)
	switch {
	case errors.Is(err, store.ErrSettingsChanged):
		f.adopt(ctx)
	case isRefused:
		f.isolate(ctx, refused)
	default:
		f.backOff(ctx, "following the log failed, trying again", err)
	}
}

// backOff waits for the database to serve again.
func (f *Follower) backOff(ctx context.Context, what string, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		f.late++
	}
	if store.IsTooMuch(err) || errors.Is(err, context.DeadlineExceeded) {
		f.stride.halve()
	}
	f.alarms.Do(func() { f.logger.Error(what, "error", err) })
	pause(ctx, nil, min(minRest<<min(f.failures, 10), maxWait))
	f.failures++
}

// calm forgets the failures: the database serves.
func (f *Follower) calm() {
	if f.failures > 0 {
		f.logger.Info("following the log again")
	}
	f.failures, f.late = 0, 0
	f.alarms = rate.Sometimes{First: 3, Interval: alarmGap}
}

// adopt goes on with the settings that the rollups are made with now.
func (f *Follower) adopt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	settings, err := f.db.MadeWith(ctx, f.name)
	if err == nil {
		var projection Projection
		if projection, err = f.projection.With(settings); err == nil {
			f.projection = projection
			f.logger.Info("the settings have changed, following with the new ones", "settings", settings)
			return
		}
	}
	if !errors.Is(err, context.Canceled) {
		f.alarms.Do(func() {
			f.logger.Error("the settings have changed to what this process can't follow: the sessions stand still", "error", err)
		})
		pause(ctx, nil, maxPause)
	}
}

// rest is for how long a follower that is at the head lets events gather: eight
// times as long as its last step took. A step writes each of its sessions once, however
// many events they got, so under load fewer, larger steps leave more of the
// machine to the deliveries.
func rest(took time.Duration) time.Duration { return min(max(8*took, minRest), maxRest) }

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
