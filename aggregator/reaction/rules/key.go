package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"rapport"
)

// by is a value that occasions are counted by. Where one has none, it is not counted,
// nor throttled: people who are not known are not the same one.
type by struct {
	name string
	get  func(*Occasion) (value string, isKnown bool)

	ofEvents bool // for rules on events alone
}

var bys = []by{
	{name: "agent_id", get: func(o *Occasion) (string, bool) { return o.AgentID(), true }},
	{name: "session_id", get: func(o *Occasion) (string, bool) {
		return packed(o.AgentID(), o.SessionID()), o.SessionID() != "" // of two agents these are two conversations
	}},
	{name: "user_id", get: func(o *Occasion) (string, bool) { return o.UserID(), o.UserID() != "" }},
	{name: "room_name", get: func(o *Occasion) (string, bool) {
		if o.Event != nil && o.Event.RoomName != "" || o.Session == nil {
			return eventText(o, func(e *rapport.Event) string { return e.RoomName }), true
		}
		return o.Session.RoomName, true
	}},
	byEvent("type", func(e *rapport.Event) string { return e.Type }),
	byEvent("role", func(e *rapport.Event) string { return e.Role }),
	byEvent("language", func(e *rapport.Event) string { return e.Language }),
	byEvent("error.code", func(e *rapport.Event) string { return e.ErrorCode }),
	byEvent("error.severity", func(e *rapport.Event) string { return e.ErrorSeverity }),
	byEvent("error.category", func(e *rapport.Event) string { return e.ErrorCategory }),
	{name: "text", ofEvents: true, get: func(o *Occasion) (string, bool) {
		text := sameWords(eventText(o, func(e *rapport.Event) string { return e.Text }))
		return text, text != ""
	}},
}

func byEvent(name string, get func(*rapport.Event) string) by {
	return by{name: name, ofEvents: true, get: func(o *Occasion) (string, bool) { return eventText(o, get), true }}
}

func eventText(o *Occasion, get func(*rapport.Event) string) string {
	if o.Event == nil {
		return ""
	}
	return get(o.Event)
}

// byNames are those that a rule may count by.
func byNames(rule *Rule) []string {
	var names []string
	for _, b := range bys {
		if !b.ofEvents || rule.isOfEvents() {
			names = append(names, b.name)
		}
	}
	return names
}

// keyOf is the entry's key of an occasion, and the values that it stands for; false if
// one is not known.
func keyOf(names []string, o *Occasion) (string, map[string]string, bool) {
	values := make(map[string]string, len(names))
	var all []string
	for _, name := range names {
		for _, b := range bys {
			if b.name != name {
				continue
			}
			value, known := b.get(o)
			if !known {
				return "", nil, false
			}
			all = append(all, name, value)
			values[name] = value
			if name == "session_id" {
				values[name] = o.SessionID()
			}
		}
	}
	sum := sha256.Sum256([]byte(packed(all...)))
	return hex.EncodeToString(sum[:16]), values, true
}

// packed is another text for each list of texts.
func packed(texts ...string) string {
	var b []byte
	for _, text := range texts {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return string(b)
}
