package history

import (
	"fmt"
	"math/rand/v2"
	"sort"
)

// shape is one of the sender's generations of deliveries that tell of sessions.
type shape int

const (
	legacy  shape = iota // camel case, with users, ratings, ends and errors
	current              // snake case: joins and messages alone
)

// agent is an avatar of some customer.
type agent struct {
	id       string
	shape    shape
	language string
	isKiosk  bool // a session_id for all who come to it in a day
	rooms    []string
}

// Agents are so many, and the biggest has hundreds of times the conversations of
// the smallest.
const agentCount = 40

// cast is who takes part, the same for all plans.
type cast struct {
	agents []agent
	upTo   []float64 // shares of the agents, summed
}

func newCast() *cast {
	c := &cast{}
	total := 0.0
	for i := range agentCount {
		a := agent{id: agentID(i), shape: current, isKiosk: i == 5, language: "en"}
		if i%4 == 3 {
			a.language = []string{"de", "es", "fr"}[i/4%3]
		}
		if i%5 == 1 || i%5 == 3 {
			a.shape = legacy
		}
		for room := range 1 + i%4 {
			a.rooms = append(a.rooms, fmt.Sprintf("%s-%s", word(300+i), []string{"help", "sales", "lobby", "advice"}[room]))
		}
		c.agents = append(c.agents, a)
		rank := float64(i + 1)
		total += 1 / (rank * rank)
		if i < 8 {
			total += 0.1 // between the biggest and the many there are some of middling size
		}
		c.upTo = append(c.upTo, total)
	}
	for i := range c.upTo {
		c.upTo[i] /= total
	}
	return c
}

func agentID(i int) string {
	return fmt.Sprintf("A%02d%c%c%c%04d", 10+i, 'A'+i%26, 'K'-i%7, 'V'-i%5, 1000+i*217)
}

// BiggestAgent and SmallestAgent are those with the most and the fewest
// conversations.
var (
	BiggestAgent  = agentID(0)
	SmallestAgent = agentID(agentCount - 1)
)

func (c *cast) choose(rng *rand.Rand) *agent {
	return &c.agents[min(sort.SearchFloat64s(c.upTo, rng.Float64()), agentCount-1)]
}

// Visitors are so many for a hundred conversations, and some come much more often
// than others.
const visitorsPerHundred = 60

func (p Plan) visitor(rng *rand.Rand) string {
	pool := float64(p.Sessions*visitorsPerHundred/100 + 1)
	part := rng.Float64()
	return fmt.Sprintf("user_%07d", int(pool*part*part))
}

// Visitor is one who comes often.
func (p Plan) Visitor() string { return "user_0000000" }

// fault is what goes wrong at an avatar.
type fault struct{ code, severity, category, text string }

// The first are the most frequent.
var faults = []fault{
	{"AUDIO_PROCESSING_FAILED", "medium", "audio", "The audio could not be processed."},
	{"LLM_TIMEOUT", "high", "llm", "The language model gave no answer in time."},
	{"NETWORK_UNSTABLE", "low", "network", "Packets were lost."},
	{"VIDEO_ENCODER_STALLED", "medium", "video", "The encoder fell behind."},
	{"MICROPHONE_SILENT", "low", "audio", "Nothing was heard for 20 s."},
	{"LLM_CONTENT_REFUSED", "medium", "llm", "The language model refused to answer."},
	{"ICE_FAILED", "high", "network", "No route to the visitor."},
	{"GPU_LOST", "critical", "video", "The renderer has gone."},
}

func chooseFault(rng *rand.Rand) *fault {
	part := rng.Float64()
	return &faults[int(part*part*float64(len(faults)))]
}

// uuid is a random one, of version 4.
func uuid(rng *rand.Rand) string {
	high, low := rng.Uint64(), rng.Uint64()
	high = high&^0xf000 | 0x4000
	low = low&^(3<<62) | 2<<62
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xffff, high&0xffff, low>>48, low&(1<<48-1))
}
