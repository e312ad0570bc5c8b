package verify

// positions checks that they are 1, 2, 3 … up to the head, each once.
type positions struct {
	report *Report
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
	p := &positions{report: v.report}
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
	v.report.Counts.InLog = p.count
	return nil
}
