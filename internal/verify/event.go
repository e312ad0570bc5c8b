package verify

import (
	"bytes"
	"fmt"
	"time"
	"unicode/utf8"

	"rapport"
	"rapport/store"
)

// columns of an event are the decoder's reading of its payload.
var columns = []struct {
	name string
	of   func(*rapport.Event) any
}{
	{"occurred_at", func(e *rapport.Event) any { return e.OccurredAt.UnixMicro() }},
	{"undated", func(e *rapport.Event) any { return e.Undated }},
	{"event_type", func(e *rapport.Event) any { return e.Type }},
	{"agent_id", func(e *rapport.Event) any { return e.AgentID }},
	{"session_id", func(e *rapport.Event) any { return e.SessionID }},
	{"user_id", func(e *rapport.Event) any { return e.UserID }},
	{"role", func(e *rapport.Event) any { return e.Role }},
	{"message", func(e *rapport.Event) any { return e.Text }},
	{"message_type", func(e *rapport.Event) any { return e.MessageType }},
	{"language", func(e *rapport.Event) any { return e.Language }},
	{"participants", func(e *rapport.Event) any { return orNil(e.Participants) }},
	{"room_name", func(e *rapport.Event) any { return e.RoomName }},
	{"error_code", func(e *rapport.Event) any { return e.ErrorCode }},
	{"error_severity", func(e *rapport.Event) any { return e.ErrorSeverity }},
	{"error_category", func(e *rapport.Event) any { return e.ErrorCategory }},
	{"end_reason", func(e *rapport.Event) any { return e.EndReason }},
	{"rating", func(e *rapport.Event) any { return orNil(e.Rating) }},
	{"healed_from", func(e *rapport.Event) any { return e.HealedFrom }},
}

func orNil[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// checkEvent compares a row with its payload, decoded again, and returns the
// fingerprint that the payload has.
func (v *verifier) checkEvent(row *store.LogRow, c *chunk) rapport.Fingerprint {
	if want := store.PartitionOf(row.OccurredAt); row.Partition != want {
		c.add("event", "event %d: lies in the partition %s, its month is that of %s", row.Position, name(row.Partition), want)
	}
	if retained := &v.recorded.Retained; retained.IsDropped(row.OccurredAt) {
		c.add("event", "event %d: is of %s, which was dropped", row.Position, row.OccurredAt.Format("2006-01"))
	} else if row.Erasure == nil && retained.IsStubbed(row.OccurredAt) {
		c.add("event", "event %d: is whole, but the messages of %s are gone", row.Position, row.OccurredAt.Format("2006-01"))
	}
	if row.Erasure != nil {
		return v.checkErased(row, c)
	}
	v.checkWhole(row, c)
	if row.Raw && utf8.Valid(row.Payload) {
		c.add("event", "event %d: payload_raw is valid UTF-8, and should be the payload", row.Position)
	}
	read, err := v.decode(row)
	if err != nil {
		c.add("event", "event %d: its payload can't be decoded: %s", row.Position, quote(err.Error()))
		return row.Fingerprint
	}
	for _, column := range columns {
		if stored, said := column.of(&row.Event), column.of(&read); stored != said {
			if column.name == "occurred_at" {
				stored, said = row.OccurredAt, read.OccurredAt
			}
			c.add("event", "event %d: %s is %s, its payload says %s", row.Position, column.name, show(stored), show(said))
		}
	}
	if !bytes.Equal(row.Stored, read.Fingerprint[:]) {
		c.add("event", "event %d: fingerprint is %x, its payload's is %x", row.Position, row.Stored, read.Fingerprint)
	}
	return read.Fingerprint
}

// decode makes an error of a decoder that panics: a log must not be able to keep
// itself from being verified.
func (v *verifier) decode(row *store.LogRow) (read rapport.Event, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return v.Decode(row.Payload, row.HealedFrom, row.ReceivedAt)
}

// checkDeadLetter compares what was put aside with what was noted of it.
func checkDeadLetter(d store.DeadLetterRecord, e *rapport.Event, c *chunk) {
	if d.AgentID != e.AgentID || d.SessionID != e.SessionID || d.EventType != e.Type {
		c.add("dead_letter", "dead letter %d is of %s/%s, a %s; the event is of %s/%s, a %s", d.Position, name(d.AgentID),
			name(d.SessionID), name(d.EventType), name(e.AgentID), name(e.SessionID), name(e.Type))
	}
}

// undatedTwins is for how long equal deliveries without a time of their own are
// one event.
const undatedTwins = 10 * time.Minute

// sighting is where a fingerprint was seen.
type sighting struct {
	print    rapport.Fingerprint
	at       time.Time
	position int64
}

// twins finds events that are in the log twice, among those of one session_id in
// the order of time. It goes by the fingerprints of the payloads: those of the
// rows can't repeat.
type twins struct {
	instant time.Time
	dated   map[rapport.Fingerprint]int64 // events of the instant, with their positions
	undated map[rapport.Fingerprint]sighting
	recent  []sighting // the undated ones, oldest first
}

// find is the position of the event's twin, 0 if it has none.
func (t *twins) find(e *rapport.Event, print rapport.Fingerprint) int64 {
	if e.Undated {
		return t.findUndated(sighting{print, e.OccurredAt, e.Position})
	}
	if t.dated == nil || !e.OccurredAt.Equal(t.instant) {
		t.instant, t.dated = e.OccurredAt, make(map[rapport.Fingerprint]int64, 1)
	}
	if twin, found := t.dated[print]; found {
		return twin
	}
	t.dated[print] = e.Position
	return 0
}

func (t *twins) findUndated(s sighting) int64 {
	if t.undated == nil {
		t.undated = make(map[rapport.Fingerprint]sighting)
	}
	for len(t.recent) > 0 && s.at.Sub(t.recent[0].at) > undatedTwins {
		if old := t.recent[0]; t.undated[old.print] == old {
			delete(t.undated, old.print)
		}
		t.recent = t.recent[1:]
	}
	twin, found := t.undated[s.print]
	t.undated[s.print] = s
	t.recent = append(t.recent, s)
	if found {
		return twin.position
	}
	return 0
}
