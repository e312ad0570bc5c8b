package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// ExportQuery asks for a page of the log, in the order of positions.
type ExportQuery struct {
	Since, Until time.Time // [Since, Until) on occurred_at; zero is without a bound
	AgentID      string    // empty: of any agent
	After, UpTo  int64     // positions: behind the one, up to the other
}

// The size of a page of an export.
const (
	exportRows  = 2000
	exportBytes = 8 << 20 // of texts and bodies; one row is always read
)

func (q *ExportQuery) span() (since, until time.Time) {
	since, until = q.Since, q.Until
	if since.IsZero() {
		since = beforeAll
	}
	if until.IsZero() {
		until = afterAll
	}
	return since, until
}

// ExportedEvent is all of an event.
type ExportedEvent struct {
	StoredEvent
	Headers json.RawMessage // an object
}

// ExportEvents is the next page of events, stubs included; empty at the end.
func (db *DB) ExportEvents(ctx context.Context, query ExportQuery) ([]ExportedEvent, error) {
	since, until := query.span()
	rows, err := db.q.ExportEventList(ctx, dbsqlc.ExportEventListParams{
		After: query.After, UpTo: query.UpTo, Since: since, Until: until, AgentID: query.AgentID,
		MaxRows: exportRows, MaxBytes: exportBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	events := make([]ExportedEvent, len(rows))
	for i, row := range rows {
		events[i] = ExportedEvent{Headers: row.Headers, StoredEvent: StoredEvent{
			Payload: row.Payload, PayloadRaw: row.PayloadRaw, Erasure: row.Erasure,
			Event: rapport.Event{
				Position: row.Position, Fingerprint: rapport.Fingerprint(row.Fingerprint), OccurredAt: row.OccurredAt,
				ReceivedAt: row.ReceivedAt, Undated: row.Undated, Type: row.EventType, AgentID: row.AgentID,
				SessionID: row.SessionID, UserID: row.UserID, Role: row.Role, Text: row.Message, MessageType: row.MessageType,
				Language: row.Language, Participants: row.Participants, RoomName: row.RoomName, ErrorCode: row.ErrorCode,
				ErrorSeverity: row.ErrorSeverity, ErrorCategory: row.ErrorCategory, EndReason: row.EndReason,
				Rating: row.Rating, HealedFrom: row.HealedFrom,
			},
		}}
	}
	return events, nil
}

// ExportMessages is the next page of messages, each with the session that it is in now;
// empty at the end.
func (db *DB) ExportMessages(ctx context.Context, query ExportQuery) ([]Message, error) {
	since, until := query.span()
	rows, err := db.q.ExportMessageList(ctx, dbsqlc.ExportMessageListParams{
		After: query.After, UpTo: query.UpTo, Since: since, Until: until, AgentID: query.AgentID,
		MaxRows: exportRows, MaxBytes: exportBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("reading messages: %w", err)
	}
	messages := make([]Message, len(rows))
	for i, row := range rows {
		messages[i] = Message{
			Position: row.Position, AgentID: row.AgentID, SessionID: row.SessionID, SessionStartedAt: row.SessionStartedAt,
			OccurredAt: row.OccurredAt, Role: row.Role, Text: row.Message, MessageType: row.MessageType,
			Language: row.Language, UserID: row.UserID,
		}
	}
	return messages, nil
}

// LogMonths are the UTC months that the log may have events of, in order.
func (db *DB) LogMonths(ctx context.Context) ([]time.Time, error) {
	rows, err := db.q.ExportMonthList(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the months of the log: %w", err)
	}
	months := make([]time.Time, len(rows))
	for i, row := range rows {
		months[i] = row.Time.UTC()
	}
	return months, nil
}
