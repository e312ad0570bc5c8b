// Package reaction acts on what happens: a follower of the log asks the rules, and enqueues
// what they have to tell in the transaction of its step. So a killed server tells all or
// nothing of a step, and any number of servers tell it once.
//
// It never goes beyond the sessions, so that the session of an event is folded with it.
// What the rules remember is in the database; what is kept of it in memory is forgotten
// whenever somebody else has changed anything (store.ReactionState.Steps).
package reaction

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"rapport/aggregator/internal/pace"
	"rapport/aggregator/reaction/deliver"
	"rapport/aggregator/reaction/rules"
	"rapport/store"
)

// Options are what a Reaction is made of.
type Options struct {
	File   string         // of the rules
	Allow  []netip.Prefix // private and other special addresses that may be told
	Logger *slog.Logger
	Now    func() time.Time // time.Now if nil
}

// Reaction follows the log and asks the rules.
type Reaction struct {
	Options
	db        *store.DB
	watch     *store.Watch
	logger    *slog.Logger
	set       atomic.Pointer[rules.Set] // in force from the next step on
	deliverer *deliver.Deliverer
	carried   *deliver.Metrics
	counts    *metrics

	// Of Run alone.
	pace    pace.Pace
	known   known
	begun   bool // it was looked how long the rules were away
	faults  faults
	settled time.Time  // when closed sessions were looked for
	defined *rules.Set // whose alerts are in force
	looked  time.Time  // when alerts were looked at
	swept   time.Time  // when it was looked for what is too old to be remembered
	rivals  rivals
	alarms  rate.Sometimes // how often a failure that lasts is logged
	remarks rate.Sometimes // how often conditions that fail are logged
}

// The pace of the rules.
const (
	stepEvents  = 2000                  // of a step while the log rests
	hurryEvents = 500                   // of a step while it grows quickly
	quickGrowth = 1000                  // events a second: less than that the rules can follow, beside all else
	idleRest    = 20 * time.Millisecond // at the head, so that the next step has something to do
	patience    = 10 * time.Second      // with sessions that are behind, before a step is taken all the same
	stepLimit   = time.Minute           // of a step: an answer that was lost on its way never comes
	busyPause   = 250 * time.Millisecond
	maxPause    = time.Second // without anything to do
	settleEvery = 2 * time.Second
	sweepEvery  = time.Minute
	alarmGap    = 10 * time.Second // between log lines about what lasts
)

// How far back the rules look.
const (
	// MaxAge is how old an event may be, by its receipt, to fire anything: what comes later
	// is of no use to anybody. Rules that were away for longer begin at the head of the log.
	MaxAge = 24 * time.Hour
	// ToldFor is for how long it is remembered that a session was told to be closed.
	ToldFor = 30 * 24 * time.Hour
	// HistoryFor is for how long the history of alerts is kept.
	HistoryFor = 365 * 24 * time.Hour
)

// Open reads the rules. What is wrong with them is in the error, all of it. Nothing is
// asked of the database or of a destination yet.
func Open(db *store.DB, watch *store.Watch, o Options) (*Reaction, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	set, err := rules.Load(o.File)
	if err != nil {
		return nil, err
	}
	r := &Reaction{
		Options: o, db: db, watch: watch, logger: o.Logger.With("follower", store.ReactionFollower),
		pace:    pace.Pace{Events: stepEvents, Hurried: hurryEvents, IdleRest: idleRest, Quick: quickGrowth, Patience: patience},
		remarks: rate.Sometimes{First: 3, Interval: alarmGap},
		carried: deliver.NewMetrics(), known: newKnown(), faults: newFaults(),
	}
	r.counts = newMetrics(r)
	r.calm()
	if r.deliverer, err = deliver.New(db, r.destinations(set), r.carried, o.Logger); err != nil {
		return nil, fmt.Errorf("the destinations of %s: %w", o.File, err)
	}
	r.use(set)
	return r, nil
}

// Run acts until the context ends, and then returns nil. A database that is away is waited
// for. It is store.ErrRiverSchema if the database is not made for deliveries.
func (r *Reaction) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := r.deliverer.Run(ctx); err != nil {
			return fmt.Errorf("delivering what rules tell: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		for ctx.Err() == nil {
			r.turn(ctx)
		}
		return nil
	})
	return group.Wait()
}

// Reload reads the file again. What is in it is in force from the next step on. If it is
// wrong, the rules and destinations stay as they are.
func (r *Reaction) Reload() error {
	set, err := rules.Load(r.File)
	if err == nil {
		if err = r.deliverer.Reload(r.destinations(set)); err != nil {
			err = fmt.Errorf("the destinations of %s: %w", r.File, err)
		}
	}
	if err != nil {
		r.counts.reloads.WithLabelValues(resultFailed).Inc()
		return err
	}
	r.counts.reloads.WithLabelValues(resultDone).Inc()
	r.use(set)
	return nil
}

func (r *Reaction) use(set *rules.Set) {
	r.counts.begin(set)
	r.counts.loadedAt.Set(float64(r.Now().Unix()))
	r.set.Store(set)
}

// Collectors are what Prometheus is told by.
func (r *Reaction) Collectors() []prometheus.Collector {
	return append(r.counts.collectors(), r.carried)
}

// destinations are those of a file as they are delivered to.
func (r *Reaction) destinations(set *rules.Set) deliver.Settings {
	settings := deliver.Settings{Allow: r.Allow}
	for name, d := range set.Destinations() {
		to := deliver.Destination{Name: name, Render: d.Render}
		if d.Slack != nil {
			to.Kind, to.URL = deliver.Slack, d.Slack.URL
		} else {
			headers := make(map[string][]string, len(d.HTTP.Headers))
			for header, value := range d.HTTP.Headers {
				headers[header] = []string{value}
			}
			to.Kind, to.URL, to.Method, to.Headers, to.Secrets = deliver.HTTP, d.HTTP.URL, d.HTTP.Method, headers, d.HTTP.Secrets
		}
		settings.Destinations = append(settings.Destinations, to)
	}
	return settings
}

// turn does what there is to do, unless others come first, and rests.
func (r *Reaction) turn(ctx context.Context) {
	moved := r.watch.Moved() // before the look, so that nothing is missed between
	limited, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	standing, err := r.db.ReactionStanding(limited)
	if err != nil {
		r.fail(ctx, err)
		return
	}
	if r.rivals.have(standing.Steps, r.known.steps, time.Now()) {
		pause(ctx, nil, pace.GiveWay)
		return
	}
	limit := r.pace.Limit(standing.Head, standing.Folded, time.Now())
	if limit == 0 {
		pause(ctx, nil, pace.GiveWay)
		return
	}
	began := time.Now()
	done, err := r.work(limited, standing, limit)
	if err != nil {
		r.fail(ctx, err)
		return
	}
	r.calm()
	if done.busy {
		pause(ctx, nil, busyPause)
		return
	}
	pause(ctx, nil, r.pace.Rest(time.Since(began), done.isAtHead))
	if done.isAtHead {
		pause(ctx, moved, maxPause)
	}
}

// progress is what a turn came to.
type progress struct {
	busy     bool // another process is at it
	isAtHead bool // there is nothing left to do just now
}

// work takes a step, and looks for what time has brought: closed sessions, alerts. None of
// them keeps the others from being done.
func (r *Reaction) work(ctx context.Context, at store.ReactionStanding, limit int) (done progress, err error) {
	done.isAtHead = true
	if !r.begun || at.Position < at.Folded {
		done, err = r.follow(ctx, limit)
		if err == nil && done.busy {
			return done, nil
		}
		if err == nil {
			r.pace.Took(limit)
		}
	}
	more, failed := r.settleNow(ctx)
	done.isAtHead = done.isAtHead && !more
	return done, errors.Join(err, failed, r.look(ctx), r.sweep(ctx))
}

// settleNow settles, if it is time to.
func (r *Reaction) settleNow(ctx context.Context) (more bool, err error) {
	now := r.Now()
	if now.Sub(r.settled) < settleEvery {
		return false, nil
	}
	if more, err = r.settle(ctx, settleSessions); !more {
		r.settled = now
	}
	return more, err
}

// sweep forgets what is too old, if it is time to.
func (r *Reaction) sweep(ctx context.Context) error {
	now := r.Now()
	if now.Sub(r.swept) < sweepEvery {
		return nil
	}
	r.swept = now
	return r.db.ExpireReactions(ctx, store.ReactionExpiry{Now: now, Told: now.Add(-ToldFor), Alerts: now.Add(-HistoryFor)})
}

// fail notes an error, and waits before the next try.
func (r *Reaction) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.known.forget()
	if r.faults.note(err) {
		r.pace.Failed()
	}
	r.alarms.Do(func() { r.logger.Error("asking the rules failed, trying again", "error", err) })
	pause(ctx, nil, maxPause)
}

// calm forgets the failures.
func (r *Reaction) calm() { r.alarms = rate.Sometimes{First: 3, Interval: alarmGap} }

// rivals are the other processes that ask the rules. Whoever works goes on: each knows what
// it did itself, and would have to read what another did.
type rivals struct {
	steps int64 // as they were seen last
	since time.Time
}

// rivalPause is for how long nobody may have done a step before another process does.
const rivalPause = 3 * time.Second

// have reports whether another process has worked of late; own are the steps after ours.
func (o *rivals) have(steps, own int64, now time.Time) bool {
	if steps == own || own == 0 {
		o.since = time.Time{}
		return false
	}
	if o.since.IsZero() || steps != o.steps {
		o.steps, o.since = steps, now
	}
	return now.Sub(o.since) < rivalPause
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

// isOf reports whether an error is of a type.
func isOf[T error](err error) (T, bool) { return errors.AsType[T](err) }
