package conformance

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"rapport"
)

// wire is a generation of the sender's deliveries.
type wire int

const (
	legacy  wire = iota // camel case, RFC 3339
	seeds               // snake case, both times of a message alike
	current             // snake case as sent today: two times, of seven decimals
)

type object = map[string]any

func (w wire) body(e rapport.Event, random *rand.Rand) []byte {
	switch w {
	case legacy:
		return encode(camelCase(e, random))
	case seeds:
		return encode(snakeCase(e))
	default:
		return encode(todaysSnakeCase(e, random))
	}
}

func encode(body object) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // nothing in it can fail
	}
	return text
}

func camelCase(e rapport.Event, random *rand.Rand) object {
	body := object{
		"event":     camelType(e.Type),
		"timestamp": rfc3339(e.OccurredAt, random),
		"agentId":   e.AgentID,
		"sessionId": e.SessionID,
		"user":      object{"id": e.UserID, "name": "Visitor", "location": object{"country": "NL", "city": "Delft"}},
	}
	switch e.Type {
	case rapport.RoomJoin:
		body["room"] = object{"name": e.RoomName, "participants": *e.Participants, "capacity": 50}
		body["metadata"] = object{"referrer": "https://example.com/", "campaign": nil}
	case rapport.ChatPush:
		body["message"] = object{
			"id": "msg_" + token(random, 12), "role": senderRole(e.Role, random), "content": e.Text,
			"type": e.MessageType, "language": e.Language, "confidence": 0.95,
		}
		body["conversation"] = object{"messageCount": 8, "userMessageCount": 4, "averageResponseTime": 1.2}
	case rapport.SessionEnd:
		body["session"] = endOf(e)
		body["metrics"] = object{"totalCost": 0.45}
	case rapport.AgentError:
		body["error"] = errorOf(e)
	}
	return body
}

// camelType is the type with an underscore, as far as that generation knows it.
func camelType(eventType string) string {
	switch eventType {
	case rapport.RoomJoin, rapport.ChatPush, rapport.SessionEnd, rapport.AgentError:
		return strings.ReplaceAll(eventType, ".", "_")
	}
	return eventType
}

func endOf(e rapport.Event) object {
	session := object{"duration": 930, "messageCount": 24}
	if e.EndReason != "" {
		session["endReason"] = e.EndReason
	}
	if e.Rating != nil {
		session["userSatisfaction"] = *e.Rating
	}
	return session
}

func errorOf(e rapport.Event) object {
	return object{
		"code": e.ErrorCode, "message": "no sound for 5 s",
		"severity": e.ErrorSeverity, "category": e.ErrorCategory, "retryable": true,
	}
}

// rfc3339 tells a time in one of several zones.
func rfc3339(t time.Time, random *rand.Rand) string {
	zone := time.FixedZone("", pick(random, 0, 0, 2, -5)*3600)
	return t.In(zone).Format("2006-01-02T15:04:05.999999Z07:00")
}

func snakeCase(e rapport.Event) object {
	at := seconds(e.OccurredAt, 6, 0)
	data := object{"session_id": e.SessionID}
	switch e.Type {
	case rapport.RoomJoin:
		data["room_name"] = e.RoomName
		data["participant_count"] = *e.Participants
	case rapport.ChatPush:
		data["role"] = senderRole(e.Role, nil)
		data["message"] = e.Text
		data["timestamp"] = at
	}
	if e.UserID != "" {
		data["user_id"] = e.UserID
	}
	body := object{"agent_id": e.AgentID, "event_type": e.Type, "data": data, "timestamp": at}
	if e.Type == rapport.AgentError {
		body["error"] = errorOf(e)
	}
	return body
}

// todaysSnakeCase has a time of the message and a later one of its sending,
// finer than a microsecond, and may call the agent's id its code.
func todaysSnakeCase(e rapport.Event, random *rand.Rand) object {
	body := snakeCase(e)
	// Rounded half up, every one of these is the microsecond of the event.
	at := seconds(e.OccurredAt, 7, random.Int64N(10)-5)
	body["timestamp"] = at
	if e.Type == rapport.ChatPush {
		data := body["data"].(object)
		data["role"] = senderRole(e.Role, random)
		data["timestamp"] = at
		body["timestamp"] = seconds(e.OccurredAt, 7, 100+random.Int64N(1_000_000))
	}
	if random.IntN(4) == 0 {
		body["agent_code"] = body["agent_id"]
		delete(body, "agent_id")
	}
	return body
}

// seconds is a time as a decimal literal of 6 or 7 decimals, moved by tenths
// of a microsecond.
func seconds(t time.Time, decimals int, tenths int64) json.Number {
	all := t.UnixMicro()*10 + tenths
	if decimals == 6 {
		return json.Number(fmt.Sprintf("%d.%06d", all/10_000_000, all%10_000_000/10))
	}
	return json.Number(fmt.Sprintf("%d.%07d", all/10_000_000, all%10_000_000))
}

// senderRole is one of the sender's words for the role.
func senderRole(role string, random *rand.Rand) string {
	if role != rapport.RoleAgent {
		return role
	}
	if random == nil {
		return "assistant"
	}
	return pick(random, "assistant", "assistant", "assistant", "agent")
}
