package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// HistoryQuery asks for a page of how the sessions of a conversation came to be.
type HistoryQuery struct {
	Conversation
	After int64 // a position
	Limit int
}

// Told is what the arrival of an event changed.
type Told struct {
	Event    *rapport.Event
	Aside    bool            // it is a dead letter, and in no session
	Replaced bool            // it is a healed message whose delivery was there already
	Changes  []SessionChange // in the order of time
}

// SessionChange is what became of a session: Before is nil if it began, After if
// nothing is left of it.
type SessionChange struct {
	Before, After *SessionRow
	Replaces      []time.Time // started_at of the sessions that it was before, other than its own
	CutFrom       time.Time   // started_at of the session that it was the end of; zero if it was of none
}

// maxHistoryWork bounds what a page costs that tells of late events: for each of them
// sessions are folded anew.
const maxHistoryWork = 100_000

// AgentsOfSession are at most two of the agents that the log has of a query's session_id.
func (db *DB) AgentsOfSession(ctx context.Context, query *TranscriptQuery) ([]string, error) {
	agents, err := db.q.HistoryAgentList(ctx, dbsqlc.HistoryAgentListParams{
		SessionID: query.SessionID, AgentID: query.AgentID, Agents: orNone(query.Agents),
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the agents of a session: %w", err)
	}
	return agents, nil
}

// History is a page of what each event of a conversation changed, in the order in
// which they were kept, up to what the rollups contain; and the position of the last
// of them if there may be more. What is erased or below the horizon is passed over,
// and ErrGone if there is nothing else. It is ErrRewritten if it could not be read undisturbed.
func (db *DB) History(ctx context.Context, query HistoryQuery) (told []Told, behind int64, err error) {
	followed, err := db.FollowerPosition(ctx, SessionsFollower)
	if err != nil {
		return nil, 0, err
	}
	of := TranscriptQuery{SessionID: query.SessionID, AgentID: query.AgentID}
	h := &historian{past: Past{db: db, of: of, until: afterAll}}
	if h.past.log, err = db.q.AsOfMomentGet(ctx, query.After); err != nil {
		return nil, 0, fmt.Errorf("reading the log's head: %w", err)
	}
	if h.past.settings, err = db.rollupSettings(ctx); err != nil {
		return nil, 0, err
	}
	events, more, err := db.historyEvents(ctx, query, followed)
	if err != nil {
		return nil, 0, err
	}
	if len(events) == 0 {
		return nil, 0, h.anyGone(ctx, query)
	}
	if err := h.begin(ctx, events, query.After); err != nil {
		return nil, 0, err
	}
	for i, e := range events {
		if err := h.tell(ctx, &e); err != nil {
			return nil, 0, err
		}
		events[i] = e
		if h.work > maxHistoryWork && i+1 < len(events) {
			events, more = events[:i+1], true
			break
		}
	}
	if more {
		behind = events[len(events)-1].Event.Position
	}
	return events, behind, h.past.Undisturbed(ctx)
}

// historyEvents are the next events, with nothing told of them yet.
func (db *DB) historyEvents(ctx context.Context, query HistoryQuery, followed int64) ([]Told, bool, error) {
	rows, err := db.q.HistoryEventList(ctx, dbsqlc.HistoryEventListParams{
		SessionID: query.SessionID, AgentID: query.AgentID, Agents: []string{}, After: query.After, UpTo: followed,
		MaxEvents: int32(query.Limit) + 1, MaxBytes: maxStepBytes,
	})
	if err != nil {
		return nil, false, fmt.Errorf("reading the log: %w", err)
	}
	told := make([]Told, len(rows))
	for i, row := range rows {
		told[i] = Told{Aside: row.Aside, Event: pastEvent(row)}
	}
	if len(told) > query.Limit {
		return told[:query.Limit], true, nil
	}
	bytes := 0
	for _, t := range told {
		bytes += len(t.Event.Text)
	}
	return told, bytes >= maxStepBytes, nil
}

// historian knows the sessions of a conversation, from one on, as they were before an
// event of the page.
type historian struct {
	past    Past
	windows []*rapport.Window
	work    int
}

// anyGone is ErrGone on the first page of a conversation that has nothing but what is gone.
func (h *historian) anyGone(ctx context.Context, query HistoryQuery) error {
	h.past.upTo = h.past.log.Position
	if err := h.past.readFrozen(ctx); err != nil || query.After > 0 {
		return err
	}
	if len(h.past.frozen) > 0 {
		return ErrGone
	}
	return nil
}

// begin folds the sessions that the events can touch as they were after a position.
// Where messages are healed that may be any of them.
func (h *historian) begin(ctx context.Context, events []Told, after int64) error {
	h.past.upTo = after
	if after == 0 {
		return nil
	}
	since := afterAll
	for _, e := range events {
		if e.Event.InSession() && e.Event.OccurredAt.Before(since) {
			since = e.Event.OccurredAt
		}
	}
	healed, err := h.past.db.q.AsOfHealedExists(ctx, dbsqlc.AsOfHealedExistsParams{
		SessionID: h.past.of.SessionID, UpTo: events[len(events)-1].Event.Position, ReceivedUntil: afterAll,
	})
	if err != nil {
		return fmt.Errorf("looking for healed messages: %w", err)
	}
	span := allTime
	if !healed {
		skeleton, err := h.fold(ctx, noTexts, allTime)
		if err != nil {
			return err
		}
		i := max(lastBy(skeleton, since)-1, 0)
		if i < len(skeleton) {
			span.StartedAt = skeleton[i].StartedAt
		}
	}
	h.windows, err = h.fold(ctx, allTexts, span)
	h.work = 0 // only what late events cost is bounded
	return err
}

// fold folds what was in the log of a span of time.
func (h *historian) fold(ctx context.Context, texts string, span Span) ([]*rapport.Window, error) {
	replays, work, err := h.past.replay(ctx, texts, span)
	h.work += work
	for _, replay := range replays { // of the one agent
		return replay.Windows(), err
	}
	return nil, err
}

// lastBy is the index of the last session that starts by a time, or -1.
func lastBy(windows []*rapport.Window, at time.Time) int {
	i, found := slices.BinarySearchFunc(windows, at, func(w *rapport.Window, at time.Time) int { return w.StartedAt.Compare(at) })
	if !found {
		i--
	}
	return i
}

// tell finds out what an event changed.
func (h *historian) tell(ctx context.Context, t *Told) error {
	e := t.Event
	if t.Aside || !e.InSession() {
		return nil
	}
	h.past.upTo = e.Position
	from, to := h.touched(e)
	before := make([]rapport.Session, to-from)
	for i, w := range h.windows[from:to] {
		before[i] = w.Session
	}
	after, err := h.foldIn(ctx, t, h.windows[from:to])
	if err != nil {
		return err
	}
	t.Changes = changesOf(before, after, h.past.settings.IdleTimeout)
	h.windows = slices.Concat(h.windows[:from], after, h.windows[to:])
	return nil
}

// carriesOn reports whether an event comes strictly after all sessions, and after what
// it could pair with.
func (h *historian) carriesOn(e *rapport.Event) bool {
	if len(h.windows) == 0 || e.IsHealed() {
		return !e.IsHealed()
	}
	last := h.windows[len(h.windows)-1]
	return e.OccurredAt.After(later(last.LastEventAt, last.HealedUntil.Add(rapport.HealedWithin)))
}

// touched tells which of the sessions an event can change: the last one that it is
// after, and its neighbours. Where messages are healed, it may be any.
func (h *historian) touched(e *rapport.Event) (from, to int) {
	n := len(h.windows)
	switch {
	case h.carriesOn(e):
		return max(n-1, 0), n
	case h.anyHealed(e):
		return 0, n
	}
	i := lastBy(h.windows, e.OccurredAt)
	return max(i-1, 0), min(i+2, n)
}

func (h *historian) anyHealed(e *rapport.Event) bool {
	return e.IsHealed() || slices.ContainsFunc(h.windows, func(w *rapport.Window) bool { return !w.HealedUntil.IsZero() })
}

// foldIn makes of the sessions that an event touches what they become with it.
func (h *historian) foldIn(ctx context.Context, t *Told, touched []*rapport.Window) ([]*rapport.Window, error) {
	e := t.Event
	if h.carriesOn(e) {
		h.work += workOf(e.Text)
		var last *rapport.Window
		if len(touched) > 0 {
			last = touched[0]
		}
		return rapport.NewFold(h.past.settings).Continue(last, []*rapport.Event{e}), nil
	}
	span := allTime
	if !h.anyHealed(e) {
		span = Span{e.OccurredAt, e.OccurredAt}
		for _, w := range touched {
			if w.StartedAt.Before(span.StartedAt) {
				span.StartedAt = w.StartedAt
			}
			span.LastEventAt = later(span.LastEventAt, w.LastEventAt)
		}
	}
	replays, work, err := h.past.replay(ctx, allTexts, span)
	h.work += work
	for _, replay := range replays { // of the one agent
		after := replay.Windows()
		t.Replaced = slices.Contains(replay.Superseded(), e.Position)
		return after, err
	}
	return nil, err
}

// changesOf tells what became of some neighbouring sessions.
func changesOf(before []rapport.Session, after []*rapport.Window, idleTimeout time.Duration) []SessionChange {
	rowOf := func(s *rapport.Session) *SessionRow {
		return &SessionRow{Session: *s, ClosesAt: s.ClosesAt(idleTimeout)}
	}
	heirs, kept := heirsOf(before, after)
	var changes []SessionChange
	for i, w := range after {
		c := SessionChange{After: rowOf(&w.Session)}
		for _, b := range heirs[i] {
			if c.Before == nil || b.StartedAt.Equal(w.StartedAt) {
				c.Before = rowOf(&b)
			}
			if !b.StartedAt.Equal(w.StartedAt) {
				c.Replaces = append(c.Replaces, b.StartedAt)
			}
		}
		for _, b := range before {
			if c.Before == nil && b.StartedAt.Before(w.StartedAt) && !b.LastEventAt.Before(w.StartedAt) {
				c.CutFrom = b.StartedAt
			}
		}
		if c.Before == nil || len(c.Replaces) > 0 || !sameSession(&c.Before.Session, &w.Session) {
			changes = append(changes, c)
		}
	}
	for i, b := range before {
		if !kept[i] {
			changes = append(changes, SessionChange{Before: rowOf(&b)})
		}
	}
	return changes
}

// heirsOf finds for each session what it was before, and which have become nothing: a
// session goes on as the one that has its beginning, or else as the first that begins
// in it, or in what can pair with it.
func heirsOf(before []rapport.Session, after []*rapport.Window) (heirs [][]rapport.Session, kept []bool) {
	heirs, kept = make([][]rapport.Session, len(after)), make([]bool, len(before))
	for i, b := range before {
		heir := lastBy(after, b.StartedAt)
		if heir < 0 || after[heir].LastEventAt.Before(b.StartedAt) {
			heir++
		}
		if heir < len(after) && !after[heir].StartedAt.After(b.LastEventAt.Add(rapport.HealedWithin)) {
			heirs[heir], kept[i] = append(heirs[heir], b), true
		}
	}
	return heirs, kept
}

// sameSession compares what is told of a session.
func sameSession(a, b *rapport.Session) bool {
	x, y := *a, *b
	x.HealedUntil, y.HealedUntil = time.Time{}, time.Time{}
	rated := (x.Rating == nil) == (y.Rating == nil) && (x.Rating == nil || *x.Rating == *y.Rating)
	x.Rating, y.Rating = nil, nil
	return rated && x == y
}
