package api

import (
	"bytes"
	"context"

	livehub "rapport/api/live"
	"rapport/store"
)

// liveSource is the log and its sessions, as a live stream tells them.
type liveSource struct{ s *server }

// One reading of the log ends when it has so many events or bytes, or has looked through
// so many for those that its filters let through.
const (
	liveEvents = 500
	liveBytes  = 1 << 20
	liveFirst  = 32 // events that are read before it is known how large they are
	liveScans  = 10
)

// State is how far the log and its sessions are.
func (l liveSource) State(ctx context.Context) (livehub.State, error) {
	state, err := l.s.DB.LiveState(ctx)
	return livehub.State(state), err
}

// Moved is closed when something may have moved.
func (l liveSource) Moved() <-chan struct{} { return l.s.Watch.Moved() }

// Events are the next events, stubs included.
func (l liveSource) Events(ctx context.Context, q livehub.Query) ([]livehub.Message, int64, error) {
	query := store.EventQuery{
		After: q.After, UpTo: q.UpTo, AgentID: q.Filter.AgentID, SessionID: q.Filter.SessionID,
		EventType: q.Filter.EventType, Agents: q.Filter.Agents, Limit: liveFirst,
	}
	var messages []livehub.Message
	size := 0
	for scans := 0; query.After < query.UpTo && len(messages) < liveEvents && size < liveBytes && scans < liveScans; scans++ {
		events, reached, err := l.s.DB.EventsBehind(ctx, query)
		if err != nil {
			return nil, 0, err
		}
		for i := range events {
			m, err := eventMessage(&events[i])
			if err != nil {
				return nil, 0, err
			}
			messages, size = append(messages, m), size+len(m.Data)
		}
		query.After = reached
		query.Limit = liveEvents
		if len(messages) > 0 {
			query.Limit = max(1, min(liveEvents-len(messages), (liveBytes-size)/max(1, size/len(messages))))
		}
	}
	return messages, query.After, nil
}

func eventMessage(e *store.StoredEvent) (livehub.Message, error) {
	data, err := encodeJSON(eventOf(e))
	return livehub.Message{
		Kind: livehub.Events, Position: e.Position, AgentID: e.AgentID, SessionID: e.SessionID, EventType: e.Type,
		ReceivedAt: e.ReceivedAt, Data: bytes.TrimSuffix(data, []byte("\n")), // the one line break that encoding/json leaves
	}, err
}

// Sessions are the next sessions that have changed.
func (l liveSource) Sessions(ctx context.Context, q livehub.Query) ([]livehub.Message, int64, error) {
	told, reached, err := l.s.DB.ChangedSessions(ctx, store.ChangeQuery{
		After: q.After, UpTo: q.UpTo, AgentID: q.Filter.AgentID, SessionID: q.Filter.SessionID, Agents: q.Filter.Agents,
	})
	if err != nil {
		return nil, 0, err
	}
	messages := make([]livehub.Message, len(told))
	now := l.s.now()
	for i := range told {
		t := &told[i]
		shown := toldSession{session: sessionAt(&t.SessionRow, now)}
		if !t.After.IsZero() {
			shown.after = new(timestamp(t.After))
		}
		if !t.Before.IsZero() {
			shown.before = new(timestamp(t.Before))
		}
		messages[i] = livehub.Message{
			Kind: livehub.Sessions, Position: t.ToldAt, AgentID: t.AgentID, SessionID: t.SessionID, Data: shown.appendJSON(nil),
		}
	}
	return messages, reached, nil
}

// toldSession is a session, and which others it replaces.
type toldSession struct {
	session
	after, before *timestamp // nil: no bound
}

func (t *toldSession) appendJSON(b []byte) []byte {
	b = t.session.appendJSON(b)
	b = appendTime(b[:len(b)-1], `,"replaces":{"after":`, t.after)
	b = appendTime(b, `,"before":`, t.before)
	return append(b, "}}"...)
}
