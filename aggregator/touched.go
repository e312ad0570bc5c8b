package aggregator

import (
	"slices"
	"time"

	"rapport"
	"rapport/store"
)

// touched is a stretch of a conversation that has to be folded anew.
type touched struct {
	span     store.Span          // holds the sessions and the events that touch them
	sessions []store.SessionSpan // those that are replaced; none if the events touch no session
}

// touchedSpans joins each event with the sessions that it can touch: its own and
// one neighbour on each side. Stretches that share a session become one. Both
// the spans and the events are in order.
func touchedSpans(spans []store.SessionSpan, events []*rapport.Event) []touched {
	var stretches []touched
	end := -1 // index of the last session of the last stretch
	next := 0 // index of the first session that starts after the event
	for _, e := range events {
		for next < len(spans) && !spans[next].StartedAt.After(e.OccurredAt) {
			next++
		}
		from := next - 1 // the session of the event, or the one before it
		if from > 0 && spans[from].StartedAt.Equal(e.OccurredAt) {
			from-- // the event may come before that session's first
		}
		from, to := max(from, 0), min(next, len(spans)-1)
		if len(stretches) == 0 || from > end {
			stretches = append(stretches, touched{span: store.Span{StartedAt: e.OccurredAt, LastEventAt: e.OccurredAt}})
			end = from - 1
		}
		s := &stretches[len(stretches)-1]
		for ; end < to; end++ {
			s.sessions = append(s.sessions, spans[end+1])
			s.include(spans[end+1].Span)
		}
		s.include(store.Span{StartedAt: e.OccurredAt, LastEventAt: e.OccurredAt})
	}
	return stretches
}

func (t *touched) include(s store.Span) {
	if s.StartedAt.Before(t.span.StartedAt) {
		t.span.StartedAt = s.StartedAt
	}
	if s.LastEventAt.After(t.span.LastEventAt) {
		t.span.LastEventAt = s.LastEventAt
	}
}

// isHealedNear reports whether a healed message is among the events, or in or
// beside one of the sessions: then messages may pair, here and further on.
func isHealedNear(stretches []touched, events []*rapport.Event) bool {
	return slices.ContainsFunc(events, func(e *rapport.Event) bool { return e.IsHealed() }) ||
		slices.ContainsFunc(stretches, func(t touched) bool {
			return slices.ContainsFunc(t.sessions, func(s store.SessionSpan) bool { return !s.HealedUntil.IsZero() })
		})
}

// pairReach is how far apart two events may lie that a message between them can
// pair with.
const pairReach = 2 * rapport.HealedWithin

// cluster is sessions and events through which pairs can give way to each other.
type cluster struct {
	touched
	isNew bool // one of the events is in it
}

// touchedClusters is touchedSpans where healed messages are near. What pairs with an
// event can change what pairs with what in all of its cluster, so all of it, like an
// event, touches the sessions beside it; and whatever is read again is read with its
// cluster. The spans of the stretches reach to the superseded messages around them,
// which are in no session.
func touchedClusters(spans []store.SessionSpan, events []*rapport.Event) []touched {
	clusters := clustersOf(spans, events)
	isNew := func(i int) bool { return 0 <= i && i < len(clusters) && clusters[i].isNew }
	var stretches []touched
	before := -2 // the last cluster of the last stretch
	for i, c := range clusters {
		if !isNew(i-1) && !isNew(i) && !isNew(i+1) {
			continue
		}
		if before != i-1 {
			stretches = append(stretches, touched{span: c.span})
		}
		before = i
		s := &stretches[len(stretches)-1]
		s.include(c.span)
		s.sessions = append(s.sessions, c.sessions...)
	}
	for i := range stretches {
		s := &stretches[i].span
		s.StartedAt, s.LastEventAt = s.StartedAt.Add(-rapport.HealedWithin), s.LastEventAt.Add(rapport.HealedWithin)
	}
	return stretches
}

func clustersOf(spans []store.SessionSpan, events []*rapport.Event) []cluster {
	var clusters []cluster
	at := func(span store.Span) *cluster {
		if n := len(clusters); n == 0 || span.StartedAt.Sub(clusters[n-1].span.LastEventAt) > pairReach {
			clusters = append(clusters, cluster{touched: touched{span: span}})
		}
		c := &clusters[len(clusters)-1]
		c.include(span)
		return c
	}
	for len(spans) > 0 || len(events) > 0 {
		if len(events) == 0 || len(spans) > 0 && spans[0].StartedAt.Before(events[0].OccurredAt) {
			c := at(spans[0].Span)
			c.sessions, spans = append(c.sessions, spans[0]), spans[1:]
		} else {
			at(store.Span{StartedAt: events[0].OccurredAt, LastEventAt: events[0].OccurredAt}).isNew = true
			events = events[1:]
		}
	}
	return clusters
}

// isOpen reports whether sessions may be missing from the stretches: one at an end
// of what was read from since to until, with the next ones on both sides.
func isOpen(stretches []touched, since, until time.Time) bool {
	for _, t := range stretches {
		if n := len(t.sessions); n > 0 &&
			(t.sessions[0].StartedAt.Before(since) || t.sessions[n-1].StartedAt.After(until)) {
			return true
		}
	}
	return false
}
