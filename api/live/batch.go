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
		shared.text, _, _, shared.sent = b.render(nil, b.from, &Filter{Kinds: kinds}, 0, 0)
	})
	return shared.text, shared.sent
}

// render appends to text what a filter lets through of the frames from next on and is not
// behind a place already, and moves the place and next. It ends once the text has enough
// bytes; 0: with the last frame.
func (b *batch) render(text []byte, at Place, filter *Filter, next, enough int) (_ []byte, _ int, behind Place, sent tally) {
	for ; next < len(b.frames) && (enough == 0 || len(text) < enough); next++ {
		f := &b.frames[next]
		moved := at
		if f.Kind == Events {
			if f.Position <= at.Log {
				continue
			}
			moved.Log = f.Position
		} else {
			if f.Position <= at.Sessions {
				continue
			}
			if f.moves {
				moved.Sessions = f.Position
			}
		}
		isIdentified := moved != at
		at = moved
		if !filter.lets(&f.Message) {
			continue
		}
		if isIdentified {
			text = append(append(append(text, "id: "...), at.id(filter.Kinds)...), '\n')
		}
		text = append(text, f.body...)
		sent.add(f.Kind)
	}
	if next == len(b.frames) {
		at = at.upTo(b.to)
	}
	return text, next, at, sent
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
