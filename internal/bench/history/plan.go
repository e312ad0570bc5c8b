package history

import (
	"math/rand/v2"
	"sort"
	"time"
)

// Plan is what a log is made of.
type Plan struct {
	Sessions int // about as many conversations, of 20 events on average; at least 1
	Seed     uint64
	Until    time.Time // the log ends here
	Days     int       // and began so many days before; at least 1
}

// busy is how much goes on in each hour of the day (UTC), of ten.
var busy = [24]float64{2, 1, 1, 1, 1, 2, 3, 4, 6, 8, 9, 10, 9, 9, 10, 10, 9, 9, 8, 8, 7, 5, 4, 3}

// calendar tells when conversations begin: more by day than by night, fewer on
// weekends, and more from week to week.
type calendar struct {
	first  time.Time // of whole hours
	until  []float64 // what goes on up to the end of each hour, summed
	amount float64
}

func (p Plan) calendar() *calendar {
	hours := 24 * p.Days
	c := &calendar{first: p.Until.Add(-time.Duration(hours) * time.Hour).Truncate(time.Hour), until: make([]float64, hours)}
	for i := range c.until {
		at := c.first.Add(time.Duration(i) * time.Hour)
		weight := busy[at.Hour()] * (1 + float64(i)/float64(hours))
		if day := at.Weekday(); day == time.Saturday || day == time.Sunday {
			weight *= 0.6
		}
		c.amount += weight
		c.until[i] = c.amount
	}
	return c
}

// at is when the part, from 0 to 1, of all conversations has begun.
func (c *calendar) at(part float64) time.Time {
	wanted := part * c.amount
	hour := min(sort.SearchFloat64s(c.until, wanted), len(c.until)-1)
	before := 0.0
	if hour > 0 {
		before = c.until[hour-1]
	}
	within := (wanted - before) / (c.until[hour] - before)
	return c.first.Add(time.Duration((float64(hour) + within) * float64(time.Hour))).Truncate(time.Microsecond)
}

// startsAt is when conversation i begins: never before the one that precedes it.
func (p Plan) startsAt(c *calendar, i int) time.Time {
	return c.at((float64(i) + p.rng(i, 0).Float64()) / float64(p.Sessions))
}

// rng has the dice of conversation i, for one of several purposes.
func (p Plan) rng(i int, purpose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(p.Seed<<8|purpose, uint64(i)))
}
