package verify

import (
	"math/big"

	"rapport/store"
)

// gaps adds up the positions that events of dropped months may have had.
type gaps struct {
	dropped []store.DroppedMonth
	count   int64
	sum     *big.Int
}

// take reports whether all positions from one to another lie where a month was dropped.
func (g *gaps) take(from, to int64) bool {
	for at := from; at <= to; {
		end := at - 1
		for _, m := range g.dropped {
			if m.FirstPosition <= at && at <= m.LastPosition {
				end = max(end, m.LastPosition)
			}
		}
		if end < at {
			return false
		}
		at = end + 1
	}
	g.count += to - from + 1
	// from + … + to
	sum := new(big.Int).Mul(big.NewInt(to-from+1), new(big.Int).Add(big.NewInt(from), big.NewInt(to)))
	g.sum.Add(g.sum, sum.Rsh(sum, 1))
	return true
}

// check compares with what was noted when the months were dropped.
func (g *gaps) check(report *Report) {
	var events int64
	sum := new(big.Int)
	for _, m := range g.dropped {
		events += m.Events
		sum.Add(sum, m.PositionSum)
	}
	switch {
	case events != g.count:
		report.add("position", "%d positions are missing where months were dropped, with %d events", g.count, events)
	case sum.Cmp(g.sum) != 0:
		report.add("position", "other positions are missing than those of the months that were dropped: their sum is %s, not %s", g.sum, sum)
	}
}

// positions checks that they are 1, 2, 3 … up to the head, each once, but for those
// of events that were dropped for their age.
type positions struct {
	report *Report
	gaps   gaps
	last   int64
	times  int64 // how often last came
	count  int64
}

func (p *positions) next(position int64) {
	p.count++
	if position == p.last && p.times > 0 {
		p.times++
		return
	}
	p.endOfLast()
	p.missing(p.last+1, position-1)
	if position < 1 {
		p.report.add("position", "an event has the position %d", position)
	}
	p.last, p.times = position, 1
}

func (p *positions) endOfLast() {
	if p.times > 1 {
		p.report.add("position", "position %d is taken by %d events", p.last, p.times)
	}
}

func (p *positions) missing(from, to int64) {
	switch from = max(from, 1); {
	case from > to:
	case p.gaps.take(from, to):
	case from == to:
		p.report.add("position", "position %d is missing", from)
	default:
		p.report.add("position", "positions %d to %d are missing: %d events", from, to, to-from+1)
	}
}

func (p *positions) end(head int64) {
	p.endOfLast()
	if p.last > head {
		p.report.add("head", "the log's head is %d, but its last event is %d", head, p.last)
	}
	p.missing(p.last+1, head)
}

func (v *verifier) checkPositions() error {
	p := &positions{report: v.report, gaps: gaps{dropped: v.recorded.Retained.Months, sum: new(big.Int)}}
	for {
		position, ok, err := v.positions.Next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		p.next(position)
	}
	p.end(v.head.Position)
	p.gaps.check(v.report)
	v.report.Counts.InLog = p.count
	return nil
}
