package demo

import (
	"math"
	"time"
)

type legacyEvent struct {
	Event        string              `json:"event"`
	Timestamp    string              `json:"timestamp"`
	AgentID      string              `json:"agentId"`
	SessionID    string              `json:"sessionId"`
	Message      *legacyMessage      `json:"message,omitempty"`
	User         legacyUser          `json:"user"`
	Room         *legacyRoom         `json:"room,omitempty"`
	Conversation *legacyConversation `json:"conversation,omitempty"`
	Session      *legacySession      `json:"session,omitempty"`
	Metrics      *legacyMetrics      `json:"metrics,omitempty"`
	Error        *legacyError        `json:"error,omitempty"`
}

type legacyUser struct {
	ID              string          `json:"id"`
	Name            string          `json:"name,omitempty"`
	IP              string          `json:"ip,omitempty"`
	UserAgent       string          `json:"userAgent,omitempty"`
	Location        *legacyLocation `json:"location,omitempty"`
	SessionDuration int64           `json:"sessionDuration,omitempty"` // seconds
}

type legacyLocation struct {
	Country string `json:"country"`
	City    string `json:"city"`
}

type legacyRoom struct {
	Name         string `json:"name"`
	Participants int    `json:"participants"`
	Capacity     int    `json:"capacity"`
}

type legacyMessage struct {
	ID         string  `json:"id"`
	Role       string  `json:"role"`
	Content    string  `json:"content"`
	Type       string  `json:"type"`
	Language   string  `json:"language"`
	Confidence float64 `json:"confidence,omitempty"` // of the speech recognition
}

type legacyConversation struct {
	MessageCount     int `json:"messageCount"`
	UserMessageCount int `json:"userMessageCount"`
}

type legacySession struct {
	StartedAt        string  `json:"startedAt"`
	Duration         int64   `json:"duration"` // seconds
	MessageCount     int     `json:"messageCount"`
	EndReason        string  `json:"endReason"`
	UserSatisfaction float64 `json:"userSatisfaction,omitempty"`
}

type legacyMetrics struct {
	TotalCost float64 `json:"totalCost"`
}

type legacyError struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Severity  string `json:"severity"`
	Category  string `json:"category"`
	Retryable bool   `json:"retryable"`
}

// legacyWriter writes a conversation in the legacy generation: camel case, with
// counts of what has been said so far.
type legacyWriter struct {
	*conversation
	ids   *ids
	count legacyConversation
}

func (c *conversation) legacyDeliveries(ids *ids) []delivery {
	w := legacyWriter{conversation: c, ids: ids}
	var all []delivery
	for _, m := range c.moments {
		// This generation tells whole milliseconds.
		at := c.startedAt.Add(m.after).Truncate(time.Millisecond)
		body := legacyEvent{
			Timestamp: legacyTime(at), AgentID: c.agentID, SessionID: c.sessionID,
			User: legacyUser{ID: c.visitor.id, SessionDuration: int64(m.after / time.Second)},
		}
		w.describe(&body, &m)
		all = append(all, delivery{at: at, generation: legacy, body: encode(body)})
	}
	return all
}

// describe adds what an event of its kind has.
func (w *legacyWriter) describe(body *legacyEvent, m *moment) {
	switch m.act {
	case join:
		body.Event = "room_join"
		v := &w.visitor
		body.User = legacyUser{v.id, v.name, v.ip, v.userAgent, &legacyLocation{v.country, v.city}, 0}
		body.Room = &legacyRoom{Name: w.room, Participants: w.participants, Capacity: 50}
	case fails:
		body.Event = "agent_error"
		body.Error = &legacyError{
			Code: m.fault.code, Message: m.text, Severity: m.fault.severity, Category: m.fault.category,
			Retryable: m.fault.severity != "critical",
		}
	case ends:
		body.Event = "session_end"
		body.Session = w.session(m)
		body.Metrics = &legacyMetrics{TotalCost: math.Round(100*0.03*float64(w.count.MessageCount)) / 100}
	default:
		body.Event = "chat_push"
		body.Message = w.message(m)
		count := w.count
		body.Conversation = &count
	}
}

func (w *legacyWriter) message(m *moment) *legacyMessage {
	message := &legacyMessage{
		ID: "msg_" + w.ids.letters(10), Role: "agent", Content: m.text, Type: "text", Language: w.script.language,
	}
	w.count.MessageCount++
	if m.act != userSays {
		return message
	}
	w.count.UserMessageCount++
	message.Role = "user"
	if w.spoken {
		message.Type = "audio"
		message.Confidence = float64(80+w.ids.rng.IntN(20)) / 100
	}
	return message
}

func (w *legacyWriter) session(m *moment) *legacySession {
	return &legacySession{
		StartedAt: legacyTime(w.startedAt), Duration: int64(m.after / time.Second), MessageCount: w.count.MessageCount,
		EndReason: m.reason, UserSatisfaction: m.rating,
	}
}

func legacyTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
