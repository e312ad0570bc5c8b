package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// EventPlace is a place among the events of a session, in rapport.Compare's
// order: behind an event.
type EventPlace struct {
	OccurredAt  time.Time
	Rank        int32 // event_rank
	Fingerprint rapport.Fingerprint
}

// TranscriptQuery asks for a page of what one session_id has.
type TranscriptQuery struct {
	SessionID string
	AgentID   string   // empty: of any agent
	Agents    []string // of these alone; empty: of any
	Span      Span     // zero: at any time
	After     *EventPlace
	Limit     int
}

// Message is a chat.push as it is read.
type Message struct {
	Position         int64
	AgentID          string
	SessionID        string
	SessionStartedAt *time.Time // nil until it is folded
	OccurredAt       time.Time
	Role             string
	Text             string
	MessageType      string
	Language         string
	UserID           string
}

// Messages is a page of messages, and the place behind its last one if there
// are more.
func (db *DB) Messages(ctx context.Context, query TranscriptQuery) ([]Message, *EventPlace, error) {
	if query.isFirst() {
		if short, err := db.readShort(ctx, &query); err != nil || !short.isLonger {
			return short.messages, nil, err
		}
	}
	return db.messages(ctx, &query)
}

func (db *DB) messages(ctx context.Context, query *TranscriptQuery) ([]Message, *EventPlace, error) {
	rows, err := db.q.MessageListOfSession(ctx, dbsqlc.MessageListOfSessionParams(query.params()))
	if err != nil {
		return nil, nil, fmt.Errorf("reading messages: %w", err)
	}
	var place *EventPlace
	if len(rows) > query.Limit {
		rows = rows[:query.Limit]
		last := rows[len(rows)-1]
		place = &EventPlace{last.OccurredAt, rankOf(rapport.ChatPush, last.Role), rapport.Fingerprint(last.Fingerprint)}
	}
	messages := make([]Message, len(rows))
	for i, row := range rows {
		messages[i] = Message{
			Position: row.Position, AgentID: row.AgentID, SessionID: row.SessionID,
			SessionStartedAt: row.SessionStartedAt, OccurredAt: row.OccurredAt, Role: row.Role, Text: row.Message,
			MessageType: row.MessageType, Language: row.Language, UserID: row.UserID,
		}
	}
	return messages, place, nil
}

// isFirst reports whether a query asks for the first page of all that a session_id has.
func (query *TranscriptQuery) isFirst() bool {
	return query.AgentID == "" && len(query.Agents) == 0 && query.Span == Span{} && query.After == nil
}

// StoredEvent is an event of the log. Exactly one of the payloads is there:
// Payload if the body is valid UTF-8.
type StoredEvent struct {
	rapport.Event
	Payload    json.RawMessage
	PayloadRaw []byte
	Erasure    *int64 // nil for a whole event: see the column's comment
}

// IsStub reports whether the content of an event is gone: what announces an erasure
// has some.
func (e *StoredEvent) IsStub() bool { return e.Erasure != nil && string(e.Payload) == StubPayload }

// Events is a page of events, and the place behind its last one if there are
// more.
func (db *DB) Events(ctx context.Context, query TranscriptQuery) ([]StoredEvent, *EventPlace, error) {
	rows, err := db.q.EventListOfSession(ctx, query.params())
	if err != nil {
		return nil, nil, fmt.Errorf("reading events: %w", err)
	}
	var place *EventPlace
	if len(rows) > query.Limit {
		rows = rows[:query.Limit]
		last := rows[len(rows)-1]
		place = &EventPlace{last.OccurredAt, rankOf(last.EventType, last.Role), rapport.Fingerprint(last.Fingerprint)}
	}
	events := make([]StoredEvent, len(rows))
	for i, row := range rows {
		events[i] = StoredEvent{Event: storedEvent(row), Payload: row.Payload, PayloadRaw: row.PayloadRaw, Erasure: row.Erasure}
	}
	return events, place, nil
}

// HasEvents reports whether the log has any event of a query's session_id, of its
// agents.
func (db *DB) HasEvents(ctx context.Context, query *TranscriptQuery) (bool, error) {
	has, err := db.q.EventExistsOfSession(ctx, dbsqlc.EventExistsOfSessionParams{
		SessionID: query.SessionID, AgentID: query.AgentID, Agents: orNone(query.Agents),
	})
	if err != nil {
		return false, fmt.Errorf("looking for events: %w", err)
	}
	return has, nil
}

// Bounds of what a timestamptz can be compared with, beyond every event.
var (
	beforeAll = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	afterAll  = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
)

func (query *TranscriptQuery) params() dbsqlc.EventListOfSessionParams {
	p := dbsqlc.EventListOfSessionParams{
		SessionID: query.SessionID, AgentID: query.AgentID, Agents: orNone(query.Agents), Since: beforeAll, Until: afterAll,
		AfterOccurredAt: beforeAll, AfterRank: -1, AfterFingerprint: []byte{}, MaxRows: int32(query.Limit) + 1,
	}
	if !query.Span.StartedAt.IsZero() {
		p.Since, p.Until = query.Span.StartedAt, query.Span.LastEventAt
	}
	if after := query.After; after != nil {
		p.AfterOccurredAt, p.AfterRank, p.AfterFingerprint = after.OccurredAt, after.Rank, after.Fingerprint[:]
		if after.OccurredAt.After(p.Since) {
			p.Since = after.OccurredAt // said twice, so that the index and the partitions are used
		}
	}
	return p
}

func rankOf(eventType, role string) int32 {
	return int32(rapport.Rank(eventType, role))
}

func storedEvent(row dbsqlc.EventListOfSessionRow) rapport.Event {
	return rapport.Event{
		Position: row.Position, Fingerprint: rapport.Fingerprint(row.Fingerprint), OccurredAt: row.OccurredAt,
		ReceivedAt: row.ReceivedAt, Undated: row.Undated, Type: row.EventType, AgentID: row.AgentID,
		SessionID: row.SessionID, UserID: row.UserID, Role: row.Role, Text: row.Message, MessageType: row.MessageType,
		Language: row.Language, Participants: row.Participants, RoomName: row.RoomName, ErrorCode: row.ErrorCode,
		ErrorSeverity: row.ErrorSeverity, ErrorCategory: row.ErrorCategory, EndReason: row.EndReason, Rating: row.Rating,
		HealedFrom: row.HealedFrom,
	}
}
