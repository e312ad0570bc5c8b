package store

import (
	"context"
	"time"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// Conversation is what the windows of a session are cut from: all events of one
// agent_id and session_id.
type Conversation struct {
	AgentID   string
	SessionID string
}

// SessionKey identifies a session.
type SessionKey struct {
	Conversation
	StartedAt time.Time
}

// KeyOf is the key of a session.
func KeyOf(s *rapport.Session) SessionKey {
	return SessionKey{Conversation{s.AgentID, s.SessionID}, s.StartedAt}
}

// Span is the time from a session's first event to its last.
type Span struct {
	StartedAt   time.Time
	LastEventAt time.Time
}

// SessionSpan is the span of a session, and the last healed message within a
// second of it; zero if there is none.
type SessionSpan struct {
	Span
	HealedUntil time.Time
}

// LastSessions are the last sessions of those of the conversations that have any.
func (tx *Tx) LastSessions(ctx context.Context, of []Conversation) (map[Conversation]rapport.Session, error) {
	var p dbsqlc.SessionLastOfManyParams
	for _, c := range of {
		p.AgentIds = append(p.AgentIds, c.AgentID)
		p.SessionIds = append(p.SessionIds, c.SessionID)
	}
	rows, err := tx.q.SessionLastOfMany(ctx, p)
	if err != nil {
		return nil, err
	}
	last := make(map[Conversation]rapport.Session, len(rows))
	for _, row := range rows {
		s := sessionOf(dbsqlc.Session(row))
		last[Conversation{s.AgentID, s.SessionID}] = s
	}
	return last, nil
}

// SaidTexts finds those of the texts that the user of a session has said already.
func (tx *Tx) SaidTexts(ctx context.Context, of map[SessionKey][]rapport.TextHash) (map[SessionKey][]rapport.TextHash, error) {
	var p dbsqlc.SessionTextListParams
	for key, hashes := range of {
		for _, h := range hashes {
			p.AgentIds = append(p.AgentIds, key.AgentID)
			p.SessionIds = append(p.SessionIds, key.SessionID)
			p.StartedAts = append(p.StartedAts, key.StartedAt)
			p.TextHashes = append(p.TextHashes, h[:])
		}
	}
	if len(p.AgentIds) == 0 {
		return nil, nil
	}
	rows, err := tx.q.SessionTextList(ctx, p)
	if err != nil {
		return nil, err
	}
	said := make(map[SessionKey][]rapport.TextHash)
	for _, row := range rows {
		key := SessionKey{Conversation{row.AgentID, row.SessionID}, row.StartedAt}
		said[key] = append(said[key], rapport.TextHash(row.TextHash))
	}
	return said, nil
}

// SessionSpans are the spans of a conversation's sessions, in order, from the
// last one that starts before since to the first one that starts after until,
// both included.
func (tx *Tx) SessionSpans(ctx context.Context, of Conversation, since, until time.Time) ([]SessionSpan, error) {
	rows, err := tx.q.SessionSpanList(ctx, dbsqlc.SessionSpanListParams{
		SessionID: of.SessionID, AgentID: of.AgentID, Since: since, Until: until,
	})
	if err != nil {
		return nil, err
	}
	spans := make([]SessionSpan, len(rows))
	for i, row := range rows {
		spans[i] = SessionSpan{Span: Span{row.StartedAt, row.LastEventAt}, HealedUntil: orZero(row.HealedUntil)}
	}
	return spans, nil
}

// FrozenUntil tells, of those of the conversations that have a session which is frozen
// and ends behind the horizon, when that is: earlier events count nowhere any more.
func (tx *Tx) FrozenUntil(ctx context.Context, of []Conversation) (map[Conversation]time.Time, error) {
	var p dbsqlc.FrozenSpanOfManyParams
	for _, c := range of {
		p.AgentIds = append(p.AgentIds, c.AgentID)
		p.SessionIds = append(p.SessionIds, c.SessionID)
	}
	rows, err := tx.q.FrozenSpanOfMany(ctx, p)
	if err != nil {
		return nil, err
	}
	until := make(map[Conversation]time.Time, len(rows))
	for _, row := range rows {
		until[Conversation{row.AgentID, row.SessionID}] = row.FrozenUntil
	}
	return until, nil
}

// EventsOfSpan are the events of a conversation within a span, ends included,
// as far as this step follows the log, dead letters aside; in no particular order.
func (tx *Tx) EventsOfSpan(ctx context.Context, of Conversation, span Span) ([]*rapport.Event, error) {
	rows, err := tx.q.EventListOfSpan(ctx, dbsqlc.EventListOfSpanParams{
		Follower: tx.follower, SessionID: of.SessionID, AgentID: of.AgentID,
		Since: span.StartedAt, Until: span.LastEventAt, UpTo: tx.upTo,
	})
	if err != nil {
		return nil, err
	}
	events := make([]*rapport.Event, 0, len(rows))
	for _, row := range rows {
		if _, refused := tx.refused[row.Position]; !refused {
			events = append(events, foldedEvent(row))
		}
	}
	return events, nil
}

// Change is what a step does to the rollups.
type Change struct {
	Replaced []SessionKey // sessions that go, or come again among Written
	Refolded []SessionKey // those of them whose texts go as well
	Written  []*rapport.Window
	Healed   []HealedMessage // all those of the stretches that were folded anew, and late events of frozen sessions
}

// HealedMessage is a healed message, and whether it counts nowhere, since a delivery
// of it is there. A late event of a frozen session counts nowhere either.
type HealedMessage struct {
	Conversation
	Position   int64
	Superseded bool
}

// Write makes the change. What it does to the totals comes with the end of the step.
func (tx *Tx) Write(ctx context.Context, change Change, idleTimeout time.Duration) error {
	if len(change.Replaced) > 0 {
		agents, sessions, starts := keyColumns(change.Replaced)
		gone, err := tx.q.SessionDeleteMany(ctx, dbsqlc.SessionDeleteManyParams{
			AgentIds: agents, SessionIds: sessions, StartedAts: starts,
		})
		if err != nil {
			return err
		}
		tx.tally.subSessions(gone)
	}
	if len(change.Refolded) > 0 {
		agents, sessions, starts := keyColumns(change.Refolded)
		if err := tx.q.SessionTextDeleteMany(ctx, dbsqlc.SessionTextDeleteManyParams{
			AgentIds: agents, SessionIds: sessions, StartedAts: starts,
		}); err != nil {
			return err
		}
	}
	if err := tx.supersede(ctx, change.Healed); err != nil {
		return err
	}
	return tx.insert(ctx, change.Written, idleTimeout)
}

// supersede notes which healed messages count nowhere: neither in event_counts.
func (tx *Tx) supersede(ctx context.Context, healed []HealedMessage) error {
	var counts, superseded dbsqlc.SupersededInsertManyParams
	for _, m := range healed {
		p := &counts
		if m.Superseded {
			p = &superseded
		}
		p.AgentIds, p.SessionIds = append(p.AgentIds, m.AgentID), append(p.SessionIds, m.SessionID)
		p.Positions = append(p.Positions, m.Position)
	}
	if len(counts.Positions) > 0 {
		back, err := tx.q.SupersededDeleteMany(ctx, dbsqlc.SupersededDeleteManyParams(counts))
		if err != nil {
			return err
		}
		if err := tx.tally.countPositions(ctx, tx.q, back, 1); err != nil {
			return err
		}
	}
	if len(superseded.Positions) == 0 {
		return nil
	}
	gone, err := tx.q.SupersededInsertMany(ctx, superseded)
	if err != nil {
		return err
	}
	return tx.tally.countPositions(ctx, tx.q, gone, -1)
}

func (tx *Tx) insert(ctx context.Context, windows []*rapport.Window, idleTimeout time.Duration) error {
	var sessions []dbsqlc.SessionInsertManyParams
	var texts []dbsqlc.SessionTextInsertManyParams
	for _, w := range windows {
		row := sessionRow(&w.Session, idleTimeout)
		sessions = append(sessions, dbsqlc.SessionInsertManyParams(row))
		tx.tally.addSession(&row)
		for _, h := range w.Added() {
			texts = append(texts, dbsqlc.SessionTextInsertManyParams{
				AgentID: w.AgentID, SessionID: w.SessionID, StartedAt: w.StartedAt, TextHash: h[:],
			})
		}
	}
	if len(sessions) > 0 {
		if _, err := tx.q.SessionInsertMany(ctx, sessions); err != nil {
			return err
		}
	}
	if len(texts) > 0 {
		if _, err := tx.q.SessionTextInsertMany(ctx, texts); err != nil {
			return err
		}
	}
	return nil
}

func keyColumns(keys []SessionKey) (agents, sessions []string, starts []time.Time) {
	for _, key := range keys {
		agents = append(agents, key.AgentID)
		sessions = append(sessions, key.SessionID)
		starts = append(starts, key.StartedAt)
	}
	return agents, sessions, starts
}
