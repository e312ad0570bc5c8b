package archive

import (
	"encoding/json"
	"fmt"
	"time"

	"rapport"
	"rapport/store"
)

// row is an event as a block has it: every column of the log. Times are microseconds
// since 1970 of UTC. A pointer is null where SQL has null. The fingerprint is null where
// it is what the body says: it can't be compressed, and would be half of the block.
type row struct {
	Position      int64    `parquet:"position,delta"`
	OccurredAt    int64    `parquet:"occurred_at,timestamp(microsecond),delta"`
	ReceivedAt    int64    `parquet:"received_at,timestamp(microsecond),delta"`
	EventType     string   `parquet:"event_type,dict"`
	AgentID       string   `parquet:"agent_id,dict"`
	SessionID     string   `parquet:"session_id,dict"`
	UserID        string   `parquet:"user_id,dict"`
	Role          string   `parquet:"role,dict"`
	Message       string   `parquet:"message"`
	MessageType   string   `parquet:"message_type,dict"`
	Language      string   `parquet:"language,dict"`
	Participants  *int32   `parquet:"participants,optional"`
	RoomName      string   `parquet:"room_name,dict"`
	ErrorCode     string   `parquet:"error_code,dict"`
	ErrorSeverity string   `parquet:"error_severity,dict"`
	ErrorCategory string   `parquet:"error_category,dict"`
	EndReason     string   `parquet:"end_reason,dict"`
	Rating        *float64 `parquet:"rating,optional"`
	Undated       bool     `parquet:"undated"`
	HealedFrom    string   `parquet:"healed_from,dict"`
	Erasure       *int64   `parquet:"erasure,optional"` // as in the log: null for a whole event
	Fingerprint   *[]byte  `parquet:"fingerprint,optional"`
	Headers       string   `parquet:"headers,dict"`         // JSON
	Payload       *string  `parquet:"payload,optional"`     // the body, to the byte
	PayloadRaw    *[]byte  `parquet:"payload_raw,optional"` // the body, where it is not valid UTF-8
}

// Decode reads the body of an event of the log again. Of a healed message it is told
// where that was read.
type Decode func(payload []byte, healedFrom string, receivedAt time.Time) (rapport.Event, error)

// body is that of an event, whichever way it is kept.
func body(e *store.ExportedEvent) []byte {
	if e.Payload == nil {
		return e.PayloadRaw
	}
	return e.Payload
}

// said is the fingerprint that the body of a whole event says; ok is false for a stub,
// and for what the decoder of today does not take.
func (d Decode) said(e *store.ExportedEvent) (fingerprint rapport.Fingerprint, ok bool) {
	if e.Erasure != nil {
		return fingerprint, false
	}
	event, err := d(body(e), e.HealedFrom, e.ReceivedAt)
	return event.Fingerprint, err == nil
}

func (d Decode) rowOf(e *store.ExportedEvent) row {
	r := row{
		Position: e.Position, OccurredAt: e.OccurredAt.UnixMicro(), ReceivedAt: e.ReceivedAt.UnixMicro(), EventType: e.Type,
		AgentID: e.AgentID, SessionID: e.SessionID, UserID: e.UserID, Role: e.Role, Message: e.Text, MessageType: e.MessageType,
		Language: e.Language, Participants: e.Participants, RoomName: e.RoomName, ErrorCode: e.ErrorCode,
		ErrorSeverity: e.ErrorSeverity, ErrorCategory: e.ErrorCategory, EndReason: e.EndReason, Rating: e.Rating,
		Undated: e.Undated, HealedFrom: e.HealedFrom, Erasure: e.Erasure, Headers: string(e.Headers),
	}
	if said, ok := d.said(e); !ok || said != e.Fingerprint {
		r.Fingerprint = new(e.Fingerprint[:])
	}
	if e.Payload != nil {
		r.Payload = new(string(e.Payload))
	} else {
		r.PayloadRaw = new(e.PayloadRaw)
	}
	return r
}

func (d Decode) eventOf(r *row) (store.ExportedEvent, error) {
	e := store.ExportedEvent{Headers: json.RawMessage(r.Headers), StoredEvent: store.StoredEvent{
		Erasure: r.Erasure,
		Event: rapport.Event{
			Position: r.Position, OccurredAt: time.UnixMicro(r.OccurredAt).UTC(), ReceivedAt: time.UnixMicro(r.ReceivedAt).UTC(),
			Undated: r.Undated, Type: r.EventType, AgentID: r.AgentID, SessionID: r.SessionID, UserID: r.UserID, Role: r.Role,
			Text: r.Message, MessageType: r.MessageType, Language: r.Language, Participants: r.Participants, RoomName: r.RoomName,
			ErrorCode: r.ErrorCode, ErrorSeverity: r.ErrorSeverity, ErrorCategory: r.ErrorCategory, EndReason: r.EndReason,
			Rating: r.Rating, HealedFrom: r.HealedFrom,
		},
	}}
	switch {
	case r.Payload != nil:
		e.Payload = json.RawMessage(*r.Payload)
	case r.PayloadRaw != nil:
		e.PayloadRaw = *r.PayloadRaw
	default:
		return e, fmt.Errorf("event %d has no body", r.Position)
	}
	if r.Fingerprint != nil {
		if len(*r.Fingerprint) != len(e.Fingerprint) {
			return e, fmt.Errorf("the fingerprint of event %d has %d bytes", r.Position, len(*r.Fingerprint))
		}
		e.Fingerprint = rapport.Fingerprint(*r.Fingerprint)
		return e, nil
	}
	said, ok := d.said(&e)
	if !ok {
		return e, fmt.Errorf("the body of event %d can't be decoded, and its fingerprint is known from nothing else", r.Position)
	}
	e.Fingerprint = said
	return e, nil
}
