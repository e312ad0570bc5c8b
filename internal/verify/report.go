package verify

import "fmt"

// Report is what a verification found.
type Report struct {
	Differences     []Difference `json:"differences"`      // the first of them
	DifferenceCount int64        `json:"difference_count"` // all of them
	Events          int64        `json:"events"`
	Sessions        int64        `json:"sessions"`
	Texts           int64        `json:"texts"`
	Seconds         float64      `json:"seconds"`
	Counts          Counts       `json:"counts"`

	limit int // of Differences
}

// Difference is something that is not as the log, or the rules, say.
type Difference struct {
	// Kind is where it was found: position, event, session, text, head, follower,
	// dead_letter, quarantine, spool, sum, totals (session_totals), counts (event_counts) or search (message_search).
	Kind string `json:"kind"`
	Text string `json:"text"` // one line
}

// Counts follow the deliveries from end to end.
type Counts struct {
	// Received deliveries are those that became events, those that were recognised
	// as one, those that are or were in the quarantine but for what was replayed from
	// there, and those that wait in the spool.
	Received    int64  `json:"received"`
	Delivered   int64  `json:"delivered"`  // events that are not healed
	Recognised  int64  `json:"recognised"` // duplicates; what is tried again because an answer was lost counts too
	Quarantined int64  `json:"quarantined"`
	Replayed    int64  `json:"replayed"` // those of Quarantined that were taken into the log after all
	Erased      int64  `json:"erased"`   // let go, since they belong to what was erased
	Expired     int64  `json:"expired"`  // let go, since they were of a time before the horizon
	Waiting     *int64 `json:"waiting"`  // in the spools that were looked at; null if none was

	Answered200 int64 `json:"answered_200"` // Received, but for Quarantined

	InLog      int64 `json:"in_log"`  // all events
	Dropped    int64 `json:"dropped"` // those that have gone for their age; they count below as well
	Healed     int64 `json:"healed"`
	Stubs      int64 `json:"stubs"`      // what remains of erased events
	Announced  int64 `json:"announced"`  // events that announce an erasure, and that nobody sent
	NoSession  int64 `json:"no_session"` // test, ping, or without a session_id
	NotFolded  int64 `json:"not_folded"` // behind the follower's position
	PutAside   int64 `json:"put_aside"`  // dead letters
	Superseded int64 `json:"superseded"` // healed messages whose delivery came after all, and what came too late to count
	Frozen     int64 `json:"frozen"`     // of sessions that began before the horizon: their numbers are not proved
	InSessions int64 `json:"in_sessions"`
	Searchable int64 `json:"searchable"` // messages that GET /messages can find
}

func (r *Report) add(kind, format string, args ...any) {
	r.take(Difference{Kind: kind, Text: fmt.Sprintf(format, args...)})
}

func (r *Report) take(differences ...Difference) {
	r.DifferenceCount += int64(len(differences))
	if room := r.limit - len(r.Differences); room > 0 {
		r.Differences = append(r.Differences, differences[:min(room, len(differences))]...)
	}
}

// count adds up what came, as far as the database and the spools know.
func (v *verifier) count() {
	c := &v.report.Counts
	c.Delivered = c.InLog + c.Dropped - c.Healed - c.Announced
	c.Recognised, c.Erased, c.Expired = v.head.Duplicates, v.head.Erased, v.head.Expired
	if tally := v.recorded.Tally; tally != nil {
		c.Quarantined, c.Replayed = tally.Received, tally.Replayed
	}
	c.Received = c.Delivered + c.Recognised + c.Erased + c.Expired + c.Quarantined - c.Replayed
	for _, s := range v.Spools {
		if c.Waiting == nil {
			c.Waiting = new(int64)
		}
		*c.Waiting += s.waiting(v.drainedTo(&s))
	}
	if c.Waiting != nil {
		c.Received += *c.Waiting
	}
	c.Answered200 = c.Received - c.Quarantined
}
