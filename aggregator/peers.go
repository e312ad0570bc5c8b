package aggregator

import (
	"context"
	"time"
)

// peer is what is known of the process that follows instead of this one.
type peer struct {
	position int64
	since    time.Time // it has not moved since
	cleared  time.Time // when it was looked who is in the way
}

// clearEvery is how often it is looked who is in the way.
const clearEvery = time.Second

// checkPeer looks who holds the checkpoint without moving it: a process that is
// frozen, or a stranger, would keep everyone from following.
func (f *Follower) checkPeer(ctx context.Context) {
	p := &f.peer
	limited, cancel := context.WithTimeout(ctx, busyLimit)
	defer cancel()
	lag, err := f.db.FollowerLag(limited, f.name, time.Now())
	if err != nil {
		return // the next step tells
	}
	if lag.Position != p.position || lag.Events == 0 {
		p.position, p.since = lag.Position, time.Now()
		return
	}
	if time.Since(p.since) >= busyLimit && time.Since(p.cleared) >= clearEvery {
		p.cleared = time.Now()
		f.clearWay(ctx)
	}
}

// clearWay ends the transactions of frozen processes of ours, and of strangers of
// our role that idle in theirs. It names the strangers that it may not end.
func (f *Follower) clearWay(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, busyLimit)
	defer cancel()
	if n, err := f.db.EndFrozen(ctx); err == nil && n > 0 {
		f.logger.Warn("ended the transactions of a frozen process", "count", n)
	}
	blockers, err := f.db.EndBlockers(ctx)
	if err != nil {
		return // whoever is in the way is still there the next time
	}
	for _, b := range blockers {
		who := []any{"pid", b.PID, "application_name", b.Application, "role", b.Role, "state", b.State, "for", b.Idle}
		if b.Ended {
			f.logger.Warn("ended a stranger who idled in a transaction that the follower waited for", who...)
			continue
		}
		f.alarms.Do(func() {
			f.logger.Error("a stranger keeps the follower waiting: end its transaction, or SELECT pg_terminate_backend(pid)", who...)
		})
	}
}
