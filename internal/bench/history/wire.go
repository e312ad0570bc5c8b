package history

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"rapport"
	"rapport/api/webhook"
)

// writer makes events of conversations. Several may work side by side.
type writer struct {
	plan     Plan
	cast     *cast
	language *language
	calendar *calendar
}

func newWriter(p Plan) *writer {
	return &writer{plan: p, cast: newCast(), language: newLanguage(), calendar: p.calendar()}
}

// accountEvery conversations, the sender tells of an agent's making.
const accountEvery = 500

// events are those of conversation i that have happened by the end of the plan.
func (w *writer) events(i int) ([]*rapport.Event, error) {
	c, rng := w.play(i), w.plan.rng(i, 2)
	events := make([]*rapport.Event, 0, len(c.moments)+1)
	add := func(body []byte, at time.Time) error {
		e, err := webhook.Decode(body, at.Add(latency(rng)), time.Time{})
		if err == nil && e.OccurredAt.Before(w.plan.Until) {
			events = append(events, &e)
		}
		return err
	}
	if i%accountEvery == 0 {
		at := c.moments[0].at
		if err := add(accountBody(c, i, at), at); err != nil {
			return nil, err
		}
	}
	said := 0
	for n := range c.moments {
		m := &c.moments[n]
		if m.act == userSays || m.act == agentSays {
			said++
		}
		body := currentBody(c, m)
		if c.agent.shape == legacy {
			body = legacyBody(c, m, n, said)
		}
		if err := add(body, m.at); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// latency is how long a delivery takes.
func latency(rng *rand.Rand) time.Duration { return between(rng, 0.02, 0.3).Truncate(time.Microsecond) }

// body is JSON in the making.
type body []byte

func (b body) raw(text string) body { return append(b, text...) }

func (b body) text(s string) body {
	quoted, err := jsontext.AppendQuote(b, s)
	if err != nil {
		panic(err) // our own texts are valid
	}
	return quoted
}

func (b body) number(n int) body { return strconv.AppendInt(b, int64(n), 10) }

func (b body) seconds(at time.Time) body {
	us := at.UnixMicro()
	b = strconv.AppendInt(b, us/1e6, 10)
	fraction := strconv.AppendInt(nil, 1e6+us%1e6, 10)
	fraction[0] = '.'
	return append(b, fraction...)
}

func currentBody(c *conversation, m *moment) body {
	b := make(body, 0, 320+len(m.text)).raw(`{"agent_id":`).text(c.agent.id)
	if m.act == joins {
		b = b.raw(`,"event_type":"room.join","data":{"room_name":`).text(c.room).raw(`,"participant_count":`).number(1 + c.people)
		b = b.raw(`,"session_id":`).text(c.sessionID)
		if c.userID != "" {
			b = b.raw(`,"user_id":`).text(c.userID)
		}
		return b.raw(`},"timestamp":`).seconds(m.at).raw(`}`)
	}
	role := "assistant"
	if m.act == userSays {
		role = "user"
	}
	b = b.raw(`,"event_type":"chat.push","data":{"role":"`).raw(role).raw(`","message":`).text(m.text)
	b = b.raw(`,"session_id":`).text(c.sessionID).raw(`,"timestamp":`).seconds(m.at)
	// The sender looks at its clock a second time.
	return b.raw(`},"timestamp":`).seconds(m.at.Add(7 * time.Microsecond)).raw(`}`)
}

// legacyBody is that of the n-th moment, when so many messages were said.
func legacyBody(c *conversation, m *moment, n, said int) body {
	b := make(body, 0, 480+len(m.text)).raw(`{"event":"`).raw(legacyTypes[m.act]).raw(`","timestamp":"`)
	b = m.at.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z") // this generation tells whole milliseconds
	b = b.raw(`","agentId":`).text(c.agent.id).raw(`,"sessionId":`).text(c.sessionID).raw(`,"user":{"id":`).text(c.userID)
	switch m.act {
	case joins:
		b = b.raw(`,"location":{"country":"DE","city":"Köln"}},"room":{"name":`).text(c.room)
		b = b.raw(`,"participants":`).number(c.people).raw(`,"capacity":50`)
	case fails:
		b = b.raw(`},"error":{"code":`).text(m.fault.code).raw(`,"message":`).text(m.text)
		b = b.raw(`,"severity":`).text(m.fault.severity).raw(`,"category":`).text(m.fault.category).raw(`,"retryable":true`)
	case ends:
		b = b.raw(`},"session":{"duration":`).number(int(m.at.Sub(c.moments[0].at) / time.Second)).raw(`,"messageCount":`).number(said)
		b = b.raw(`,"endReason":`).text(c.reason)
		if c.rating > 0 {
			b = strconv.AppendFloat(b.raw(`,"userSatisfaction":`), c.rating, 'f', -1, 64)
		}
	default:
		role := "assistant"
		if m.act == userSays {
			role = "user"
		}
		b = b.raw(`},"message":{"id":"msg_`).number(n).raw(`","role":"`).raw(role).raw(`","content":`).text(m.text)
		b = b.raw(`,"type":"audio","language":`).text(c.agent.language).raw(`},"conversation":{"messageCount":`).number(said)
	}
	return b.raw(`}}`)
}

var legacyTypes = map[act]string{
	joins: "room_join", userSays: "chat_push", agentSays: "chat_push", fails: "agent_error", ends: "session_end",
}

func accountBody(c *conversation, i int, at time.Time) body {
	kind := "agent.ready"
	if i%(4*accountEvery) == accountEvery {
		kind = "agent.failed"
	}
	b := body(nil).raw(`{"id":"evt_`).number(i).raw(`","event":"`).raw(kind).raw(`","created":`).number(int(at.Unix()))
	return b.raw(`,"data":{"agent_id":`).text(c.agent.id).raw(`,"code":`).text(c.agent.id).raw(`}}`)
}
