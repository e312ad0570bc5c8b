package rapport

import (
	"slices"
	"sort"
	"time"
)

// HealedWithin is how far a healed message and the delivered one that is the same
// may lie apart, ends included: the sender's record has whole seconds, cut or rounded.
const HealedWithin = time.Second

// IsHealed reports whether the event is a healed message: one that was read in the
// sender's own record, because no delivery of it had come.
func (e *Event) IsHealed() bool { return e.HealedFrom != "" && e.Type == ChatPush }

// Reconcile finds the healed messages of a conversation whose delivery came after
// all. It returns the events that count, in order and without repetition, and the
// times of all healed messages, in order. The slice given is sorted in place.
//
// A healed message is superseded by a delivered one of the same role, with the same
// text or one that begins with it, within [HealedWithin]. They pair one to one: as
// many as possible, and of several that compete the earliest. So what counts is a
// function of the set of events, for which it must be all of a conversation, or a
// part of it with no other message within twice HealedWithin.
func Reconcile(events []*Event) (counted []*Event, healedAt []time.Time) {
	slices.SortFunc(events, Compare)
	events = slices.CompactFunc(events, func(a, b *Event) bool { return Compare(a, b) == 0 })
	var healed []*Event
	for _, e := range events {
		if e.IsHealed() {
			healed, healedAt = append(healed, e), append(healedAt, e.OccurredAt)
		}
	}
	if len(healed) == 0 {
		return events, nil
	}
	p := pairAll(healed, delivered(events))
	counted = make([]*Event, 0, len(events))
	seen := 0 // healed messages
	for _, e := range events {
		if e.IsHealed() {
			seen++
			if p.match[seen-1] != none {
				continue
			}
		}
		counted = append(counted, e)
	}
	return counted, healedAt
}

// HealedAmong are the healed messages among some events.
func HealedAmong(events []*Event) []*Event {
	var healed []*Event
	for _, e := range events {
		if e.IsHealed() {
			healed = append(healed, e)
		}
	}
	return healed
}

// Superseded are those of the healed messages that are not among the events that
// count, by their positions.
func Superseded(healed, counted []*Event) []*Event {
	if len(healed) == 0 {
		return nil
	}
	counts := make(map[int64]bool)
	for _, e := range HealedAmong(counted) {
		counts[e.Position] = true
	}
	return slices.DeleteFunc(slices.Clone(healed), func(e *Event) bool { return counts[e.Position] })
}

// NoteHealed sets HealedUntil of windows, by the times of the conversation's healed
// messages, in order.
func NoteHealed(windows []*Window, healedAt []time.Time) {
	for _, w := range windows {
		w.HealedUntil = time.Time{}
		until := w.LastEventAt.Add(HealedWithin)
		i := sort.Search(len(healedAt), func(i int) bool { return healedAt[i].After(until) })
		if i > 0 && !healedAt[i-1].Before(w.StartedAt.Add(-HealedWithin)) {
			w.HealedUntil = healedAt[i-1]
		}
	}
}

// Missing tells which messages of a conversation's record have to be in the log as
// healed ones, in order, besides the delivered ones that are there. These are the
// messages that no delivered one is left for, and those that compete with them:
// of "yes" said twice in a second and delivered once, both, for a single one would
// pair with the one delivered. Healing more than these changes nothing that counts.
func Missing(record, log []*Event) []*Event {
	record, log = slices.SortedFunc(slices.Values(record), Compare), slices.SortedFunc(slices.Values(log), Compare)
	p := pairAll(record, delivered(log))
	var missing []*Event
	for h, e := range record {
		if p.short[h] {
			missing = append(missing, e)
		}
	}
	return missing
}

// delivered are the messages that were delivered, in order.
func delivered(sorted []*Event) []*Event {
	var messages []*Event
	for _, e := range sorted {
		if e.Type == ChatPush && e.HealedFrom == "" {
			messages = append(messages, e)
		}
	}
	return messages
}
