package aggregator

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"rapport/store"
)

// isolate narrows a refused step down to the event that is to blame, and puts
// that one aside.
func (f *Follower) isolate(ctx context.Context, refused *store.RefusedError) {
	events := refused.Events
	if f.stride.refused(refused.After, events[len(events)-1].Position, len(events)) {
		f.putAside(ctx, refused)
		return
	}
	level := slog.LevelDebug
	if f.stride.tries == 1 && !f.stride.isNarrow() {
		level = slog.LevelWarn
	}
	f.logger.Log(ctx, level, "a step was refused, looking for the event that is to blame",
		append(causeOf(refused), "after", refused.After, "events", len(events))...)
	pause(ctx, nil, f.stride.pause())
}

func (f *Follower) putAside(ctx context.Context, refused *store.RefusedError) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	broken, err := f.isBroken(ctx, refused)
	if err != nil {
		f.fail(ctx, err)
		return
	}
	if broken {
		f.standStill(ctx, refused)
		return
	}
	if refused.IsSuspect() && f.proved != refused.After {
		f.proved = refused.After // by a fault that was mended just now, perhaps: once more
		return
	}
	done, err := f.db.PutAside(ctx, f.name, f.projection.Settings(), refused, maxTries)
	if err != nil {
		if !errors.Is(err, store.ErrSettingsChanged) { // else the next step tells
			f.backOff(ctx, "an event could not be put aside, trying again", err)
		}
		return
	}
	if !done { // another process has moved on
		pause(ctx, nil, busyPause)
		return
	}
	event := refused.Events[0]
	f.stride.took(event.Position)
	f.failures = 0
	f.logger.Error("an event was put aside: see `rapport dead-letters`", append(causeOf(refused),
		"position", event.Position, "agent_id", event.AgentID, "session_id", event.SessionID)...)
}

// isBroken reports whether the event is rather not to blame: a projection that
// fails on everything, for a fault in it or in the database, must not make dead
// letters of the whole log. Where that is to be feared, since too many of the
// last events were put aside or the error is of that kind, an event of another
// conversation from further on has to prove that something can be taken.
func (f *Follower) isBroken(ctx context.Context, refused *store.RefusedError) (bool, error) {
	if !refused.IsSuspect() {
		n, err := f.db.DeadLettersAfter(ctx, f.name, refused.After-suspectSpan)
		if err != nil || n < suspectLetters {
			return false, err
		}
	}
	takes, err := f.db.TakesOthers(ctx, f.name, f.projection.Settings(), refused.After, f.projection.Apply)
	return !takes, err
}

// standStill waits for what only an operator can mend.
func (f *Follower) standStill(ctx context.Context, refused *store.RefusedError) {
	f.alarms.Do(func() {
		f.logger.Error("nothing can be taken any more, so nothing is put aside: the sessions stand still until the fault is mended",
			append(causeOf(refused), "position", refused.Events[0].Position)...)
	})
	pause(ctx, nil, min(minRest<<min(f.failures, 10), maxPause))
	f.failures++
}

// tryAgain takes some of the dead letters that are to be tried again. It reports
// whether there may be more to do at once. If that fails for the database, the
// follower's proper work goes on.
func (f *Follower) tryAgain(ctx context.Context) bool {
	if time.Now().Before(f.againAt) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	n, err := f.db.FollowAgain(ctx, f.name, f.projection.Settings(), f.again, f.projection.Apply)
	refused, isRefused := errors.AsType[*store.RefusedError](err)
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, store.ErrSettingsChanged):
		return true // the next step tells
	case isRefused && len(refused.Events) > 1:
		f.again = 1 // each for itself
		return true
	case isRefused:
		return f.putBack(ctx, refused)
	case err != nil:
		f.postpone("trying dead letters again failed", err)
		return false
	}
	f.again = min(2*f.again, maxAgain)
	if n > 0 {
		f.logger.Info("took dead letters that were tried again", "count", n)
	}
	return n > 0
}

func (f *Follower) putBack(ctx context.Context, refused *store.RefusedError) bool {
	if err := f.db.PutBack(ctx, f.name, refused); err != nil {
		f.postpone("a dead letter could not be put back", err)
		return false
	}
	f.logger.Error("a dead letter was tried again and failed", append(causeOf(refused), "position", refused.Events[0].Position)...)
	return true
}

func (f *Follower) postpone(what string, err error) {
	f.againAt = time.Now().Add(maxPause)
	f.logger.Error(what, "error", err)
}

// causeOf is why events were refused, for the log.
func causeOf(refused *store.RefusedError) []any {
	cause := []any{"reason", refused}
	if panicked, ok := errors.AsType[*store.PanicError](refused); ok {
		cause = append(cause, "stack", string(panicked.Stack))
	}
	return cause
}
