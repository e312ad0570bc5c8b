package ingest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"rapport"
)

// A record of the spool is a kind, the length of a head as a uvarint, the head as
// JSON, and the body as it came. The head names its fields, so that a later version
// reads what an earlier one has left.
const (
	kindEvent      = 'e'
	kindQuarantine = 'q'
)

// quarantined is a delivery on its way to the quarantine.
type quarantined struct {
	body    []byte
	reason  string
	headers map[string]string
	seenAt  time.Time
}

// eventHead is an event without its payload. It is what was decoded when the
// delivery was answered: an event that was accepted stays one.
type eventHead struct {
	Fingerprint   []byte            `json:"fingerprint"`
	OccurredAt    int64             `json:"occurred_at_us"`
	ReceivedAt    int64             `json:"received_at_us"`
	Undated       bool              `json:"undated,omitempty"`
	Type          string            `json:"event_type,omitempty"`
	AgentID       string            `json:"agent_id,omitempty"`
	SessionID     string            `json:"session_id,omitempty"`
	UserID        string            `json:"user_id,omitempty"`
	Role          string            `json:"role,omitempty"`
	Text          string            `json:"message,omitempty"`
	MessageType   string            `json:"message_type,omitempty"`
	Language      string            `json:"language,omitempty"`
	Participants  *int32            `json:"participants,omitempty"`
	RoomName      string            `json:"room_name,omitempty"`
	ErrorCode     string            `json:"error_code,omitempty"`
	ErrorSeverity string            `json:"error_severity,omitempty"`
	ErrorCategory string            `json:"error_category,omitempty"`
	EndReason     string            `json:"end_reason,omitempty"`
	Rating        *float64          `json:"rating,omitempty"`
	HealedFrom    string            `json:"healed_from,omitempty"`
	Headers       map[string]string `json:"headers,omitempty"`
}

type quarantineHead struct {
	Reason  string            `json:"reason"`
	Headers map[string]string `json:"headers,omitempty"`
	SeenAt  int64             `json:"seen_at_us"`
}

func eventRecord(e *rapport.Event) []byte {
	return record(kindEvent, eventHead{
		Fingerprint: e.Fingerprint[:], OccurredAt: e.OccurredAt.UnixMicro(), ReceivedAt: e.ReceivedAt.UnixMicro(),
		Undated: e.Undated, Type: e.Type, AgentID: e.AgentID, SessionID: e.SessionID, UserID: e.UserID,
		Role: e.Role, Text: e.Text, MessageType: e.MessageType, Language: e.Language, Participants: e.Participants,
		RoomName: e.RoomName, ErrorCode: e.ErrorCode, ErrorSeverity: e.ErrorSeverity, ErrorCategory: e.ErrorCategory,
		EndReason: e.EndReason, Rating: e.Rating, HealedFrom: e.HealedFrom, Headers: e.Headers,
	}, e.Payload)
}

func quarantineRecord(q quarantined) []byte {
	return record(kindQuarantine, quarantineHead{q.reason, q.headers, q.seenAt.UnixMicro()}, q.body)
}

func record(kind byte, head any, body []byte) []byte {
	text, err := json.Marshal(head)
	if err != nil {
		panic(fmt.Sprintf("a head of texts and numbers always marshals: %v", err))
	}
	r := make([]byte, 0, 1+binary.MaxVarintLen32+len(text)+len(body))
	r = binary.AppendUvarint(append(r, kind), uint64(len(text)))
	return append(append(r, text...), body...)
}

var errRecord = errors.New("a record of the spool that this version of rapport does not know")

// readRecord returns the event, or what belongs into the quarantine. The body is
// shared with the record.
func readRecord(r []byte) (*rapport.Event, *quarantined, error) {
	kind, text, body, err := splitRecord(r)
	if err != nil {
		return nil, nil, err
	}
	switch kind {
	case kindEvent:
		var head eventHead
		if err := json.Unmarshal(text, &head); err != nil || len(head.Fingerprint) != len(rapport.Fingerprint{}) {
			return nil, nil, errRecord
		}
		return head.event(body), nil, nil
	case kindQuarantine:
		var head quarantineHead
		if err := json.Unmarshal(text, &head); err != nil {
			return nil, nil, errRecord
		}
		return nil, &quarantined{body, head.Reason, head.Headers, time.UnixMicro(head.SeenAt).UTC()}, nil
	}
	return nil, nil, errRecord
}

func splitRecord(r []byte) (kind byte, head, body []byte, err error) {
	if len(r) == 0 {
		return 0, nil, nil, errRecord
	}
	length, n := binary.Uvarint(r[1:])
	if n <= 0 || length > uint64(len(r)-1-n) {
		return 0, nil, nil, errRecord
	}
	rest := r[1+n:]
	return r[0], rest[:length], rest[length:], nil
}

func (h *eventHead) event(payload []byte) *rapport.Event {
	return &rapport.Event{
		Fingerprint: rapport.Fingerprint(h.Fingerprint), OccurredAt: time.UnixMicro(h.OccurredAt).UTC(),
		ReceivedAt: time.UnixMicro(h.ReceivedAt).UTC(), Undated: h.Undated, Type: h.Type, AgentID: h.AgentID,
		SessionID: h.SessionID, UserID: h.UserID, Role: h.Role, Text: h.Text, MessageType: h.MessageType,
		Language: h.Language, Participants: h.Participants, RoomName: h.RoomName, ErrorCode: h.ErrorCode,
		ErrorSeverity: h.ErrorSeverity, ErrorCategory: h.ErrorCategory, EndReason: h.EndReason, Rating: h.Rating,
		HealedFrom: h.HealedFrom, Headers: h.Headers, Payload: payload,
	}
}
