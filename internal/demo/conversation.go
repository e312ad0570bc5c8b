package demo

import (
	"math/rand/v2"
	"time"
	"unicode/utf8"
)

// idleTimeout is the server's default: a longer gap cuts a session.
const idleTimeout = 30 * time.Minute

// conversation is a script, played once: everything that happens under one
// session_id. At a kiosk that is several sessions.
type conversation struct {
	script       *script
	agentID      string
	sessionID    string
	room         string
	participants int
	visitor      visitor
	spoken       bool // by voice, not typed
	startedAt    time.Time
	moments      []moment
}

// moment is one thing that happens in a conversation.
type moment struct {
	after  time.Duration // since the start
	act    act
	text   string
	fault  fault
	reason string  // of an end
	rating float64 // of an end; 0 if there is none
}

// play makes a conversation of a script, without a time or an identity.
func play(s *script, rng *rand.Rand) *conversation {
	c := &conversation{script: s}
	phrases := newPhrases(s, rng)
	idle := time.Duration(0)
	for _, l := range s.lines {
		switch l.act {
		case mayLeave:
			if rng.IntN(5) == 0 {
				return c
			}
		case later:
			idle = between(rng, l.atLeast, l.atLeast*3/2)
		default:
			c.add(l, phrases.say(l.text), idle, rng)
			idle = 0
		}
	}
	return c
}

func (c *conversation) add(l line, text string, idle time.Duration, rng *rand.Rand) {
	m := moment{act: l.act, text: text, fault: l.fault, reason: l.ending.reason}
	if l.ending.high > 0 {
		halves := int(2*(l.ending.high-l.ending.low)) + 1
		m.rating = l.ending.low + float64(rng.IntN(halves))/2
	}
	if n := len(c.moments); n > 0 {
		last := &c.moments[n-1]
		m.after = last.after + idle + gap(last, &m, rng)
	}
	c.moments = append(c.moments, m)
}

// gap is the time from one moment to the next: people listen, think and speak;
// an avatar answers within 1 to 6 seconds.
func gap(last, next *moment, rng *rand.Rand) time.Duration {
	switch {
	case next.act == userSays && last.act == agentIsCut:
		return between(rng, 400*time.Millisecond, 1400*time.Millisecond)
	case next.act == userSays:
		return between(rng, 1500*time.Millisecond, 6*time.Second) + spoken(last.text) + spoken(next.text)
	case next.act == ends:
		return between(rng, 2*time.Second, 20*time.Second)
	case next.act == fails:
		return between(rng, 6*time.Second, 11*time.Second)
	case last.act == join:
		return between(rng, 800*time.Millisecond, 2500*time.Millisecond)
	default:
		slowness := rng.Float64()
		slowness *= slowness // most answers are quick, a few are not
		return (time.Second + time.Duration(slowness*float64(5*time.Second))).Truncate(time.Microsecond)
	}
}

// spoken is how long it takes to say or to read a text.
func spoken(text string) time.Duration {
	const perRune = time.Second / 15
	return (time.Duration(utf8.RuneCountInString(text)) * perRune).Truncate(time.Microsecond)
}

// between is a random duration in whole microseconds.
func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return (low + time.Duration(rng.Int64N(int64(high-low)))).Truncate(time.Microsecond)
}

// span is the time from the first moment to the last.
func (c *conversation) span() time.Duration { return c.moments[len(c.moments)-1].after }

// sessions is how many the conversation is, seen by its idle times.
func (c *conversation) sessions() int {
	n := 1
	for i := 1; i < len(c.moments); i++ {
		if c.moments[i].after-c.moments[i-1].after > idleTimeout {
			n++
		}
	}
	return n
}

// endAt forgets what has not happened yet.
func (c *conversation) endAt(now time.Time) {
	for i, m := range c.moments {
		if c.startedAt.Add(m.after).After(now) {
			c.moments = c.moments[:i]
			return
		}
	}
}
