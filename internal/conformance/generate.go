package conformance

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"rapport"
)

// Delivery is one webhook delivery, and what it truly says. Of Truth, the
// position is unknown until a server has answered, and the fingerprint is not
// the server's: it only tells this delivery from others.
type Delivery struct {
	Body    []byte
	Headers http.Header
	Truth   rapport.Event
}

// Options of Generate. The same dialogues and options give the same deliveries.
type Options struct {
	Seed uint64
	Base time.Time // nothing happens after it
	Days int       // the conversations end within so many days before Base
}

// agents are few, so that each has many conversations.
var agents = []string{"A80HVD8577", "A17QKX2041", "A93MRT6615", "A55LPC0382", "agent_customer_support"}

// Generate gives each dialogue times, a wire generation and what else happens
// around a conversation. It returns the deliveries in the order of the
// dialogues, each conversation in order. No two events of a conversation are at
// the same microsecond unless sessions order them by their kind.
func Generate(dialogues []Dialogue, opts Options) []Delivery {
	var deliveries []Delivery
	for i, d := range dialogues {
		random := rand.New(rand.NewPCG(opts.Seed, uint64(i)))
		c := newConversation(random)
		c.tell(d)
		c.endWithin(opts)
		for _, e := range c.events {
			deliveries = append(deliveries, deliver(e, c.wire.body(e, random)))
		}
		if i%20 == 0 {
			deliveries = append(deliveries, agentReady(opts.Base, random))
		}
	}
	return deliveries
}

func deliver(e rapport.Event, body []byte) Delivery {
	e.Fingerprint = sha256.Sum256(body)
	return Delivery{Body: body, Headers: http.Header{"Content-Type": {"application/json"}}, Truth: e}
}

// agentReady is an account event, of no session.
func agentReady(base time.Time, random *rand.Rand) Delivery {
	created := base.UTC().Truncate(time.Second).Add(-time.Duration(random.IntN(86400)) * time.Second)
	e := rapport.Event{Type: "agent.ready", AgentID: pick(random, agents...), OccurredAt: created}
	id := "evt_" + token(random, 16)
	delivery := deliver(e, encode(object{
		"id": id, "event": e.Type, "created": created.Unix(),
		"data": object{"agent_id": e.AgentID, "code": e.AgentID},
	}))
	delivery.Headers.Set("X-BitHuman-Event", e.Type)
	delivery.Headers.Set("X-BitHuman-Delivery", id)
	return delivery
}

// token is n letters and digits.
func token(random *rand.Rand, n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	text := make([]byte, n)
	for i := range text {
		text[i] = letters[random.IntN(len(letters))]
	}
	return string(text)
}

func uuid(random *rand.Rand) string {
	hi, lo := random.Uint64(), random.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xfff, lo>>48&0x3fff|0x8000, lo&0xffffffffffff)
}

func pick[T any](random *rand.Rand, choices ...T) T {
	return choices[random.IntN(len(choices))]
}
