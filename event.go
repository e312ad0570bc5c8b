package rapport

import (
	"bytes"
	"cmp"
	"strings"
	"time"
)

// The event types that have a meaning for sessions. Any other type is kept in
// the log under its own name, and counts as an event of its session.
const (
	RoomJoin   = "room.join"
	ChatPush   = "chat.push"
	SessionEnd = "session.end"
	AgentError = "agent.error"

	// Test and Ping are the sender's probes: in the log, but of no session.
	Test = "test"
	Ping = "ping"
)

// The roles that are told apart. Other roles are kept as they come.
const (
	RoleUser  = "user"
	RoleAgent = "agent"
)

// MaxIDBytes bounds an agent_id, session_id or user_id, in bytes of UTF-8.
// Ids are keys, and Postgres bounds the size of an index entry.
const MaxIDBytes = 512

// Fingerprint tells whether two deliveries are the same event: SHA-256 of what
// makes an event itself, and of nothing that a retry may change.
type Fingerprint [32]byte

// Event is one delivery as Rapport understands it, whatever shape it came in.
// Absent texts are empty.
type Event struct {
	Position    int64       // place in the log, from 1, in commit order without a gap; 0 before it is appended
	Fingerprint Fingerprint // equal for every delivery of the same event
	OccurredAt  time.Time   // UTC, whole microseconds
	ReceivedAt  time.Time   // UTC, whole microseconds, by the receiving server's clock
	Undated     bool        // the delivery carried no time: OccurredAt is ReceivedAt

	Type      string
	AgentID   string
	SessionID string // empty: part of no session
	UserID    string

	Role         string
	Text         string // of a chat.push
	MessageType  string // text, audio, image; of a chat.push
	Language     string
	Participants *int32 // nil if not told
	RoomName     string

	ErrorCode     string
	ErrorSeverity string
	ErrorCategory string

	EndReason string   // of a session.end
	Rating    *float64 // the visitor's satisfaction; nil if not told

	HealedFrom string // where a healed message was read in the sender's own record; empty for what was delivered

	Headers map[string]string // received headers worth keeping; never proofs
	Payload []byte            // the body, verbatim
}

// InSession reports whether the event belongs to a session at all.
func (e *Event) InSession() bool {
	return e.SessionID != "" && e.Type != Test && e.Type != Ping
}

// Rank orders the events of one instant: a join opens, users speak before they
// are answered, and an end closes.
func Rank(eventType, role string) int {
	switch {
	case eventType == RoomJoin:
		return 0
	case eventType == ChatPush && role == RoleUser:
		return 1
	case eventType == ChatPush:
		return 2
	case eventType == SessionEnd:
		return 4
	default:
		return 3
	}
}

// Compare orders the events of a session: by occurred_at, at equal times by
// kind, then by fingerprint. It is total over distinct events.
func Compare(a, b *Event) int {
	if c := a.OccurredAt.Compare(b.OccurredAt); c != 0 {
		return c
	}
	if c := cmp.Compare(Rank(a.Type, a.Role), Rank(b.Type, b.Role)); c != 0 {
		return c
	}
	return bytes.Compare(a.Fingerprint[:], b.Fingerprint[:])
}

// CleanText makes a text that Postgres can hold and that every reader sees
// alike: U+0000 and each byte that is not valid UTF-8 become U+FFFD.
func CleanText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == 0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
