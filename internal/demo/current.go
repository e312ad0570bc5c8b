package demo

import "time"

type currentEvent struct {
	AgentID   string      `json:"agent_id"`
	EventType string      `json:"event_type"`
	Data      any         `json:"data"`
	Timestamp unixSeconds `json:"timestamp"`
}

type currentJoin struct {
	RoomName         string `json:"room_name"`
	ParticipantCount int    `json:"participant_count"`
	SessionID        string `json:"session_id"`
}

type currentMessage struct {
	Role      string      `json:"role"`
	Message   string      `json:"message"`
	SessionID string      `json:"session_id"`
	Timestamp unixSeconds `json:"timestamp"`
}

// unixSeconds has microseconds behind the point. A float64 still tells them
// apart.
type unixSeconds float64

func toUnixSeconds(t time.Time) unixSeconds { return unixSeconds(float64(t.UnixMicro()) / 1e6) }

// currentDeliveries are those of the current generation: snake case.
func (c *conversation) currentDeliveries() []delivery {
	var all []delivery
	for _, m := range c.moments {
		at := c.startedAt.Add(m.after)
		body := currentEvent{AgentID: c.agentID, Timestamp: toUnixSeconds(at)}
		switch m.act {
		case join:
			body.EventType = "room.join"
			body.Data = currentJoin{c.room, c.participants, c.sessionID}
		default:
			body.EventType = "chat.push"
			body.Data = currentMessage{currentRole(m.act), m.text, c.sessionID, toUnixSeconds(at)}
			// The sender looks at its clock a second time.
			body.Timestamp = toUnixSeconds(at.Add(7 * time.Microsecond))
		}
		all = append(all, delivery{at: at, generation: current, body: encode(body)})
	}
	return all
}

func currentRole(a act) string {
	if a == userSays {
		return "user"
	}
	return "assistant"
}
