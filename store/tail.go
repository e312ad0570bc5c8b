package store

import (
	"slices"
	"sync"

	"rapport"
)

// maxTailBytes bounds what is kept in memory of the log's end: about a second
// under load.
const maxTailBytes = 8 << 20

// tail is the end of the log as far as this process has appended it, so that a
// follower in the same process need not read it back. It is never more than a
// shortcut: what it lacks is read from the database.
type tail struct {
	mu     sync.Mutex
	events []*rapport.Event // positions without a gap; as foldedEvent makes them
	bytes  int

	generation int64 // of the log, when it was followed last
}

// add takes events that were just committed, in the order of the log. Where they
// don't continue the tail, another process has appended between, an older batch
// comes late, or a failover has lost the end of the log: what was known is forgotten.
func (t *tail) add(events []*rapport.Event) {
	if len(events) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.events); n > 0 && events[0].Position != t.events[n-1].Position+1 {
		t.drop(n)
	}
	for _, e := range events {
		t.events = append(t.events, e)
		t.bytes += tailBytes(e)
	}
	n := 0
	for over := t.bytes - maxTailBytes; over > 0; n++ {
		over -= tailBytes(t.events[n])
	}
	t.drop(n)
}

// forget is for whenever the log may have become another one: a failover can lose
// its end and give the positions out again.
func (t *tail) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(len(t.events))
}

// since forgets everything if events have become stubs: it may have their texts. It
// reports whether they have.
func (t *tail) since(generation int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if generation == t.generation {
		return false
	}
	t.drop(len(t.events))
	t.generation = generation
	return true
}

// followed forgets what nobody asks for again.
func (t *tail) followed(position int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) > 0 && t.events[0].Position <= position {
		t.drop(min(int(position+1-t.events[0].Position), len(t.events)))
	}
}

// tailBytes is about what an event costs in memory.
func tailBytes(e *rapport.Event) int { return 512 + len(e.Text) }

// drop forgets the first n. The caller holds mu.
func (t *tail) drop(n int) {
	for _, e := range t.events[:n] {
		t.bytes -= tailBytes(e)
	}
	clear(t.events[:n])
	t.events = t.events[n:]
}

// after is what follows a position, at most limit events up to a head, and no more
// once there are maxStepBytes of text; none if the tail doesn't reach back as far.
// What comes before is forgotten: nobody asks for it again who follows at the head.
func (t *tail) after(position, head int64, limit int) []*rapport.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) == 0 || t.events[0].Position > position+1 {
		return nil
	}
	t.drop(min(int(position+1-t.events[0].Position), len(t.events)))
	n, bytes := 0, 0
	for n < len(t.events) && n < limit && bytes < maxStepBytes && t.events[n].Position <= head {
		bytes += len(t.events[n].Text)
		n++
	}
	return slices.Clone(t.events[:n])
}

// folded is of an event that was appended at a position what followedEvent has of
// its row.
func folded(e *rapport.Event, position int64) *rapport.Event {
	return &rapport.Event{
		Position: position, Fingerprint: e.Fingerprint, OccurredAt: e.OccurredAt, ReceivedAt: e.ReceivedAt,
		Type: e.Type, AgentID: e.AgentID, SessionID: e.SessionID, UserID: e.UserID, Role: e.Role, Text: e.Text,
		Participants: e.Participants, RoomName: e.RoomName, EndReason: e.EndReason, Rating: e.Rating,
		HealedFrom: e.HealedFrom, ErrorCode: e.ErrorCode, ErrorSeverity: e.ErrorSeverity, ErrorCategory: e.ErrorCategory,
	}
}
