package demo

import (
	"math/rand/v2"
	"slices"
	"time"
)

// plan is what a day is made of. Equal plans give equal days, to the byte.
type plan struct {
	sessions int
	seed     uint64
	now      time.Time // the day ends here; its location tells night from day
}

const (
	day = 24 * time.Hour
	// margin keeps a day within its 24 hours while it is being sent.
	margin = 15 * time.Minute
	// liveFor is for how long a conversation that is still going on may be.
	liveFor = 15 * time.Minute
	// oneLiveIn conversations is still going on.
	oneLiveIn = 8
)

// deliveries makes the day, ordered by time.
func (p plan) deliveries() []delivery {
	ids := newIDs(p)
	conversations := p.conversations(ids)
	var all []delivery
	for _, c := range conversations {
		all = append(all, c.deliveries(ids)...)
	}
	all = append(all, accountEvents(conversations, ids)...)
	slices.SortStableFunc(all, func(a, b delivery) int { return a.at.Compare(b.at) })
	return all
}

// conversations deals the scripts like cards, so that each of them is played
// before one is played again.
func (p plan) conversations(ids *ids) []*conversation {
	deck := newDeck(p.seed)
	var all []*conversation
	for made, i := 0, uint64(1); made < p.sessions; i++ {
		rng := rand.New(rand.NewPCG(p.seed, i))
		c := play(deck.deal(), rng)
		if made+c.sessions() > p.sessions {
			continue
		}
		made += c.sessions()
		c.introduce(p.sessions, rng, ids)
		p.place(c, i%oneLiveIn == oneLiveIn/2 && c.sessions() == 1, rng)
		all = append(all, c)
	}
	return all
}

// introduce tells who talks with whom, and where.
func (c *conversation) introduce(sessions int, rng *rand.Rand, ids *ids) {
	site := c.script.site
	c.agentID = choose(rng, site.agents)
	c.participants = 1 + rng.IntN(2)
	c.visitor = newVisitor(rng.IntN(min(maxVisitors, 1+sessions/2))) // some come back
	c.spoken = rng.IntN(3) > 0
	if site.generation == legacy {
		c.sessionID = "session_" + ids.letters(12)
		c.room = choose(rng, site.rooms)
		return
	}
	c.participants++ // the agent counts itself
	c.sessionID = ids.uuid()
	c.room = "room-" + c.agentID + "-" + ids.letters(4) + "-" + ids.letters(4)
}

// busy is how much goes on in each hour of the day, of ten.
var busy = [24]int{1, 1, 1, 1, 1, 2, 3, 4, 6, 8, 9, 10, 9, 9, 10, 10, 9, 9, 8, 8, 7, 5, 3, 2}

// place gives a conversation its time. One that is live began a moment ago and
// has not happened to its end yet; any other has ended and gone idle.
func (p plan) place(c *conversation, live bool, rng *rand.Rand) {
	now := p.now.Truncate(time.Microsecond)
	if live {
		c.startedAt = now.Add(-between(rng, time.Second, liveFor))
		c.endAt(now)
		return
	}
	first := now.Add(-day + margin)
	last := now.Add(-idleTimeout - time.Minute - c.span())
	for range 10 {
		c.startedAt = first.Add(between(rng, 0, last.Sub(first)))
		if rng.IntN(10) < busy[c.startedAt.Hour()] {
			return
		}
	}
}

// deck deals scripts in a random order, over and over.
type deck struct {
	rng  *rand.Rand
	rest []*script
}

func newDeck(seed uint64) *deck { return &deck{rng: rand.New(rand.NewPCG(seed, 0))} }

func (d *deck) deal() *script {
	if len(d.rest) == 0 {
		d.rest = slices.Clone(scripts())
		d.rng.Shuffle(len(d.rest), func(i, j int) { d.rest[i], d.rest[j] = d.rest[j], d.rest[i] })
	}
	top := d.rest[0]
	d.rest = d.rest[1:]
	return top
}
