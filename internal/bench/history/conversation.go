package history

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// act is what happens at a moment.
type act int

const (
	joins act = iota
	userSays
	agentSays
	fails
	ends
)

// moment is one thing that happens in a conversation.
type moment struct {
	at    time.Time
	act   act
	text  string
	fault *fault
}

// conversation is one visit.
type conversation struct {
	agent     *agent
	sessionID string
	userID    string // empty for a visitor whom nobody knows
	room      string
	people    int
	rating    float64 // 0: none
	reason    string
	moments   []moment
}

// play makes conversation i.
func (w *writer) play(i int) *conversation {
	rng := w.plan.rng(i, 1)
	c := &conversation{agent: w.cast.choose(rng), people: 1 + rng.IntN(3)}
	start := w.plan.startsAt(w.calendar, i)
	c.room = c.agent.rooms[rng.IntN(len(c.agent.rooms))]
	switch {
	case c.agent.isKiosk:
		c.sessionID = fmt.Sprintf("kiosk-%s-%02d", start.Format("2006-01-02"), rng.IntN(20))
	case c.agent.shape == legacy:
		c.sessionID = fmt.Sprintf("session_%012x", rng.Uint64()>>16)
	default:
		c.sessionID = uuid(rng)
		c.room = fmt.Sprintf("room-%s-%04x", c.agent.id, rng.Uint32N(1<<16))
	}
	if c.agent.shape == legacy || rng.IntN(3) == 0 {
		c.userID = w.plan.visitor(rng)
	}
	w.unfold(c, start, rng)
	return c
}

// turns is how often the visitor speaks: one in eight not at all, one in twelve
// very often.
func turns(rng *rand.Rand) int {
	switch part := rng.Float64(); {
	case part < 0.13:
		return 0
	case part < 0.92:
		return 1 + int(-7.5*math.Log(1-rng.Float64()))
	default:
		return 12 + int(-20*math.Log(1-rng.Float64()))
	}
}

// unfold lets a conversation happen.
func (w *writer) unfold(c *conversation, at time.Time, rng *rand.Rand) {
	add := func(after time.Duration, a act, text string) {
		at = at.Add(after.Truncate(time.Microsecond))
		c.moments = append(c.moments, moment{at: at, act: a, text: text})
	}
	if rng.IntN(20) > 0 { // a conversation that was restarted has none
		add(0, joins, "")
	}
	add(between(rng, 0.8, 2.5), agentSays, w.language.say(rng, greetings))
	said := ""
	for range turns(rng) {
		switch rng.IntN(30) {
		case 0:
			said = w.language.say(rng, complaints)
		case 1: // the same again
		default:
			said = ""
		}
		if said == "" {
			said = w.language.say(rng, questions)
		}
		add(between(rng, 2, 20), userSays, said)
		if c.agent.shape == legacy && rng.IntN(25) == 0 {
			f := chooseFault(rng)
			add(between(rng, 1, 9), fails, f.text)
			c.moments[len(c.moments)-1].fault = f
			continue
		}
		slowness := rng.Float64() // most answers are quick, a few are not
		add(time.Duration((0.6+8*slowness*slowness*slowness)*1e9), agentSays, w.language.say(rng, answers))
	}
	if c.agent.shape == legacy && rng.IntN(10) < 7 {
		c.reason = []string{"user_disconnect", "user_disconnect", "timeout", "error"}[rng.IntN(4)]
		if rng.IntN(3) == 0 {
			c.rating = 1 + float64(rng.IntN(9))/2
		}
		add(between(rng, 2, 20), ends, "")
	}
}

// between is a random time of so many seconds.
func between(rng *rand.Rand, low, high float64) time.Duration {
	return time.Duration((low + (high-low)*rng.Float64()) * 1e9)
}
