package conformance

import (
	"math/rand/v2"
	"time"

	"rapport"
)

// conversation is one dialogue as it happens: what else occurs, and when.
// Until endWithin, its times count from zero.
type conversation struct {
	random    *rand.Rand
	wire      wire
	agentID   string
	sessionID string
	userID    string
	clock     time.Time
	atOnce    bool // the next event is at the clock's instant
	events    []rapport.Event
}

func newConversation(random *rand.Rand) *conversation {
	c := &conversation{
		random:    random,
		wire:      pick(random, legacy, seeds, current),
		agentID:   pick(random, agents...),
		sessionID: uuid(random),
		clock:     time.UnixMicro(0).UTC(),
	}
	if c.wire == legacy || c.chance(0.3) {
		c.userID = "user_" + token(random, 8)
	}
	return c
}

func (c *conversation) tell(d Dialogue) {
	if c.chance(0.85) {
		c.join()
	}
	if c.chance(0.5) {
		c.say("assistant", "Hello! How can I help you today?")
	}
	pause := -1
	if c.chance(0.1) {
		pause = c.random.IntN(max(len(d.Turns), 1))
	}
	for i, turn := range d.Turns {
		if i == pause {
			c.pause()
		}
		c.incident()
		c.turn(turn)
	}
	if c.wire == legacy && c.chance(0.6) {
		c.end()
		if c.chance(0.15) {
			c.comeBack()
		}
	}
}

func (c *conversation) join() {
	e := rapport.Event{Type: rapport.RoomJoin, RoomName: "room-" + c.agentID + "-" + token(c.random, 4)}
	e.Participants = new(int32(1 + c.random.IntN(3)))
	c.happen(e)
	c.atOnce = c.chance(0.05)
}

// turn is what the dialogue says; a user may say it in another mood, or again.
func (c *conversation) turn(t Turn) {
	c.say(t.Role, t.Text)
	if t.Role != rapport.RoleUser {
		return
	}
	if c.chance(0.03) {
		c.say(t.Role, pick(c.random, "I am so frustrated.", "That is TERRIBLE!", "Today SUX!", "not-awful at all", "Très bien, 谢谢 ☕ <b>&amp;</b>"))
	}
	if c.chance(0.03) {
		c.say(t.Role, pick(c.random, t.Text, "… "+t.Text+" !", ""))
	}
}

func (c *conversation) say(role, text string) {
	if role == rapport.RoleUser {
		c.wait(time.Second, 25*time.Second)
	} else {
		c.respond()
		role = rapport.RoleAgent
	}
	c.message(role, text)
}

func (c *conversation) message(role, text string) {
	e := rapport.Event{Type: rapport.ChatPush, Role: role, Text: text, MessageType: "text"}
	if c.wire == legacy {
		e.MessageType = pick(c.random, "text", "text", "audio")
		e.Language = "en"
	}
	c.happen(e)
}

// respond waits as agents do: mostly seconds, at times to the microsecond what
// is just quick or just not.
func (c *conversation) respond() {
	switch {
	case c.atOnce:
		c.wait(0, 0)
	case c.chance(0.02):
		c.clock = c.clock.Add(3 * time.Second)
	case c.chance(0.02):
		c.clock = c.clock.Add(3*time.Second + time.Microsecond)
	default:
		c.wait(300*time.Millisecond, 6*time.Second)
	}
}

// pause is the idle timeout to the microsecond, just more, or much more.
func (c *conversation) pause() {
	c.atOnce = true
	c.clock = c.clock.Add(pick(c.random, 30*time.Minute, 30*time.Minute+time.Microsecond, 31*time.Minute, 3*time.Hour))
}

// incident is what may happen between two messages.
func (c *conversation) incident() {
	switch {
	case c.chance(0.02):
		c.wait(time.Microsecond, time.Second)
		c.happen(rapport.Event{
			Type: rapport.AgentError, ErrorCode: "AUDIO_PROCESSING_FAILED",
			ErrorSeverity: pick(c.random, "low", "medium", "high"), ErrorCategory: "audio",
		})
	case c.chance(0.01):
		c.wait(time.Microsecond, time.Second)
		c.message("system", "The visitor is looking at the menu.")
	case c.chance(0.01):
		c.wait(time.Microsecond, time.Second)
		c.happen(rapport.Event{Type: "avatar.gesture"})
	case c.chance(0.01):
		c.wait(time.Microsecond, time.Second)
		c.happen(rapport.Event{Type: rapport.Test})
	}
}

// end comes soon, after the timeout, or at the instant of what came last.
func (c *conversation) end() {
	switch {
	case c.chance(0.1):
		c.wait(30*time.Minute, 2*time.Hour)
	case c.chance(0.9):
		c.wait(time.Second, time.Minute)
	}
	c.atOnce = false
	e := rapport.Event{Type: rapport.SessionEnd}
	e.EndReason = pick(c.random, "", "user_disconnect", "user_disconnect", "timeout", "error")
	if c.chance(0.5) {
		e.Rating = new(float64(2+c.random.IntN(9)) / 2)
	}
	c.happen(e)
}

func (c *conversation) comeBack() {
	c.wait(time.Second, time.Minute)
	c.say(rapport.RoleUser, "Sorry, one more thing.")
	c.say("assistant", "Sure, go ahead.")
}

func (c *conversation) happen(e rapport.Event) {
	e.AgentID, e.SessionID, e.OccurredAt = c.agentID, c.sessionID, c.clock
	if c.wire == legacy || e.Type == rapport.ChatPush {
		e.UserID = c.userID
	}
	c.events = append(c.events, e)
}

// wait lets between least and most pass, in whole microseconds, unless the next
// event comes at once.
func (c *conversation) wait(least, most time.Duration) {
	if c.atOnce {
		c.atOnce = false
		return
	}
	span := (most - least).Microseconds()
	c.clock = c.clock.Add(least + time.Duration(c.random.Int64N(span+1))*time.Microsecond)
}

func (c *conversation) chance(p float64) bool { return c.random.Float64() < p }

// endWithin moves the conversation to where it ends within the days before the
// base, and now and then so late that it is still open.
func (c *conversation) endWithin(opts Options) {
	span := time.Duration(max(opts.Days, 1)) * 24 * time.Hour
	if c.chance(0.05) {
		span = 20 * time.Minute
	}
	before := time.Duration(c.random.Int64N(span.Microseconds())) * time.Microsecond
	shift := opts.Base.UTC().Truncate(time.Microsecond).Add(-before).Sub(c.clock)
	for i := range c.events {
		c.events[i].OccurredAt = c.events[i].OccurredAt.Add(shift)
	}
}
