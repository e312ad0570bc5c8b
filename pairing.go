package rapport

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"
)

// none stands for no message.
const none = -1

// pairing is a matching between healed and delivered messages, both in order and
// known by their index. It grows by augmenting paths, one healed message after the
// other: whoever has a partner keeps one, so the earliest that can have one do,
// whoever they are paired with.
type pairing struct {
	reach   []reach
	match   []int  // of each healed message, its delivered one, or none
	partner []int  // of each delivered message, its healed one, or none
	via     []int  // of each delivered message that a search came to, the healed one that it came from
	short   []bool // healed messages that can't all have partners: of searches that failed

	path    []int  // of healed messages, on which the search is
	visited []int  // delivered messages that it came to
	undo    []step // what it has dropped from the lanes
}

// reach is what a healed message can pair with: a part of its lane.
type reach struct {
	lane     *lane
	from, to int // indexes into the lane
}

// lane has the delivered messages of one role that begin with one text, in order.
// Healed messages of that role and text share it, so that thousands of equal ones
// in a second cost each message a step, and not each pair.
type lane struct {
	messages []int
	free     frees // those without a partner
	fresh    skips // passes over those that a search came to
}

func pairAll(healed, delivered []*Event) *pairing {
	delivered = near(healed, delivered)
	p := &pairing{
		reach: reaches(healed, delivered),
		match: slices.Repeat([]int{none}, len(healed)), short: make([]bool, len(healed)),
		partner: slices.Repeat([]int{none}, len(delivered)), via: slices.Repeat([]int{none}, len(delivered)),
	}
	for h := range healed {
		p.pair(h)
	}
	return p
}

// pair looks for a partner of a healed message, by having others change theirs.
// Where that fails, none of the messages it came to can ever be had, so that later
// searches pass over them.
func (p *pairing) pair(h int) {
	p.path, p.visited, p.undo = append(p.path[:0], h), p.visited[:0], p.undo[:0]
	for len(p.path) > 0 {
		last := p.path[len(p.path)-1]
		if d := p.freeFor(last); d != none {
			p.augment(last, d)
			p.forget()
			return
		}
		if d := p.freshFor(last); d != none {
			p.via[d] = last
			p.visited = append(p.visited, d)
			p.path = append(p.path, p.partner[d])
		} else {
			p.path = p.path[:len(p.path)-1]
		}
	}
	p.short[h] = true
	for _, d := range p.visited {
		p.short[p.partner[d]] = true
	}
}

// freeFor is a delivered message without a partner that h can have: of several,
// one that the fewest others can.
func (p *pairing) freeFor(h int) int {
	r := &p.reach[h]
	for {
		i := r.lane.free.least(r.from, r.to)
		if i == none {
			return none
		}
		d := r.lane.messages[i]
		r.lane.free.drop(i) // h gets it, or it got a partner from another lane
		if p.partner[d] == none {
			return d
		}
	}
}

// freshFor is a delivered message that h could have, and that no search has come
// to in vain.
func (p *pairing) freshFor(h int) int {
	r := &p.reach[h]
	for {
		i := p.next(r.lane.fresh, r.from)
		if i >= r.to {
			return none
		}
		p.point(r.lane.fresh, i, i+1)
		if d := r.lane.messages[i]; p.via[d] == none {
			return d
		}
	}
}

// augment gives d to h, what h had to whom the search came from, and so on.
func (p *pairing) augment(h, d int) {
	for {
		had := p.match[h]
		p.match[h], p.partner[d] = d, h
		if had == none {
			return
		}
		d, h = had, p.via[had]
	}
}

// forget makes what a search came to fresh again.
func (p *pairing) forget() {
	for _, d := range p.visited {
		p.via[d] = none
	}
	for _, s := range slices.Backward(p.undo) {
		s.in[s.at] = s.was
	}
}

// near are those of the delivered messages that lie within HealedWithin of a
// healed one.
func near(healed, delivered []*Event) []*Event {
	var kept []*Event
	next := 0 // the first healed message that is not too early
	for _, d := range delivered {
		for next < len(healed) && d.OccurredAt.Sub(healed[next].OccurredAt) > HealedWithin {
			next++
		}
		if next < len(healed) && healed[next].OccurredAt.Sub(d.OccurredAt) <= HealedWithin {
			kept = append(kept, d)
		}
	}
	return kept
}

// utterance is what pairs: a text in a role.
type utterance struct{ role, text string }

func compareUtterances(a, b utterance) int {
	return cmp.Or(cmp.Compare(a.role, b.role), cmp.Compare(a.text, b.text))
}

func (u utterance) begins(v utterance) bool {
	return u.role == v.role && strings.HasPrefix(v.text, u.text)
}

func reaches(healed, delivered []*Event) []reach {
	lanes := lanesOf(healed, delivered)
	reaches := make([]reach, len(healed))
	for h, e := range healed {
		l := lanes[utterance{e.Role, e.Text}]
		at := func(i int) time.Time { return delivered[l.messages[i]].OccurredAt }
		reaches[h] = reach{
			lane: l,
			from: sort.Search(len(l.messages), func(i int) bool { return e.OccurredAt.Sub(at(i)) <= HealedWithin }),
			to:   sort.Search(len(l.messages), func(i int) bool { return at(i).Sub(e.OccurredAt) > HealedWithin }),
		}
	}
	return reaches
}

// lanesOf makes the lanes of the healed texts.
func lanesOf(healed, delivered []*Event) map[utterance]*lane {
	lanes := make(map[utterance]*lane)
	var starts []utterance
	for _, e := range healed {
		u := utterance{e.Role, e.Text}
		if lanes[u] == nil {
			lanes[u] = &lane{}
			starts = append(starts, u)
		}
	}
	crowd := fill(lanes, starts, delivered)
	for _, l := range lanes {
		slices.Sort(l.messages)
		l.free, l.fresh = newFrees(l.messages, crowd), newSkips(len(l.messages))
	}
	return lanes
}

// fill puts the delivered messages into the lanes that they begin with, and tells
// for each into how many. In the order of texts, those that begin with one follow
// it without a gap.
func fill(lanes map[utterance]*lane, starts []utterance, delivered []*Event) (crowd []int) {
	said := func(d int) utterance { return utterance{delivered[d].Role, delivered[d].Text} }
	byText := make([]int, len(delivered))
	for d := range byText {
		byText[d] = d
	}
	slices.SortFunc(byText, func(a, b int) int { return compareUtterances(said(a), said(b)) })
	slices.SortFunc(starts, compareUtterances)

	crowd = make([]int, len(delivered))
	var open []utterance // the starts of the present one, each of them that of the next
	closeFor := func(u utterance) {
		for len(open) > 0 && !open[len(open)-1].begins(u) {
			open = open[:len(open)-1]
		}
	}
	for _, d := range byText {
		u := said(d)
		for len(starts) > 0 && compareUtterances(starts[0], u) <= 0 {
			closeFor(starts[0])
			open, starts = append(open, starts[0]), starts[1:]
		}
		closeFor(u)
		crowd[d] = len(open)
		for _, start := range open {
			lanes[start].messages = append(lanes[start].messages, d)
		}
	}
	return crowd
}

// skips finds the next of a row of indexes that has not been dropped: each points
// to itself, or beyond.
type skips []int32

// step is a change of skips that can be undone.
type step struct {
	in  skips
	at  int
	was int32
}

func newSkips(n int) skips {
	s := make(skips, n+1) // the last one is never dropped
	for i := range s {
		s[i] = int32(i)
	}
	return s
}

// next is i, or the first one behind it that has not been dropped.
func (p *pairing) next(s skips, i int) int {
	end := i
	for int(s[end]) != end {
		end = int(s[end])
	}
	for i != end {
		after := int(s[i])
		p.point(s, i, end)
		i = after
	}
	return end
}

// point changes skips in a way that forget undoes.
func (p *pairing) point(s skips, i, to int) {
	if int(s[i]) != to {
		p.undo = append(p.undo, step{s, i, s[i]})
		s[i] = int32(to)
	}
}

// frees finds the least crowded of a part of a lane: a tree over the lane, of whose
// nodes each knows the least crowded index below it. Node i is above 2i and 2i+1.
type frees struct {
	crowd []int // of each index
	tree  []int // an index, or none
}

func newFrees(messages, crowd []int) frees {
	n := len(messages)
	f := frees{crowd: make([]int, n), tree: make([]int, 2*n)}
	for i, d := range messages {
		f.crowd[i], f.tree[n+i] = crowd[d], i
	}
	for node := n - 1; node > 0; node-- {
		f.tree[node] = f.better(f.tree[2*node], f.tree[2*node+1])
	}
	return f
}

func (f *frees) better(i, j int) int {
	if i == none || j != none && (f.crowd[j] < f.crowd[i] || f.crowd[j] == f.crowd[i] && j < i) {
		return j
	}
	return i
}

// least is the least crowded index from from up to, and without, to; the earliest
// of several.
func (f *frees) least(from, to int) int {
	least := none
	n := len(f.crowd)
	for from, to = from+n, to+n; from < to; from, to = from/2, to/2 {
		if from%2 == 1 {
			least = f.better(least, f.tree[from])
			from++
		}
		if to%2 == 1 {
			to--
			least = f.better(least, f.tree[to])
		}
	}
	return least
}

func (f *frees) drop(i int) {
	node := i + len(f.crowd)
	f.tree[node] = none
	for node /= 2; node > 0; node /= 2 {
		f.tree[node] = f.better(f.tree[2*node], f.tree[2*node+1])
	}
}
