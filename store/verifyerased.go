package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"rapport"
)

// StubPayload is the payload of every stub.
const StubPayload = `{"erased":true}`

// ErasedEvent is the type of the events that announce an erasure. A delivery may have
// any type: what makes an announcement one is that it has an erasure, and is no stub.
const ErasedEvent = "rapport.erased"

// IsAnnouncement reports whether the row announces an erasure.
func (r *LogRow) IsAnnouncement() bool {
	return r.Erasure != nil && r.Type == ErasedEvent && string(r.Payload) != StubPayload
}

// IsStub reports whether the row is what remains of an event.
func (r *LogRow) IsStub() bool { return r.Erasure != nil && !r.IsAnnouncement() }

// AnnouncementFingerprint is the one that an announcement has.
func (r *LogRow) AnnouncementFingerprint() rapport.Fingerprint {
	return sha256.Sum256(fmt.Appendf(nil, "%d%s", r.Position, r.Payload))
}

// tombstone names what was erased; whole is for every conversation of the one that is
// not empty.
type tombstone struct {
	Conversation
	whole bool
}

func (s *Snapshot) recordedErasures(ctx context.Context, r *Recorded) error {
	erasures, err := s.q.VerifyErasures(ctx)
	if err != nil {
		return err
	}
	r.Erasures = make(map[int64]bool, len(erasures))
	underWay := make(map[int64]bool)
	for _, e := range erasures {
		r.Erasures[e.ID] = true
		underWay[e.ID] = !e.Finished
	}
	rows, err := s.q.VerifyTombstones(ctx)
	r.tombstones = make(map[tombstone]time.Time, len(rows))
	for _, row := range rows {
		if row.Whole && underWay[row.Erasure] {
			continue // it stops what comes, while what is there is still being erased
		}
		r.tombstones[tombstone{Conversation{row.AgentID, row.SessionID}, row.Whole}] = row.ErasedUntil
	}
	return err
}

// ErasedUntil is up to when a conversation is erased; zero if it is not.
func (r *Recorded) ErasedUntil(of Conversation) time.Time {
	var until time.Time
	for _, t := range []tombstone{
		{of, false}, {Conversation{SessionID: of.SessionID}, true}, {Conversation{AgentID: of.AgentID}, true},
	} {
		if t.whole && t.AgentID == "" && t.SessionID == "" {
			continue
		}
		if at := r.tombstones[t]; at.After(until) {
			until = at
		}
	}
	return until
}

// LatestTombstone is the latest time up to which anything is erased; zero if nothing is.
func (r *Recorded) LatestTombstone() time.Time {
	var latest time.Time
	for _, until := range r.tombstones {
		if until.After(latest) {
			latest = until
		}
	}
	return latest
}

// IsFrozen reports whether the session was erased: its numbers stay as they were.
func (s *StoredSession) IsFrozen() bool { return s.row.ErasedAt != nil }

// Span is from the session's first event to its last.
func (s *StoredSession) Span() Span { return Span{s.row.StartedAt, s.row.LastEventAt} }

// StubDifferences are the columns of an erased session whose values are not what its
// stubs still prove. Of the session given only that is looked at.
func (s *StoredSession) StubDifferences(proved *rapport.Session) []ColumnDifference {
	row := &s.row
	reason := ""
	if proved.EndCount > 0 {
		reason = rapport.EndReasonEnded
	}
	columns := []ColumnDifference{
		{"started_at", row.StartedAt, proved.StartedAt},
		{"last_activity_at", row.LastActivityAt, proved.LastActivityAt},
		{"last_event_at", row.LastEventAt, proved.LastEventAt},
		{"ended_at", orZero(row.EndedAt), proved.EndedAt},
		{"event_count", row.EventCount, proved.EventCount},
		{"end_count", row.EndCount, proved.EndCount},
		{"join_count", row.JoinCount, proved.JoinCount},
		{"error_count", row.ErrorCount, proved.ErrorCount},
		{"message_count", row.MessageCount, proved.MessageCount},
		{"user_message_count", row.UserMessageCount, proved.UserMessageCount},
		{"agent_message_count", row.AgentMessageCount, proved.AgentMessageCount},
		{"peak_participants", row.PeakParticipants, proved.PeakParticipants},
		{"first_position", row.FirstPosition, proved.FirstPosition},
		{"last_position", row.LastPosition, proved.LastPosition},
		{"duration_ms", row.DurationMs, proved.DurationMs()},
	}
	if s.IsFrozen() {
		columns = append(columns, ColumnDifference{"user_id", row.UserID, ""}, ColumnDifference{"room_name", row.RoomName, ""},
			ColumnDifference{"end_reason", row.EndReason, reason})
	}
	var differences []ColumnDifference
	for _, c := range columns {
		if !sameValue(c.Stored, c.Should) {
			differences = append(differences, c)
		}
	}
	return differences
}
