package rapport

import (
	"slices"
	"time"
)

// Replay folds the events of one conversation that come in the order of their time,
// a piece at a time, into the sessions that Windows would fold all of them into at
// once. Of the events it holds only those whose pairs are not certain yet: of the
// last second, and of what is near a healed message.
type Replay struct {
	fold    *Fold
	windows []*Window
	pending []*Event
	bytes   int  // of their texts
	certain int  // so many of them can be folded: nothing that comes can pair with them
	open    bool // a healed message is among the others

	healedAt   []time.Time // of all healed messages, in order
	superseded []int64     // positions of those whose delivery is there
}

// Replay begins one.
func (f *Fold) Replay() *Replay { return &Replay{fold: f} }

// Add takes the next event, which is no earlier than the one before. Those of one
// instant may come in any order.
func (r *Replay) Add(e *Event) {
	if n := len(r.pending); n > 0 {
		r.settle(e.OccurredAt, e.OccurredAt.Sub(r.pending[n-1].OccurredAt))
	}
	r.pending, r.bytes = append(r.pending, e), r.bytes+len(e.Text)
	r.open = r.open || e.IsHealed()
	if r.certain > 0 && 2*r.certain >= len(r.pending) { // so that what is left is not copied often
		r.next(r.certain)
	}
}

// settle finds out what is certain before an event of a time, after a gap: see
// Reconcile for how far pairs reach.
func (r *Replay) settle(at time.Time, gap time.Duration) {
	if gap > 2*HealedWithin {
		r.certain, r.open = len(r.pending), false
		return
	}
	for !r.open && r.certain < len(r.pending) && at.Sub(r.pending[r.certain].OccurredAt) > HealedWithin {
		r.certain++
	}
}

// next folds the first n of what is pending.
func (r *Replay) next(n int) {
	events := r.pending[:n:n]
	r.pending, r.certain = slices.Clone(r.pending[n:]), 0
	for _, e := range events {
		r.bytes -= len(e.Text)
	}
	healed := HealedAmong(events)
	counted, healedAt := Reconcile(events)
	r.healedAt = append(r.healedAt, healedAt...)
	for _, e := range Superseded(healed, counted) {
		r.superseded = append(r.superseded, e.Position)
	}
	var last *Window
	if k := len(r.windows); k > 0 {
		r.windows, last = r.windows[:k-1], r.windows[k-1]
	}
	r.windows = append(r.windows, r.fold.Continue(last, counted)...)
}

// HeldBytes is how much text is held, since its pairs are not certain yet.
func (r *Replay) HeldBytes() int { return r.bytes }

// Windows are the sessions, in the order of StartedAt, once all events were added.
func (r *Replay) Windows() []*Window {
	r.next(len(r.pending))
	NoteHealed(r.windows, r.healedAt)
	return r.windows
}

// Superseded are, after Windows, the positions of the healed messages that count
// nowhere, since a delivery of them is there.
func (r *Replay) Superseded() []int64 { return r.superseded }

// Healed reports, after Windows, whether there was any healed message.
func (r *Replay) Healed() bool { return len(r.healedAt) > 0 }
