package heal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"rapport"
	"rapport/internal/redact"
)

// payload is a message of the record as the log keeps it: what the record says, and
// what else the event is made of. Its JSON is the same, to the byte, whenever the
// same message is healed.
type payload struct {
	Source    string `json:"source"`     // always [source]
	AgentID   string `json:"agent_id"`   // the log's name of the agent, which may be another than agent_code
	AgentCode string `json:"agent_code"` // these, and what follows, as the record has them
	SessionID string `json:"session_id"`
	RoomName  string `json:"room_name"`
	Timestamp string `json:"timestamp"`
	Role      string `json:"role"`
	Message   string `json:"message"`
	Ordinal   int    `json:"ordinal"` // from 0, among equal messages of one time
}

const source = "runtime-sessions"

// maxTextBytes bounds a text that is healed. No delivery can have a longer one.
const maxTextBytes = 1 << 20

// errTime says of a message that nobody can tell when it was.
var errTime = errors.New("its timestamp is not RFC 3339")

// event is the healed message; all but HealedFrom and ReceivedAt.
func (p *payload) event() (rapport.Event, error) {
	at, ok := readTime(p.Timestamp)
	if !ok {
		return rapport.Event{}, errTime
	}
	e := rapport.Event{
		Type: rapport.ChatPush, OccurredAt: at,
		AgentID: rapport.CleanText(p.AgentID), SessionID: rapport.CleanText(p.SessionID),
		RoomName: rapport.CleanText(p.RoomName), Role: role(p.Role), Text: rapport.CleanText(p.Message), MessageType: "text",
	}
	e.Fingerprint = fingerprint(&e, p.Ordinal)
	return e, p.write(&e)
}

// write sets the event's payload.
func (p *payload) write(e *rapport.Event) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(p); err != nil {
		return fmt.Errorf("writing a healed message down: %w", err)
	}
	e.Payload = bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
	return nil
}

// role is what the decoder of deliveries makes of it.
func role(name string) string {
	switch name = rapport.CleanText(strings.ToLower(name)); name {
	case "assistant", "bot", "avatar":
		return rapport.RoleAgent
	default:
		return name
	}
}

// domain begins what is hashed for a healed message. What is hashed for a delivery
// begins with another byte, so that the two are never the same event.
const domain = "healed message 1"

// fingerprint hashes what the message is, and not where it was read: a record that
// has moved heals nothing twice.
func fingerprint(e *rapport.Event, ordinal int) rapport.Fingerprint {
	hashed := []byte(domain)
	for _, field := range []string{e.AgentID, e.SessionID, e.Role, e.Text} {
		hashed = append(binary.BigEndian.AppendUint64(hashed, uint64(len(field))), field...)
	}
	hashed = binary.BigEndian.AppendUint64(hashed, uint64(e.OccurredAt.UnixMicro()))
	return sha256.Sum256(binary.BigEndian.AppendUint64(hashed, uint64(ordinal)))
}

// Decode makes a healed message's event again from what the log has of it. It is an
// error if the payload is not, to the byte, what healing writes.
func Decode(stored []byte, healedFrom string, receivedAt time.Time) (rapport.Event, error) {
	var p payload
	if err := json.Unmarshal(stored, &p); err != nil {
		return rapport.Event{}, fmt.Errorf("the payload of a healed message can't be read: %w", err)
	}
	e, err := p.event()
	if err != nil {
		return rapport.Event{}, fmt.Errorf("the payload is no healed message's: %w", err)
	}
	if !bytes.Equal(e.Payload, stored) || p.Source != source {
		return rapport.Event{}, errors.New("the payload is no healed message's: it was not written by healing")
	}
	e.HealedFrom, e.ReceivedAt = healedFrom, receivedAt.UTC().Truncate(time.Microsecond)
	return e, nil
}

// origin is what the messages of one transcript have in common.
type origin struct {
	session    Session
	mask       *redact.Rules
	agentID    string // that they have in the log
	healedFrom string
	receivedAt time.Time
	earliest   time.Time // no message that is kept is earlier
	latest     time.Time // no message can be later
}

// maxAhead is how far a message may be ahead of the newest receipt.
const maxAhead = 24 * time.Hour

// events makes the messages of a transcript what they are in the log. What has no
// text, no time or an impossible one, and what is too old, is skipped, and counted.
func (o *origin) events(messages []Message) (events []*rapport.Event, skipped int) {
	said := make(map[utterance]int)
	for _, m := range messages {
		at, ok := readTime(m.Timestamp)
		if !ok || !m.HasText || len(m.Text) > maxTextBytes || at.Before(o.earliest) || at.After(o.latest) {
			skipped++
			continue
		}
		text := o.mask.Text(m.Text)
		same := utterance{role(m.Role), rapport.CleanText(text), at.UnixMicro()}
		p := payload{
			Source: source, AgentID: o.agentID, AgentCode: o.session.AgentCode, SessionID: o.session.ID,
			RoomName: o.mask.Text(o.session.RoomName), Timestamp: m.Timestamp, Role: m.Role, Message: text, Ordinal: said[same],
		}
		e, err := p.event()
		if err != nil {
			skipped++
			continue
		}
		said[same]++
		e.HealedFrom, e.ReceivedAt = o.healedFrom, o.receivedAt
		events = append(events, &e)
	}
	return events, skipped
}
