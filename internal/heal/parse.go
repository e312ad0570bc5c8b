package heal

import (
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// Session is an entry of the record's list. What is absent is empty.
type Session struct {
	ID            string
	AgentCode     string
	RoomName      string
	Started       time.Time
	LastSeen      time.Time
	Status        string
	HasTranscript bool // also where the record does not tell
}

// Message is a line of a transcript, as the record has it.
type Message struct {
	Timestamp string
	Role      string
	Text      string
	HasText   bool
}

// object is a JSON object of which anything may be absent, or of another kind than
// it should be.
type object map[string]json.RawMessage

// text is a string or a number, else empty.
func (o object) text(name string) (text string, ok bool) {
	raw := o[name]
	if json.Unmarshal(raw, &text) == nil && len(raw) > 0 && raw[0] == '"' {
		return text, true
	}
	var number json.Number
	if json.Unmarshal(raw, &number) == nil && number != "" {
		return number.String(), true
	}
	return "", false
}

func (o object) string(name string) string {
	text, _ := o.text(name)
	return text
}

func (o object) time(name string) time.Time {
	at, _ := readTime(o.string(name))
	return at
}

// readTime reads RFC 3339, with or without a fraction, to the microsecond.
func readTime(s string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, false
	}
	return at.UTC().Round(time.Microsecond), true
}

func parseSessions(body []byte) (sessions []Session, unreadable int, err error) {
	list, err := listIn(body, "sessions", "runtime_sessions", "data")
	if err != nil {
		return nil, 0, errors.New("the record's list of sessions can't be read: " + err.Error())
	}
	for _, raw := range list {
		var o object
		if json.Unmarshal(raw, &o) != nil || o.string("id") == "" {
			unreadable++
			continue
		}
		sessions = append(sessions, Session{
			ID: o.string("id"), AgentCode: o.string("agent_code"), RoomName: o.string("room_name"),
			Started: o.time("started"), LastSeen: o.time("last_seen"), Status: o.string("status"),
			HasTranscript: string(o["has_transcript"]) != "false",
		})
	}
	return sessions, unreadable, nil
}

func parseTranscript(body []byte) ([]Message, error) {
	list, err := listIn(body, "messages", "data")
	if err != nil {
		return nil, errors.New("the transcript can't be read: " + err.Error())
	}
	messages := make([]Message, len(list))
	for i, raw := range list {
		var o object
		if json.Unmarshal(raw, &o) != nil {
			continue // it has no text then, and is skipped
		}
		m := Message{Timestamp: o.string("timestamp"), Role: o.string("role")}
		m.Text, m.HasText = o.text("message")
		messages[i] = m
	}
	return messages, nil
}

// listIn finds the list that an answer is about: the answer itself, or what stands
// there under the first of the names that it has.
func listIn(body []byte, names ...string) ([]json.RawMessage, error) {
	if !json.Valid(body) {
		return nil, errors.New("it is not JSON")
	}
	var list []json.RawMessage
	if json.Unmarshal(body, &list) == nil && list != nil {
		return list, nil
	}
	var o object
	if json.Unmarshal(body, &o) == nil {
		i := slices.IndexFunc(names, func(name string) bool { return o[name] != nil })
		if i >= 0 && string(o[names[i]]) == "null" {
			return nil, nil
		}
		if i >= 0 {
			return listIn(o[names[i]], names[i+1:]...)
		}
	}
	return nil, errors.New("it has no list where one should be")
}
