package aggregator

import (
	"rapport"
	"rapport/store"
)

// touched is a stretch of a conversation that has to be folded anew.
type touched struct {
	span     store.Span   // holds the sessions and the events that touch them
	sessions []store.Span // those that are replaced; none if the events touch no session
}

// touchedSpans joins each event with the sessions that it can touch: its own and
// one neighbour on each side. Stretches that share a session become one. Both
// the spans and the events are in order.
func touchedSpans(spans []store.Span, events []*rapport.Event) []touched {
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
			s.include(spans[end+1])
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
