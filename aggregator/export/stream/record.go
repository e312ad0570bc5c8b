package stream

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"

	"rapport/store"
)

// Record is an event to be sent.
type Record struct {
	Position   int64
	OccurredAt time.Time
	Type       string
	AgentID    string
	SessionID  string // empty: part of no session, so nothing orders it
	Alone      bool   // it announces an erasure: no other record overtakes it, and it overtakes none
	Data       []byte // the event as JSON
	Bytes      int    // of the whole event as JSON: more than Data has, if it was too large
}

// session is what the order of records is kept within; empty if there is none.
func (r *Record) session() string {
	if r.SessionID == "" {
		return ""
	}
	return r.AgentID + "\x00" + r.SessionID
}

// event is an event as GET /events tells it.
type event struct {
	Position      int64           `json:"position"`
	OccurredAt    string          `json:"occurred_at"`
	ReceivedAt    string          `json:"received_at"`
	Undated       bool            `json:"undated"`
	EventType     string          `json:"event_type"`
	AgentID       string          `json:"agent_id"`
	SessionID     string          `json:"session_id"`
	UserID        string          `json:"user_id"`
	Role          string          `json:"role"`
	Message       string          `json:"message"`
	MessageType   string          `json:"message_type"`
	Language      string          `json:"language"`
	Participants  *int32          `json:"participants"`
	RoomName      string          `json:"room_name"`
	ErrorCode     string          `json:"error_code"`
	ErrorSeverity string          `json:"error_severity"`
	ErrorCategory string          `json:"error_category"`
	EndReason     string          `json:"end_reason"`
	Rating        *float64        `json:"rating"`
	Fingerprint   string          `json:"fingerprint"`
	Payload       json.RawMessage `json:"payload"`
	PayloadRaw    []byte          `json:"payload_raw"`
	HealedFrom    string          `json:"healed_from"`
	Erased        bool            `json:"erased"`
	Erasure       *int64          `json:"erasure"`
	OmittedBytes  int             `json:"omitted_bytes,omitempty"` // how large it is whole, where its content is left out
}

const timeLayout = "2006-01-02T15:04:05.000000Z"

// recordOf is an event as a record. With omit, its content is left out: the destination
// takes no record as large as that.
func recordOf(e *store.StoredEvent, omit bool) (*Record, error) {
	told := event{
		Position: e.Position, OccurredAt: e.OccurredAt.UTC().Format(timeLayout), ReceivedAt: e.ReceivedAt.UTC().Format(timeLayout),
		Undated: e.Undated, EventType: e.Type, AgentID: e.AgentID, SessionID: e.SessionID, UserID: e.UserID, Role: e.Role,
		Message: e.Text, MessageType: e.MessageType, Language: e.Language, Participants: e.Participants, RoomName: e.RoomName,
		ErrorCode: e.ErrorCode, ErrorSeverity: e.ErrorSeverity, ErrorCategory: e.ErrorCategory, EndReason: e.EndReason,
		Rating: e.Rating, Fingerprint: hex.EncodeToString(e.Fingerprint[:]), Payload: e.Payload, PayloadRaw: e.PayloadRaw,
		HealedFrom: e.HealedFrom, Erased: e.IsStub(), Erasure: e.Erasure,
	}
	data, err := encode(told)
	whole := len(data)
	if err == nil && omit {
		told.leaveOut(whole)
		data, err = encode(told)
	}
	return &Record{
		Position: e.Position, OccurredAt: e.OccurredAt, Type: e.Type, AgentID: e.AgentID, SessionID: e.SessionID,
		Alone: e.IsAnnouncement(), Data: data, Bytes: whole,
	}, err
}

// maxKept is how much of a text is kept, in bytes, where the content is left out.
const maxKept = 128

// leaveOut keeps what tells where and when, and little enough for every destination.
func (e *event) leaveOut(whole int) {
	e.OmittedBytes = whole
	e.Message, e.Payload, e.PayloadRaw = "", nil, nil
	for _, text := range []*string{
		&e.EventType, &e.Role, &e.MessageType, &e.Language, &e.RoomName, &e.ErrorCode, &e.ErrorSeverity, &e.ErrorCategory,
		&e.EndReason, &e.HealedFrom,
	} {
		*text = cut(*text, maxKept)
	}
}

// cut shortens a text to so many bytes at most, between characters.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// encode writes JSON without a newline, in which a payload keeps its texts and numbers as they are.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// filter is what a stream sends; none named is all.
type filter struct{ agents, types []string }

// lets reports whether an event is to be sent. Announcements of erasures always are, but
// that a stream of some agents is told nothing of the others.
func (f *filter) lets(e *store.StoredEvent) bool {
	if e.IsAnnouncement() {
		return len(f.agents) == 0 || slices.Contains(f.agents, e.AgentID) || e.AgentID == "" && f.narrow(e)
	}
	return (len(f.agents) == 0 || slices.Contains(f.agents, e.AgentID)) && (len(f.types) == 0 || slices.Contains(f.types, e.Type))
}

// announcement is the payload of one: see erase_batch.
type announcement struct {
	Erasure       int64          `json:"erasure"`
	Conversations []conversation `json:"conversations"`
	Positions     []int64        `json:"positions"`
}

type conversation struct {
	AgentID     string `json:"agent_id"`
	SessionID   string `json:"session_id"`
	ErasedUntil string `json:"erased_until"`
}

// narrow leaves in an announcement the conversations of the agents alone, and reports
// whether there is anything left to be told. Positions of events of no session are told
// to everybody: whose they were is not known any more.
func (f *filter) narrow(e *store.StoredEvent) bool {
	var told announcement
	if err := json.Unmarshal(e.Payload, &told); err != nil {
		return true // rather too much than that an erasure goes untold
	}
	told.Conversations = slices.DeleteFunc(told.Conversations, func(c conversation) bool { return !slices.Contains(f.agents, c.AgentID) })
	if len(told.Conversations) == 0 && len(told.Positions) == 0 {
		return false
	}
	payload, err := encode(told)
	if err == nil {
		e.Payload = payload
	}
	return true
}
