package reference

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"rapport"
)

// Sessions computes every session of the events, whatever their order and
// however often each of them comes. Status and end_reason are those at now.
// The rows are ordered by started_at descending, then agent_id and session_id.
func Sessions(events []rapport.Event, settings rapport.Settings, now time.Time) []Row {
	var rows []Row
	for _, conversation := range conversations(events) {
		for _, w := range windows(counted(distinct(ordered(conversation))), settings.IdleTimeout) {
			rows = append(rows, row(w, settings, now))
		}
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(
			-cmp.Compare(a.StartedAt, b.StartedAt), // of one width, so texts sort as times
			cmp.Compare(a.AgentID, b.AgentID),
			cmp.Compare(a.SessionID, b.SessionID),
		)
	})
	return rows
}

type conversationID struct{ agentID, sessionID string }

// conversations groups the events that belong to sessions by what they name.
func conversations(events []rapport.Event) map[conversationID][]rapport.Event {
	groups := map[conversationID][]rapport.Event{}
	for _, e := range events {
		if e.SessionID == "" || e.Type == "test" || e.Type == "ping" {
			continue
		}
		id := conversationID{e.AgentID, e.SessionID}
		groups[id] = append(groups[id], e)
	}
	return groups
}

// ordered sorts by time, at equal times by kind, then by fingerprint. Of
// duplicates the first that was kept comes first.
func ordered(events []rapport.Event) []rapport.Event {
	return slices.SortedFunc(slices.Values(events), func(a, b rapport.Event) int {
		return cmp.Or(
			cmp.Compare(micros(a), micros(b)),
			cmp.Compare(kind(a), kind(b)),
			bytes.Compare(a.Fingerprint[:], b.Fingerprint[:]),
			cmp.Compare(a.Position, b.Position),
		)
	})
}

// kind is an event's place among those of the same instant.
func kind(e rapport.Event) int {
	places := []bool{
		e.Type == rapport.RoomJoin,
		e.Type == rapport.ChatPush && e.Role == rapport.RoleUser,
		e.Type == rapport.ChatPush,
		e.Type != rapport.SessionEnd,
		true,
	}
	return slices.Index(places, true)
}

// distinct keeps the first of each event. Duplicates have one fingerprint and
// one time.
func distinct(sorted []rapport.Event) []rapport.Event {
	type identity struct {
		micros      int64
		fingerprint rapport.Fingerprint
	}
	seen := map[identity]bool{}
	var kept []rapport.Event
	for _, e := range sorted {
		id := identity{micros(e), e.Fingerprint}
		if !seen[id] {
			seen[id] = true
			kept = append(kept, e)
		}
	}
	return kept
}

// windows cuts the events of one conversation into sessions.
func windows(sorted []rapport.Event, idle time.Duration) []window {
	var cut []window
	from := 0
	for i := 1; i <= len(sorted); i++ {
		if i == len(sorted) || begins(sorted[i-1], sorted[i], idle) {
			cut = append(cut, sorted[from:i])
			from = i
		}
	}
	return cut
}

// begins reports whether e begins a session, given the event before it.
func begins(before, e rapport.Event, idle time.Duration) bool {
	if e.Type == rapport.SessionEnd {
		return false
	}
	return before.Type == rapport.SessionEnd || micros(e)-micros(before) > idle.Microseconds()
}

func micros(e rapport.Event) int64 { return e.OccurredAt.UnixMicro() }
