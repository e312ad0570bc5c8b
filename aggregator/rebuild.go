package aggregator

import (
	"context"
	"errors"
	"slices"
	"time"

	"rapport"
	"rapport/store"
)

// The phases of a rebuild, in their order.
const (
	PhaseFold    = "folding"
	PhaseIndex   = "indexing"
	PhaseTotals  = "counting"
	PhaseCatchUp = "catching up"
	PhaseSwap    = "waiting for readers" // only if there are any
)

// RebuildProgress tells how far a rebuild is.
type RebuildProgress struct {
	Phase   string
	Done    int64   // events of Total
	Total   int64   // events of the log
	Readers []int32 // backends that the swap waits for; of PhaseSwap
}

// Rebuilt tells what a rebuild has made.
type Rebuilt struct{ Sessions, Events int64 }

// How the swap is tried. While it waits, new readers wait for it, so it waits for a
// short time first, and not at all for transactions that have lasted for longer
// than maxPatience: it lets them be, until they end.
const (
	minPatience = 100 * time.Millisecond
	maxPatience = 3 * time.Second
	swapPause   = 500 * time.Millisecond // between two tries
)

// Rebuild folds the whole log into fresh tables and puts them in the place of the
// old ones, while everybody goes on. The sessions are then made with the settings
// given. It waits for as long as somebody reads the old tables without end.
//
// What came before the rebuild is folded conversation by conversation, on all
// processors, and each session is written once; what comes meanwhile is followed as
// ever.
func Rebuild(ctx context.Context, r *store.Rebuild, settings rapport.Settings, show func(RebuildProgress)) (Rebuilt, error) {
	sessions, err := NewSessions(settings)
	if err != nil {
		return Rebuilt{}, err
	}
	var seen users
	if _, err := seen.areShort(ctx, r); err != nil { // who is still there at the end has been for long
		return Rebuilt{}, err
	}
	if err := newBulk(r, sessions.fold, show).run(ctx); err != nil {
		return Rebuilt{}, err
	}
	show(RebuildProgress{Phase: PhaseIndex, Done: r.Head(), Total: r.Head()})
	if err := r.Index(ctx); err != nil {
		return Rebuilt{}, err
	}
	if err := r.Totals(ctx, func(done, total int) {
		show(RebuildProgress{Phase: PhaseTotals, Done: r.Head() * int64(done) / int64(total), Total: r.Head()})
	}); err != nil {
		return Rebuilt{}, err
	}
	if err := swap(ctx, r, sessions, &seen, show); err != nil {
		return Rebuilt{}, err
	}
	n, err := r.Count(context.WithoutCancel(ctx)) // it is done
	return Rebuilt{Sessions: n, Events: r.Head()}, err
}

// swap tries until nobody is in the way.
func swap(ctx context.Context, r *store.Rebuild, sessions *Sessions, seen *users, show func(RebuildProgress)) error {
	for patience := minPatience; ; {
		if err := catchUp(ctx, r, sessions, show); err != nil {
			return err
		}
		short, err := seen.areShort(ctx, r)
		if err != nil {
			return err
		}
		if short {
			err := r.Swap(ctx, sessions.Settings(), patience, maxEvents, sessions.Apply)
			if !errors.Is(err, store.ErrInUse) {
				return err
			}
			patience = min(2*patience, maxPatience)
		}
		show(RebuildProgress{Phase: PhaseSwap, Done: r.Head(), Total: r.Head(), Readers: seen.pids()})
		pause(ctx, nil, swapPause)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// users are the transactions that use the old tables, and when they were first seen.
type users map[store.TableUser]time.Time

// areShort looks again, and reports whether all have begun within maxPatience.
func (u *users) areShort(ctx context.Context, r *store.Rebuild) (bool, error) {
	list, err := r.Users(ctx)
	if err != nil {
		return false, err
	}
	now, short := time.Now(), true
	seen := make(users, len(list))
	for _, user := range list {
		since, known := (*u)[user]
		if !known {
			since = now
		}
		seen[user] = since
		short = short && now.Sub(since) < maxPatience
	}
	*u = seen
	return short, nil
}

func (u *users) pids() []int32 {
	var pids []int32
	for user := range *u {
		pids = append(pids, user.PID)
	}
	slices.Sort(pids)
	return pids
}

// catchUp follows the log to its head, so that little is left for the swap.
func catchUp(ctx context.Context, r *store.Rebuild, sessions *Sessions, show func(RebuildProgress)) error {
	for {
		step, err := r.CatchUp(ctx, maxEvents, sessions.Apply)
		if err != nil {
			return err
		}
		show(RebuildProgress{Phase: PhaseCatchUp, Done: step.Position, Total: step.Head})
		if step.Position >= step.Head {
			return nil
		}
	}
}
