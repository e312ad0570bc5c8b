package verify

import (
	"bytes"
	"time"

	"rapport"
	"rapport/store"
)

// checkErased checks a row of which the content is gone, or which announces that.
func (v *verifier) checkErased(row *store.LogRow, c *chunk) rapport.Fingerprint {
	if *row.Erasure != 0 && !v.recorded.Erasures[*row.Erasure] {
		c.add("event", "event %d: names the erasure %d, which there was not", row.Position, *row.Erasure)
	}
	if row.IsAnnouncement() {
		if want := row.AnnouncementFingerprint(); !bytes.Equal(row.Stored, want[:]) {
			c.add("event", "event %d: fingerprint is %x, its payload's is %x", row.Position, row.Stored, want)
		}
		return row.Fingerprint
	}
	v.checkStub(row, c)
	return row.Fingerprint
}

// checkStub finds what should be gone.
func (v *verifier) checkStub(row *store.LogRow, c *chunk) {
	if string(row.Payload) != store.StubPayload || row.Raw {
		c.add("event", "event %d: is a stub, and still has a payload", row.Position)
	}
	if len(row.Stored) != len(rapport.Fingerprint{}) {
		c.add("event", "event %d: is a stub, and its fingerprint has %d bytes, want %d", row.Position, len(row.Stored), len(rapport.Fingerprint{}))
	}
	for _, column := range []struct{ name, value string }{
		{"user_id", row.UserID}, {"message", row.Text}, {"message_type", row.MessageType}, {"language", row.Language},
		{"room_name", row.RoomName}, {"error_code", row.ErrorCode}, {"error_severity", row.ErrorSeverity},
		{"error_category", row.ErrorCategory}, {"end_reason", row.EndReason},
	} {
		if column.value != "" {
			c.add("event", "event %d: is a stub, and still has a %s", row.Position, column.name)
		}
	}
	if row.Rating != nil || row.HealedFrom != "" && row.HealedFrom != "erased" {
		c.add("event", "event %d: is a stub, and still has a rating or a source", row.Position)
	}
}

// checkWhole finds an event that should be a stub.
func (v *verifier) checkWhole(row *store.LogRow, c *chunk) {
	if row.OccurredAt.After(v.tombs) {
		return // as mostly
	}
	of := store.Conversation{AgentID: row.AgentID, SessionID: row.SessionID}
	if until := v.recorded.ErasedUntil(of); !row.OccurredAt.After(until) {
		c.add("event", "event %d: belongs to %s, which was erased up to %s, and is whole", row.Position, conversationName(of), show(until))
	}
}

// grave is what remains of a conversation: its stubs that count, in the order of time.
type grave struct {
	of    store.Conversation
	stubs []stub
}

// stub is what an erased event still proves.
type stub struct {
	position     int64
	at           time.Time
	eventType    string
	role         string
	participants int32
}

func stubOf(e *rapport.Event) stub {
	s := stub{position: e.Position, at: e.OccurredAt, eventType: e.Type, role: e.Role}
	if e.Participants != nil {
		s.participants = *e.Participants
	}
	return s
}

// proved is what stubs tell of their session, of which there is at least one.
func proved(stubs []stub) *rapport.Session {
	first := stubs[0]
	s := &rapport.Session{
		StartedAt: first.at, LastActivityAt: first.at, FirstPosition: first.position, LastPosition: first.position,
	}
	for _, e := range stubs {
		s.EventCount++
		s.LastEventAt = e.at
		s.FirstPosition, s.LastPosition = min(s.FirstPosition, e.position), max(s.LastPosition, e.position)
		s.PeakParticipants = max(s.PeakParticipants, e.participants)
		if e.eventType != rapport.SessionEnd {
			s.LastActivityAt = e.at
		}
		switch e.eventType {
		case rapport.SessionEnd:
			s.EndCount++
			if s.EndCount == 1 {
				s.EndedAt = e.at
			}
		case rapport.RoomJoin:
			s.JoinCount++
		case rapport.AgentError:
			s.ErrorCount++
		case rapport.ChatPush:
			countMessage(s, e.role)
		}
	}
	return s
}

func countMessage(s *rapport.Session, role string) {
	s.MessageCount++
	switch role {
	case rapport.RoleUser:
		s.UserMessageCount++
	case rapport.RoleAgent:
		s.AgentMessageCount++
	}
}

// compareGrave compares the frozen sessions of a conversation with its stubs.
func (r *rollups) compareGrave(g *grave) error {
	begin, stubs := store.SessionKey{Conversation: g.of}, g.stubs
	for r.session != nil && r.session.Key().Compare(begin) < 0 {
		if err := r.extraSession(); err != nil {
			return err
		}
	}
	last := stubs[len(stubs)-1].at
	for r.session != nil && r.session.Key().Conversation == g.of && (r.session.IsFrozen() || !r.session.Span().StartedAt.After(last)) {
		span := r.session.Span()
		stubs = r.lost(stubs, func(s stub) bool { return s.at.Before(span.StartedAt) })
		n := 0
		for n < len(stubs) && !stubs[n].at.After(span.LastEventAt) {
			n++
		}
		if n == 0 {
			if err := r.extraSession(); err != nil {
				return err
			}
			continue
		}
		r.compareFrozen(proved(stubs[:n]))
		stubs = stubs[n:]
		if err := r.nextSession(); err != nil {
			return err
		}
	}
	r.lost(stubs, func(stub) bool { return true })
	return nil
}

func (r *rollups) compareFrozen(want *rapport.Session) {
	for _, d := range r.session.StubDifferences(want) {
		r.report.add("session", "%s: was erased, and %s is %s, its stubs say %s", session(r.session.Key()), d.Column, show(d.Stored), show(d.Should))
	}
}

// lost reports the first stubs, as far as they are of no session, and returns the others.
func (r *rollups) lost(stubs []stub, isLost func(stub) bool) []stub {
	for len(stubs) > 0 && isLost(stubs[0]) {
		r.report.add("session", "event %d: is a stub, and no session has counted it", stubs[0].position)
		stubs = stubs[1:]
	}
	return stubs
}
