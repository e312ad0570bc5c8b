package rules

import (
	"container/heap"
	"context"
	"time"

	"rapport"
)

// rehearsedAlert is an alert with the sessions that it may be of.
type rehearsedAlert struct {
	alert *Alert
	among map[sessionKey]*counted
	sum   rapport.Totals // of those that are counted
}

type counted struct {
	startedAt time.Time
	totals    rapport.Totals
	isCounted bool // it started before the last look
}

// recount takes the sessions of a conversation that have changed; before are those that
// there were, with their last_position.
func (r *Rehearsal) recount(t *talk, before map[int64]int64) {
	if len(r.alerts) == 0 {
		return
	}
	for _, w := range t.windows {
		startedAt := w.StartedAt.UnixMicro()
		last, known := before[startedAt]
		delete(before, startedAt)
		if known && last == w.LastPosition {
			continue
		}
		for _, a := range r.alerts {
			a.take(sessionKey{t.key, startedAt}, &w.Session)
		}
	}
	for startedAt := range before {
		for _, a := range r.alerts {
			a.drop(sessionKey{t.key, startedAt})
		}
	}
}

func (a *rehearsedAlert) take(key sessionKey, s *rapport.Session) {
	a.drop(key)
	if a.alert.Filter.Matches(s) {
		a.among[key] = &counted{startedAt: s.StartedAt, totals: rapport.TotalsOf(s)}
	}
}

func (a *rehearsedAlert) drop(key sessionKey) {
	if c := a.among[key]; c != nil && c.isCounted {
		a.sum.Sub(c.totals)
	}
	delete(a.among, key)
}

// look looks at all alerts.
func (r *Rehearsal) look(ctx context.Context, now time.Time) ([]Firing, error) {
	var firings []Firing
	for _, a := range r.alerts {
		a.slide(now)
		found, err := r.match(ctx, &Occasion{On: OnMetric, At: now, Rule: a.alert.Rule, Value: a.alert.Value(&a.sum)})
		if err != nil {
			return nil, err
		}
		firings = append(firings, found...)
	}
	return firings, nil
}

// slide counts the sessions that started in the window up to now.
func (a *rehearsedAlert) slide(now time.Time) {
	since := now.Add(-a.alert.Window)
	for key, c := range a.among {
		switch {
		case c.startedAt.Before(since):
			a.drop(key)
		case !c.isCounted && c.startedAt.Before(now):
			c.isCounted = true
			a.sum.Add(c.totals)
		}
	}
}

// agenda has the conversations to look at, the earliest first. One may be there several
// times.
type agenda struct{ appointments appointments }

type appointment struct {
	at  time.Time
	key talkKey
}

func (a *agenda) add(at time.Time, key talkKey) { heap.Push(&a.appointments, appointment{at, key}) }

// next is when the next one is; zero if there is none.
func (a *agenda) next() time.Time {
	if len(a.appointments) == 0 {
		return time.Time{}
	}
	return a.appointments[0].at
}

func (a *agenda) pop() talkKey { return heap.Pop(&a.appointments).(appointment).key }

type appointments []appointment

func (a appointments) Len() int { return len(a) }
func (a appointments) Less(i, j int) bool {
	x, y := a[i], a[j]
	switch {
	case !x.at.Equal(y.at):
		return x.at.Before(y.at)
	case x.key.agentID != y.key.agentID:
		return x.key.agentID < y.key.agentID
	}
	return x.key.sessionID < y.key.sessionID
}
func (a appointments) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *appointments) Push(x any)   { *a = append(*a, x.(appointment)) }
func (a *appointments) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	*a = (*a)[:last]
	return x
}
