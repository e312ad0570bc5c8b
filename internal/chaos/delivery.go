package chaos

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"time"

	"rapport/api/webhook"
)

// key tells bodies apart: the log and the quarantine are compared with what was
// sent by it, so that it also proves that a body was kept to the byte.
type key [16]byte

func keyOf(sum []byte) key { return key(sum[:16]) }

// delivery is a signed body, in the shapes of the sender's legacy and of its current
// generation.
type delivery struct {
	number    int // in the ledger
	key       key
	body      []byte
	signature string
	malformed bool // authentic, but no event
}

// conversations make up deliveries, all of them different, in many sessions at once.
// They are no goroutine's but their caller's.
type conversations struct {
	random *rand.Rand
	run    string // tells the sessions of one trial from another's
	began  time.Time
	made   int64
	open   []*conversation
}

type conversation struct {
	session string
	agent   string
	legacy  bool
	said    int
	length  int
}

// openConversations is how many visitors there are at a time.
const openConversations = 60

func newConversations(random *rand.Rand) *conversations {
	return &conversations{
		random: random, run: fmt.Sprintf("%08x", random.Uint32()), began: time.Now().Add(-time.Hour),
		open: make([]*conversation, openConversations),
	}
}

// malformedShare of what authentic senders send is no event.
const malformedShare = 0.02

// next makes a delivery. Each is a millisecond later than the one before it.
func (c *conversations) next() *delivery {
	c.made++
	d := &delivery{}
	if c.random.Float64() < malformedShare {
		d.body, d.malformed = c.malformed(), true
	} else {
		d.body = c.event()
	}
	sum := sha256.Sum256(d.body)
	d.key, d.signature = keyOf(sum[:]), webhook.SignLegacy(secret, d.body)
	return d
}

func (c *conversations) malformed() []byte {
	if c.random.IntN(2) == 0 {
		return fmt.Appendf(nil, `{"agent_id":"A80HVD8577","note":"%s-%d"}`, c.run, c.made)
	}
	return fmt.Appendf(nil, `{"agent_id":"A80HVD8577","event_type":"chat.push","data":%s-%d`, c.run, c.made)
}

// event is what comes next in one of the open conversations.
func (c *conversations) event() []byte {
	place := c.random.IntN(len(c.open))
	talk := c.open[place]
	if talk == nil {
		talk = c.begin()
		c.open[place] = talk
	}
	at := c.began.Add(time.Duration(c.made) * time.Millisecond).UTC()
	talk.said++
	switch {
	case talk.said == 1:
		return talk.join(at)
	case talk.said < talk.length:
		return talk.message(at, c.line(talk))
	}
	c.open[place] = nil
	if talk.legacy {
		return talk.end(at)
	}
	return talk.message(at, "Goodbye!")
}

func (c *conversations) begin() *conversation {
	return &conversation{
		session: fmt.Sprintf("%s-36d4-98aa-feb2-%012d", c.run, c.made),
		agent:   []string{"A80HVD8577", "A03LRX2210", "A55QPT9001"}[c.random.IntN(3)],
		legacy:  c.random.IntN(4) == 0,
		length:  3 + c.random.IntN(24),
	}
}

// Nothing in the lines needs to be escaped in JSON.
var (
	greetings = []string{"Hello, how can I help you?", "Welcome! What brings you here?"}
	questions = []string{
		"I would like a table for %d people.", "Is there a train at half past %d?", "That is awful, I have been waiting for %d minutes!",
		"Great, I take %d of them 😀", "Où est le quai %d ?", "And what would %d of those cost?",
	}
	answers = []string{
		"Certainly: that makes %d.", "I have found %d that may suit you.", "Let me check that for you, it takes %d seconds.",
		"I am sorry, there are only %d left.",
	}
)

func (c *conversations) line(talk *conversation) string {
	pick := func(lines []string) string { return lines[c.random.IntN(len(lines))] }
	switch {
	case talk.said == 2:
		return pick(greetings)
	case talk.said%2 == 1:
		return fmt.Sprintf(pick(questions), 1+c.random.IntN(12))
	default:
		return fmt.Sprintf(pick(answers), 1+c.random.IntN(12))
	}
}

func (t *conversation) join(at time.Time) []byte {
	if t.legacy {
		return fmt.Appendf(nil, `{"event":"room_join","timestamp":"%s","agentId":"%s","sessionId":"%s",`+
			`"user":{"id":"visitor-%s","name":"Visitor"},"room":{"name":"room-%s","participants":2}}`,
			at.Format(time.RFC3339Nano), t.agent, t.session, t.session, t.session)
	}
	return fmt.Appendf(nil, `{"agent_id":"%s","event_type":"room.join","data":{"room_name":"room-%s-%s",`+
		`"participant_count":3,"session_id":"%s"},"timestamp":%s}`, t.agent, t.agent, t.session, t.session, seconds(at))
}

// message alternates between the two who talk; the avatar begins.
func (t *conversation) message(at time.Time, text string) []byte {
	role := "assistant"
	if t.said%2 == 1 {
		role = "user"
	}
	if t.legacy {
		return fmt.Appendf(nil, `{"event":"chat_push","timestamp":"%s","agentId":"%s","sessionId":"%s",`+
			`"message":{"id":"msg_%d","role":"%s","content":"%s","type":"text","language":"en"}}`,
			at.Format(time.RFC3339Nano), t.agent, t.session, t.said, role, text)
	}
	return fmt.Appendf(nil, `{"agent_id":"%s","event_type":"chat.push","data":{"role":"%s","message":"%s",`+
		`"session_id":"%s","timestamp":%s},"timestamp":%s}`,
		t.agent, role, text, t.session, seconds(at), seconds(at.Add(7*time.Microsecond)))
}

func (t *conversation) end(at time.Time) []byte {
	return fmt.Appendf(nil, `{"event":"session_end","timestamp":"%s","agentId":"%s","sessionId":"%s",`+
		`"session":{"messageCount":%d,"endReason":"user_disconnect","userSatisfaction":4.5}}`,
		at.Format(time.RFC3339Nano), t.agent, t.session, t.said)
}

// seconds are unix seconds with microseconds behind the point.
func seconds(at time.Time) string {
	return fmt.Sprintf("%d.%06d", at.Unix(), at.Nanosecond()/1000)
}
