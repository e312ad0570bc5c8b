package live

import "sync"

// frame is a message, encoded.
type frame struct {
	Message
	body []byte

	// Whether the place moves past it: of several sessions that are told at the same
	// position the last one alone has an id, so that whoever is cut off between them is
	// told all of them again.
	moves bool
}

// batch is what one reading has found. It doesn't change.
type batch struct {
	from, to Place // before and behind it
	frames   []frame
	bytes    int

	shared [All + 1]struct { // by kinds, what streams without filters send
		once sync.Once
		text []byte
		sent tally
	}
}

// frameCost is what a frame takes in memory besides its text, in bytes.
const frameCost = 256

// newBatch makes a batch of the messages that were read between two places: first the
// events, then the sessions.
func newBatch(from, to Place, events, sessions []Message) *batch {
	b := &batch{from: from, to: to, frames: make([]frame, 0, len(events)+len(sessions))}
	for i := range events {
		b.add(&events[i], true)
	}
	for i := range sessions {
		b.add(&sessions[i], i == len(sessions)-1 || sessions[i+1].Position != sessions[i].Position)
	}
	return b
}

func (b *batch) add(m *Message, moves bool) {
	f := frame{Message: *m, body: m.text(), moves: moves}
	f.Data = nil // the body has it
	b.frames = append(b.frames, f)
	b.bytes += len(f.body) + frameCost
}

// has reports whether a filter lets any of it through.
func (b *batch) has(filter *Filter) bool {
	for i := range b.frames {
		if filter.lets(&b.frames[i].Message) {
			return true
		}
	}
	return false
}

// textFor is all of it for streams of the kinds without filters that are at its
// beginning: encoded once for all of them, however many frames it has.
func (b *batch) textFor(kinds Kinds) (text []byte, sent tally) {
	shared := &b.shared[kinds]
	shared.once.Do(func() {
		shared.text, _, shared.sent = b.render(nil, b.from, &Filter{Kinds: kinds})
	})
	return shared.text, shared.sent
}

// render appends to text what a filter lets through and is not behind a place already,
// and moves the place.
func (b *batch) render(text []byte, at Place, filter *Filter) (_ []byte, behind Place, sent tally) {
	for i := range b.frames {
		f := &b.frames[i]
		next := at
		if f.Kind == Events {
			if f.Position <= at.Log {
				continue
			}
			next.Log = f.Position
		} else {
			if f.Position <= at.Sessions {
				continue
			}
			if f.moves {
				next.Sessions = f.Position
			}
		}
		isIdentified := next != at
		at = next
		if !filter.lets(&f.Message) {
			continue
		}
		if isIdentified {
			text = append(append(append(text, "id: "...), at.id(filter.Kinds)...), '\n')
		}
		text = append(text, f.body...)
		sent.add(f.Kind)
	}
	return text, at.upTo(b.to), sent
}

// tally counts messages by kind.
type tally struct{ events, sessions int }

func (t *tally) add(kind Kinds) {
	if kind == Events {
		t.events++
	} else {
		t.sessions++
	}
}
