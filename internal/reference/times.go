package reference

import (
	"time"

	"rapport"
)

func startedAt(w window) time.Time { return w[0].OccurredAt }

// lastActivityAt passes over ends, which are no activity; a session of
// nothing but ends was active when the first of them came.
func lastActivityAt(w window) time.Time {
	active := activity(w)
	if len(active) == 0 {
		return startedAt(w)
	}
	return active[len(active)-1].OccurredAt
}

func closesAt(w window, settings rapport.Settings) time.Time {
	idle := lastActivityAt(w).Add(settings.IdleTimeout)
	if ends := ofType(w, rapport.SessionEnd); len(ends) > 0 && ends[0].OccurredAt.Before(idle) {
		return ends[0].OccurredAt
	}
	return idle
}

func status(closed bool) string {
	if closed {
		return "closed"
	}
	return "open"
}

func endReason(w window, closed bool) *string {
	reason := "idle"
	if ends := ofType(w, rapport.SessionEnd); len(ends) > 0 {
		reason = ends[0].EndReason
		if reason == "" {
			reason = "ended"
		}
	}
	if !closed {
		return nil
	}
	return &reason
}

func durationMS(w window) int64 {
	return (lastActivityAt(w).UnixMicro() - startedAt(w).UnixMicro()) / 1000
}

// activeMS sums the gaps in microseconds and cuts the sum to milliseconds.
func activeMS(w window, settings rapport.Settings) int64 {
	active := activity(w)
	var total int64
	for i := 1; i < len(active); i++ {
		total += min(micros(active[i])-micros(active[i-1]), settings.ActiveGapCap.Microseconds())
	}
	return total / 1000
}

// activity is every event but the ends.
func activity(w window) []rapport.Event {
	return keep(w, func(e rapport.Event) bool { return e.Type != rapport.SessionEnd })
}

func ofType(w window, eventType string) []rapport.Event {
	return keep(w, func(e rapport.Event) bool { return e.Type == eventType })
}

func keep(events []rapport.Event, wanted func(rapport.Event) bool) []rapport.Event {
	var kept []rapport.Event
	for _, e := range events {
		if wanted(e) {
			kept = append(kept, e)
		}
	}
	return kept
}
