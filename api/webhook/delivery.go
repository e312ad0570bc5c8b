package webhook

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"rapport"
)

// delivery is a parsed body, with the objects inside that are looked into. An
// object that is absent, or no object, is a nil map: looking into it finds
// nothing.
type delivery struct {
	body    []byte
	root    map[string]any
	data    map[string]any
	user    map[string]any
	message map[string]any
	room    map[string]any
	fault   map[string]any
	session map[string]any
}

func newDelivery(body []byte, root map[string]any) *delivery {
	object := func(name string) map[string]any {
		m, _ := root[name].(map[string]any)
		return m
	}
	return &delivery{
		body:    body,
		root:    root,
		data:    object("data"),
		user:    object("user"),
		message: object("message"),
		room:    object("room"),
		fault:   object("error"),
		session: object("session"),
	}
}

// event gathers the fields from their places, the texts as they came.
func (d *delivery) event() rapport.Event {
	e := rapport.Event{
		Type:      eventType(firstText(d.root["event_type"], d.root["event"], d.root["type"])),
		AgentID:   firstText(d.root["agent_id"], d.root["agentId"], d.root["agent_code"], d.data["agent_id"]),
		SessionID: firstText(d.data["session_id"], d.root["session_id"], d.root["sessionId"]),
		UserID:    firstText(d.user["id"], d.data["user_id"]),

		Role:         role(firstText(d.data["role"], d.message["role"])),
		Text:         firstText(d.data["message"], d.root["message"], d.message["content"], d.data["content"]),
		MessageType:  firstText(d.message["type"]),
		Language:     firstText(d.message["language"]),
		Participants: firstCount(d.data["participant_count"], d.room["participants"]),
		RoomName:     firstText(d.data["room_name"], d.room["name"]),

		ErrorCode:     firstText(d.fault["code"]),
		ErrorSeverity: firstText(d.fault["severity"]),
		ErrorCategory: firstText(d.fault["category"]),

		EndReason: firstText(d.session["endReason"]),
		Rating:    finite(d.session["userSatisfaction"]),

		Payload: d.body,
	}
	if e.Type == rapport.ChatPush && e.MessageType == "" {
		e.MessageType = "text"
	}
	return e
}

// eventType gives the legacy names of the four known types their present form.
// Any other type keeps the name it has.
func eventType(name string) string {
	switch name {
	case "room_join":
		return rapport.RoomJoin
	case "chat_push":
		return rapport.ChatPush
	case "session_end":
		return rapport.SessionEnd
	case "agent_error":
		return rapport.AgentError
	default:
		return name
	}
}

// role folds the names that the sender has had for its avatar into one.
func role(name string) string {
	switch name = strings.ToLower(name); name {
	case "assistant", "bot", "avatar":
		return rapport.RoleAgent
	default:
		return name
	}
}

// firstText is the first place that holds a text which is not empty.
func firstText(places ...any) string {
	for _, place := range places {
		if s, ok := place.(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// firstCount is the first place that holds a count of participants, nil if none
// does.
func firstCount(places ...any) *int32 {
	for _, place := range places {
		_, number, ok := numeric(place)
		if !ok || !number.isWhole() {
			continue
		}
		if n := number.floor(0); n <= math.MaxInt32 && (!number.negative || n == 0) {
			count := int32(n)
			return &count
		}
	}
	return nil
}

// finite is the number that a place holds, nil if it holds none that a float64
// can.
func finite(place any) *float64 {
	literal, _, ok := numeric(place)
	if !ok {
		return nil
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil { // out of range: the literal itself is sound
		return nil
	}
	return &f
}

// numeric reads a number, or a string that is one JSON number and nothing else.
func numeric(place any) (literal string, number decimal, ok bool) {
	switch v := place.(type) {
	case json.Number:
		literal = v.String()
	case string:
		literal = v
	default:
		return "", decimal{}, false
	}
	number, ok = parseDecimal(literal)
	return literal, number, ok
}
