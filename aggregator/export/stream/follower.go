package stream

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"rapport/store"
)

// Options are what a follower needs.
type Options struct {
	DB      *store.DB
	Watch   *store.Watch
	Config  Config
	Sink    Sink
	Metrics *Metrics
	Logger  *slog.Logger
}

// Follower sends one stream.
type Follower struct {
	Options
	filter filter
	logger *slog.Logger

	// Of Run alone.
	at       int64         // the position, as it was seen last
	acked    map[int64]int // acknowledged behind the position: the bytes of what went without its content, else 0
	tooLarge map[int64]bool
	limit    int // events of the next page
	failures int // in a row, without any progress
	failing  bool
	alarms   rate.Sometimes
}

// The pace of a stream.
const (
	maxEvents  = 2000                   // that a page looks at
	minEvents  = 16                     // of a page, after one with texts that were too much
	gather     = 100 * time.Millisecond // at the head, so that the next page has something in it
	maxPause   = 5 * time.Second        // without anything to do
	holdLimit  = 10 * time.Second       // to look whether another process has it
	busyPause  = time.Second            // while another process has the stream
	firstWait  = 100 * time.Millisecond // before the second try, doubled with each failure
	maxWait    = 30 * time.Second
	maxAsked   = 5 * time.Minute // of what a destination asks for itself
	graceful   = time.Second     // for what is under way at a shutdown
	beatEvery  = 3 * time.Second
	patience   = 15 * time.Second // with a holder that is silent: see store.StreamClaim
	alarmGap   = 10 * time.Second // between log lines about what lasts
	warnOmits  = 20               // log lines in a row about single events
	omitsEvery = time.Minute
)

// NewFollower makes the follower of a stream.
func NewFollower(o Options) *Follower {
	o.Metrics.begin(o.Config.Name)
	f := &Follower{
		Options: o, filter: filter{o.Config.Agents, o.Config.Types}, logger: o.Logger.With("stream", o.Config.Name), limit: maxEvents,
	}
	f.calm()
	return f
}

// Run sends the stream whenever this process has it, until the context ends, and then
// returns nil. What fails is tried again for ever.
func (f *Follower) Run(ctx context.Context) error {
	claim := store.StreamClaim{
		Name: f.Config.Name, Destination: f.Config.Destination(), Start: f.Config.Start, Patience: patience,
	}
	for ctx.Err() == nil {
		hold, err := f.hold(ctx, claim)
		if err == nil && hold == nil {
			pause(ctx, nil, busyPause)
			continue
		}
		if err == nil {
			f.forget(0)
			err = f.follow(ctx, hold)
			hold.Release()
		}
		if err != nil && ctx.Err() == nil {
			f.backOff(ctx, "the stream stands still, trying again", err)
		}
	}
	return nil
}

// hold takes the stream, if no other process has it.
func (f *Follower) hold(ctx context.Context, claim store.StreamClaim) (*store.StreamHold, error) {
	ctx, cancel := context.WithTimeout(ctx, holdLimit) // an answer that was lost on its way never comes
	defer cancel()
	return f.DB.HoldStream(ctx, claim)
}

// follow sends until the context ends, or the stream is lost. What is under way when the
// context ends may come to its end.
func (f *Follower) follow(ctx context.Context, hold *store.StreamHold) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	lasting, lose := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, func() { time.AfterFunc(graceful, lose) })()
	var beating sync.WaitGroup
	defer beating.Wait()
	defer lose()
	defer stop()
	beating.Go(func() { // until the stream is lost, or given up
		for {
			pause(lasting, nil, beatEvery)
			if lasting.Err() != nil {
				return
			}
			if err := hold.Beat(lasting); err != nil {
				stop()
				lose()
			}
		}
	})
	for ctx.Err() == nil {
		if err := f.turn(ctx, lasting, hold); err != nil {
			return err
		}
	}
	return nil
}

// turn sends a page, and waits until there may be another one. An error is one of the
// database's.
func (f *Follower) turn(ctx, lasting context.Context, hold *store.StreamHold) error {
	moved := f.Watch.Moved() // before the look, so that nothing is missed between
	position, head, err := hold.Look(lasting)
	if err != nil {
		return err
	}
	if position != f.at {
		f.forget(position)
	}
	if position >= head {
		f.calm()
		pause(ctx, nil, gather)
		pause(ctx, moved, maxPause)
		return nil
	}
	page, err := f.DB.StreamEvents(lasting, store.StreamQuery{
		After: position, UpTo: head, Agents: f.filter.agents, Types: f.filter.types, MaxEvents: f.limit,
	})
	if err != nil {
		return err
	}
	f.stride(page)
	rest, failure := f.send(lasting, f.records(page.Events))
	to := page.Reached
	if len(rest) > 0 {
		to = rest[0].Position - 1
	}
	if err := f.move(lasting, hold, to); err != nil {
		return err
	}
	if len(rest) == 0 && page.Gone > 0 {
		f.logger.Warn("events have gone for their age before they were sent", "events", page.Gone, "up_to", page.Reached)
	}
	if failure != nil {
		f.backOff(ctx, "sending failed, trying again", failure)
	} else if len(rest) == 0 {
		f.calm()
	}
	return nil
}

// stride fits the next page to the texts of this one.
func (f *Follower) stride(page store.StreamPage) {
	if page.Truncated {
		f.limit = max(minEvents, 2*len(page.Events))
	} else {
		f.limit = 2 * f.limit
	}
	f.limit = min(f.limit, maxEvents)
}

// records are what is to be sent of a page. It is read again for each try, so that what
// is erased meanwhile goes out as the stub that it is.
func (f *Follower) records(events []store.StoredEvent) []*Record {
	records := make([]*Record, 0, len(events))
	for i := range events {
		e := &events[i]
		if _, isAcked := f.acked[e.Position]; isAcked || !f.filter.lets(e) {
			continue
		}
		r, err := recordOf(e, f.tooLarge[e.Position])
		if err != nil { // a payload is JSON, for Postgres has taken it
			f.logger.Error("an event can't be written as JSON, and goes without its content", "position", e.Position, "error", err)
			e.Payload = nil
			r, _ = recordOf(e, true)
		}
		records = append(records, r)
	}
	return records
}

// send sends records, and returns those that are still to be sent. The failure is nil if
// there are none, or if they can be sent at once: without their content.
func (f *Follower) send(ctx context.Context, records []*Record) (rest []*Record, failure error) {
	if len(records) == 0 {
		return nil, nil
	}
	failure = f.Sink.Send(ctx, records)
	partial, isPartial := errors.AsType[*PartialError](failure)
	switch {
	case isPartial:
		rest = partial.Rest
	case failure != nil:
		rest = records
	}
	f.acknowledge(records, rest)
	if isPartial && f.omit(partial.TooLarge) && errors.Is(partial.Err, ErrTooLarge) {
		return rest, nil
	}
	if failure != nil {
		f.Metrics.failures.WithLabelValues(f.Config.Name).Inc()
	}
	return rest, failure
}

// acknowledge notes what was sent.
func (f *Follower) acknowledge(records, rest []*Record) {
	isRest := make(map[int64]bool, len(rest))
	for _, r := range rest {
		isRest[r.Position] = true
	}
	for _, r := range records {
		if isRest[r.Position] {
			continue
		}
		f.failures = 0
		omitted := 0
		if f.tooLarge[r.Position] {
			omitted = r.Bytes
			f.Metrics.omitted.WithLabelValues(f.Config.Name).Inc()
		}
		f.acked[r.Position] = omitted
		f.Metrics.sent.WithLabelValues(f.Config.Name).Inc()
	}
}

// omit has records go without their content. It reports false if one is too large even so.
func (f *Follower) omit(records []*Record) bool {
	for _, r := range records {
		if f.tooLarge[r.Position] {
			return false
		}
		f.tooLarge[r.Position] = true
		f.logger.Warn("an event is larger than the destination takes, and goes without its content, which GET /events has",
			"position", r.Position, "bytes", r.Bytes)
	}
	return len(records) > 0
}

// move moves the position, if there is anything to move it for.
func (f *Follower) move(ctx context.Context, hold *store.StreamHold, to int64) error {
	if to <= f.at {
		return nil
	}
	step := store.StreamMove{From: f.at, To: to}
	for position, omitted := range f.acked {
		if position > to {
			continue
		}
		step.Sent++
		if omitted > 0 {
			step.Omitted = append(step.Omitted, store.StreamOmission{Position: position, Bytes: int64(omitted)})
		}
	}
	// What is acknowledged is noted, even if the process ends now.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceful+beatEvery)
	defer cancel()
	moved, err := hold.Move(ctx, step)
	if err != nil || !moved { // else somebody has set it: the next turn looks
		return err
	}
	f.at = to
	for position := range f.acked {
		if position <= to {
			delete(f.acked, position)
			delete(f.tooLarge, position)
		}
	}
	return nil
}

// forget begins at a position, of which nothing is known but that.
func (f *Follower) forget(position int64) {
	f.at, f.acked, f.tooLarge = position, make(map[int64]int), make(map[int64]bool)
}

// backOff waits before the next try.
func (f *Follower) backOff(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	wait := min(firstWait<<min(f.failures, 10), maxWait)
	f.failures++
	f.failing = true
	wait = wait/2 + rand.N(wait/2) // #nosec G404 -- so that not all streams try at once
	var asking interface{ RetryAfter() time.Duration }
	if errors.As(err, &asking) {
		wait = max(wait, min(asking.RetryAfter(), maxAsked))
	}
	f.alarms.Do(func() { f.logger.Error(what, "position", f.at, "error", err, "wait", wait) })
	pause(ctx, nil, wait)
}

// calm forgets the failures.
func (f *Follower) calm() {
	if f.failing {
		f.logger.Info("sending again")
	}
	f.failures, f.failing = 0, false
	f.alarms = rate.Sometimes{First: 3, Interval: alarmGap}
}

// pause waits for a time, or until woken or cancelled.
func pause(ctx context.Context, woken <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}
