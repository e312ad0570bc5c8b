package rules

import (
	"context"
	"errors"
	"slices"
	"time"

	"rapport"
)

// Settle is how long a closed session is left alone, behind the receipt of its last
// event, before it is told: what comes together is told once.
const Settle = time.Minute

// evictAfter is for how long a conversation is held once nothing of it comes.
const evictAfter = time.Hour

// History are the events of one conversation at positions before one, whole ones
// alone, in any order.
type History func(ctx context.Context, agentID, sessionID string, before int64) ([]*rapport.Event, error)

// Rehearsal plays events in the order of the log, and tells what would have fired: the
// log's own receipts are its clock. It is not for several goroutines at once.
type Rehearsal struct {
	set     *Set
	fold    *rapport.Fold
	memory  *InMemory
	history History

	talks  map[talkKey]*talk
	due    agenda
	users  map[string][]userText
	alerts []*rehearsedAlert
	looked time.Time // when alerts were looked at
	clock  time.Time // the newest receipt

	failed map[string]error
}

// NewRehearsal begins one. history may be nil, if it begins with the log.
func NewRehearsal(set *Set, fold *rapport.Fold, history History) *Rehearsal {
	r := &Rehearsal{
		set: set, fold: fold, memory: NewInMemory(), history: history,
		talks: make(map[talkKey]*talk), users: make(map[string][]userText), failed: make(map[string]error),
	}
	for _, alert := range set.Alerts() {
		r.alerts = append(r.alerts, &rehearsedAlert{alert: alert, among: make(map[sessionKey]*counted)})
	}
	return r
}

// Lookback is how much earlier than what it is to tell a rehearsal has to begin, by the
// time of receipt, so that it has what rules look back at.
func (s *Set) Lookback(idleTimeout time.Duration) time.Duration {
	back := 2*idleTimeout + Settle
	for _, rule := range s.rules {
		if rule.Count != nil {
			back = max(back, rule.Count.Over)
		}
		if rule.Throttle != nil {
			back = max(back, rule.Throttle.Per)
		}
		if rule.Alert != nil {
			back = max(back, rule.Alert.Window+2*idleTimeout)
		}
	}
	if s.needs.SaidByUser {
		back = max(back, SaidWithin)
	}
	return back
}

// Failed are the rules whose condition could not be evaluated, each with the first error.
func (r *Rehearsal) Failed() map[string]error { return r.failed }

// Add plays the next event of the log, and what came of the time before it.
func (r *Rehearsal) Add(ctx context.Context, e *rapport.Event) ([]Firing, error) {
	firings, err := r.Advance(ctx, e.ReceivedAt)
	if err != nil {
		return nil, err
	}
	occasions := []*Occasion{{On: e.Type, At: e.ReceivedAt, Event: e, Background: r}}
	var of *talk
	if e.InSession() {
		if of, err = r.talkOf(ctx, e); err != nil {
			return nil, err
		}
		session, isNew := r.play(of, e)
		occasions[0].Session = session
		if isNew {
			occasions = append(occasions, &Occasion{On: SessionOpened, At: e.ReceivedAt, Session: session, Background: r})
		}
	}
	for _, o := range occasions {
		found, err := r.match(ctx, o)
		if err != nil {
			return nil, err
		}
		firings = append(firings, found...)
	}
	r.noteSaid(occasions[0])
	return firings, nil
}

func (r *Rehearsal) match(ctx context.Context, o *Occasion) ([]Firing, error) {
	firings, err := r.set.Match(ctx, o, r.memory)
	if wrong, ok := errors.AsType[ConditionErrors](err); ok {
		for _, w := range wrong {
			if r.failed[w.Rule] == nil {
				r.failed[w.Rule] = w.Err
			}
		}
		err = nil
	}
	return firings, err
}

// Advance lets time pass: sessions close, and alerts are looked at.
func (r *Rehearsal) Advance(ctx context.Context, to time.Time) ([]Firing, error) {
	if r.looked.IsZero() {
		r.looked = to.Truncate(AlertEvery)
	}
	var firings []Firing
	for {
		look, closes := r.looked.Add(AlertEvery), r.due.next()
		isLook := len(r.alerts) > 0 && !look.After(to) && (closes.IsZero() || look.Before(closes))
		var found []Firing
		var err error
		switch {
		case isLook:
			r.looked = look
			found, err = r.look(ctx, look)
			r.pass(to, closes)
		case !closes.IsZero() && !closes.After(to):
			found, err = r.settle(ctx, r.due.pop(), closes)
		default:
			if to.After(r.clock) {
				r.clock = to
			}
			return firings, nil
		}
		if err != nil {
			return nil, err
		}
		firings = append(firings, found...)
	}
}

// pass passes over looks of which nothing can come, since there is no session that any
// alert may be of.
func (r *Rehearsal) pass(to, closes time.Time) {
	for _, a := range r.alerts {
		if len(a.among) > 0 {
			return
		}
	}
	if !closes.IsZero() && closes.Before(to) {
		to = closes
	}
	if last := to.Add(-1).Truncate(AlertEvery); last.After(r.looked) {
		r.looked = last
	}
}

// talkKey is a conversation, and sessionKey a session.
type (
	talkKey    struct{ agentID, sessionID string }
	sessionKey struct {
		talkKey
		startedAt int64
	}
)

// talk is one conversation.
type talk struct {
	key     talkKey
	events  []*rapport.Event // in the order of the log
	windows []*rapport.Window
	told    map[int64]int64     // of sessions that were told to be closed, by started_at: their last_position then
	changed map[int64]time.Time // by started_at: the receipt of what came to a session last
	latest  time.Time           // receipt
	next    time.Time           // when it is looked at again
}

func (r *Rehearsal) talkOf(ctx context.Context, e *rapport.Event) (*talk, error) {
	key := talkKey{e.AgentID, e.SessionID}
	if t := r.talks[key]; t != nil {
		return t, nil
	}
	t := &talk{key: key, told: make(map[int64]int64), changed: make(map[int64]time.Time)}
	if r.history != nil {
		events, err := r.history(ctx, e.AgentID, e.SessionID, e.Position)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(events, func(a, b *rapport.Event) int { return int(a.Position - b.Position) })
		t.events, t.windows = events, r.fold.Windows(slices.Clone(events))
		for _, w := range t.windows {
			if r.closesAt(w).Before(r.clock) {
				t.told[w.StartedAt.UnixMicro()] = w.LastPosition
			}
		}
	}
	r.talks[key] = t
	return t, nil
}

func (r *Rehearsal) closesAt(w *rapport.Window) time.Time {
	return w.ClosesAt(r.fold.Settings().IdleTimeout)
}

func (r *Rehearsal) sessionOf(w *rapport.Window) *Session {
	return &Session{Session: w.Session, ClosesAt: r.closesAt(w)}
}

// play folds an event into its conversation. It tells the event's session, and whether
// that is a new one.
func (r *Rehearsal) play(t *talk, e *rapport.Event) (session *Session, isNew bool) {
	before := make(map[int64]int64, len(t.windows))
	for _, w := range t.windows {
		before[w.StartedAt.UnixMicro()] = w.LastPosition
	}
	t.events = append(t.events, e)
	if e.ReceivedAt.After(t.latest) {
		t.latest = e.ReceivedAt
	}
	if last := len(t.windows) - 1; last >= 0 && isAfter(t.windows[last], e) {
		t.windows = append(t.windows[:last], r.fold.Continue(t.windows[last], []*rapport.Event{e})...)
	} else {
		t.windows = r.fold.Windows(slices.Clone(t.events))
	}
	t.noteChanged(before, e.ReceivedAt)
	r.recount(t, before)
	r.plan(t)
	for _, w := range t.windows {
		if !e.OccurredAt.Before(w.StartedAt) && !e.OccurredAt.After(w.LastEventAt) {
			return r.sessionOf(w), w.FirstPosition == e.Position
		}
	}
	return nil, false
}

// noteChanged notes what an event has changed; before are the sessions that there were,
// with their last_position.
func (t *talk) noteChanged(before map[int64]int64, receivedAt time.Time) {
	for _, w := range t.windows {
		startedAt := w.StartedAt.UnixMicro()
		if last, known := before[startedAt]; known && last == w.LastPosition {
			continue
		}
		if receivedAt.After(t.changed[startedAt]) {
			t.changed[startedAt] = receivedAt
		}
	}
}

// isAfter reports whether an event can be folded onto the last window as it is.
func isAfter(w *rapport.Window, e *rapport.Event) bool {
	alone := w.HealedUntil.Add(rapport.HealedWithin)
	return !e.IsHealed() && e.OccurredAt.After(w.LastEventAt) && (w.HealedUntil.IsZero() || e.OccurredAt.After(alone))
}

// isTold reports whether a session was told as it is.
func (t *talk) isTold(w *rapport.Window) bool {
	return t.told[w.StartedAt.UnixMicro()] == w.LastPosition
}

// dueAt is when a session is to be told, if nothing else comes.
func (r *Rehearsal) dueAt(t *talk, w *rapport.Window) time.Time {
	if due := t.changed[w.StartedAt.UnixMicro()].Add(Settle); due.After(r.closesAt(w)) {
		return due
	}
	return r.closesAt(w)
}

// plan notes when to look at a conversation again.
func (r *Rehearsal) plan(t *talk) {
	next := t.latest.Add(evictAfter)
	for _, w := range t.windows {
		if due := r.dueAt(t, w); !t.isTold(w) && due.Before(next) {
			next = due
		}
	}
	if t.next.IsZero() || next.Before(t.next) {
		t.next = next
		r.due.add(next, t.key)
	}
}

// settle tells the sessions of a conversation that have closed, and lets go of it if
// nothing came of it for long.
func (r *Rehearsal) settle(ctx context.Context, key talkKey, now time.Time) ([]Firing, error) {
	t := r.talks[key]
	if t == nil || !t.next.Equal(now) {
		return nil, nil
	}
	t.next = time.Time{}
	var firings []Firing
	isIdle := !now.Before(t.latest.Add(evictAfter))
	for _, w := range t.windows {
		switch {
		case t.isTold(w):
		case r.dueAt(t, w).After(now):
			isIdle = false
		default:
			found, err := r.match(ctx, r.closing(t, w))
			if err != nil {
				return nil, err
			}
			firings = append(firings, found...)
		}
	}
	if isIdle {
		r.evict(t)
	} else {
		r.plan(t)
	}
	return firings, nil
}

func (r *Rehearsal) evict(t *talk) {
	if r.history != nil {
		delete(r.talks, t.key)
	}
}

// closing is what happens to a session that is to be told, which it is then.
func (r *Rehearsal) closing(t *talk, w *rapport.Window) *Occasion {
	o := &Occasion{On: SessionClosed, At: r.closesAt(w), Session: r.sessionOf(w), Background: r}
	if changed := t.changed[w.StartedAt.UnixMicro()]; changed.After(o.At) {
		o.At = changed
	}
	startedAt, last := w.StartedAt.UnixMicro(), w.LastEventAt.UnixMicro()
	_, known := t.told[startedAt]
	if known {
		o.On = SessionChanged
	}
	for other := range t.told { // sessions that have become this one
		if other <= startedAt || other > last {
			continue
		}
		delete(t.told, other)
		o.On = SessionChanged
		if at := time.UnixMicro(other).UTC(); !known && (o.Replaces.IsZero() || at.Before(o.Replaces)) {
			o.Replaces = at
		}
	}
	t.told[w.StartedAt.UnixMicro()] = w.LastPosition
	return o
}

// userText is what a user has said.
type userText struct {
	at   time.Time
	text string
}

func (r *Rehearsal) noteSaid(o *Occasion) {
	id := o.UserID()
	if !r.set.needs.SaidByUser || id == "" || o.Event.Type != rapport.ChatPush || o.Event.Role != rapport.RoleUser {
		return
	}
	r.users[id] = append(r.users[id], userText{o.At, o.Event.Text})
	if extra := len(r.users[id]) - SaidMessages; extra > 0 {
		r.users[id] = r.users[id][extra:]
	}
}

// SaidByUser is of the Background.
func (r *Rehearsal) SaidByUser(_ context.Context, o *Occasion) ([]string, error) {
	var texts []string
	for _, said := range r.users[o.UserID()] {
		if o.At.Sub(said.at) <= SaidWithin {
			texts = append(texts, said.text)
		}
	}
	return texts, nil
}

// SaidInSession is of the Background.
func (r *Rehearsal) SaidInSession(_ context.Context, o *Occasion) ([]string, error) {
	t := r.talks[talkKey{o.AgentID(), o.SessionID()}]
	if t == nil || o.Event == nil || o.Session == nil {
		return nil, nil
	}
	var texts []string
	for _, e := range slices.Backward(t.events) {
		isBefore := e.Position < o.Event.Position && !e.OccurredAt.Before(o.Session.StartedAt) && !e.OccurredAt.After(o.Session.LastEventAt)
		if isBefore && e.Type == rapport.ChatPush && e.Role == rapport.RoleUser && len(texts) < SaidMessages {
			texts = append(texts, e.Text)
		}
	}
	slices.Reverse(texts)
	return texts, nil
}

// Agent is of the Background.
func (r *Rehearsal) Agent(_ context.Context, o *Occasion) (Agent, error) {
	var agent Agent
	for key, t := range r.talks {
		for _, w := range t.windows {
			if w.StartedAt.After(o.At) || !r.closesAt(w).After(o.At) {
				continue
			}
			agent.AllOpenSessions++
			if key.agentID == o.AgentID() {
				agent.OpenSessions++
				agent.Participants += int64(w.PeakParticipants)
			}
		}
	}
	return agent, nil
}
