package rules

import (
	"context"
	"encoding/json"
	"time"

	"rapport"
)

// What a rule may be on besides the types of events.
const (
	SessionOpened  = "session.opened"  // its first event has come
	SessionClosed  = "session.closed"  // its closes_at has passed
	SessionChanged = "session.changed" // a late event has changed one that was told to be closed
	OnMetric       = "metric"          // a metric's value at a time
)

// Session is a session with when it closes.
type Session struct {
	rapport.Session
	ClosesAt time.Time
}

// Occasion is something that rules may be on.
type Occasion struct {
	On string // the type of Event, or one of the constants

	// At is the time that windows slide by: of an event its ReceivedAt; of an opened or
	// changed session that of the event that made it so; of a closed one its ClosesAt,
	// or the receipt of its last event where that is later; of a metric the end of the
	// range that it was computed over.
	At time.Time

	Event    *rapport.Event // nil but for events; with its Payload if Set.Needs says so
	Session  *Session       // of an event, as it stands with the event; nil if it is of none, and for a metric
	Replaces time.Time      // of SessionChanged: the started_at that it was told with, where that is another; else zero

	Rule  string   // of OnMetric: the rule whose metric it is
	Value *float64 // of OnMetric: as GET /stats shows it; nil if there is no data

	Background Background // nil if nothing is known
}

// Background answers what only some conditions ask for. Its errors end a Match.
type Background interface {
	// Agent tells of the occasion's agent at the occasion's time.
	Agent(ctx context.Context, o *Occasion) (Agent, error)
	// SaidInSession are the texts of the session's user messages at positions before the
	// event's, the newest SaidMessages of them, in the order of the log.
	SaidInSession(ctx context.Context, o *Occasion) ([]string, error)
	// SaidByUser are the same of all messages of the occasion's user (see
	// Occasion.UserID), in any session of any agent, received within SaidWithin before
	// the event; none where no user is known.
	SaidByUser(ctx context.Context, o *Occasion) ([]string, error)
}

// How much of what was said before is known.
const (
	SaidMessages = 100
	SaidWithin   = 24 * time.Hour
)

// Agent is how much an agent has to do.
type Agent struct {
	OpenSessions    int64 // its sessions that have started, and not closed, at the time
	Participants    int64 // sum of their peak_participants
	AllOpenSessions int64 // open sessions of all agents
}

// AgentID is whose occasion it is; empty for a metric.
func (o *Occasion) AgentID() string {
	switch {
	case o.Event != nil:
		return o.Event.AgentID
	case o.Session != nil:
		return o.Session.AgentID
	}
	return ""
}

// SessionID is the sender's session; empty if there is none.
func (o *Occasion) SessionID() string {
	switch {
	case o.Event != nil:
		return o.Event.SessionID
	case o.Session != nil:
		return o.Session.SessionID
	}
	return ""
}

// UserID is the event's, or else the session's; empty if none was told.
func (o *Occasion) UserID() string {
	if o.Event != nil && o.Event.UserID != "" {
		return o.Event.UserID
	}
	if o.Session != nil {
		return o.Session.UserID
	}
	return ""
}

// position is the event's, or the session's last_position; 0 for a metric.
func (o *Occasion) position() int64 {
	switch {
	case o.Event != nil:
		return o.Event.Position
	case o.Session != nil:
		return o.Session.LastPosition
	}
	return 0
}

// Firing is one thing to be told to one destination.
type Firing struct {
	// ID is the same whenever the same occasion fires the same rule again: letters,
	// digits, and - _ : alone, at most 200 of them.
	ID string

	Rule        string
	Destination string
	Severity    string
	On          string    // of the occasion
	At          time.Time // of the occasion
	Position    int64     // of the event, or the session's last_position; 0 for a metric
	Resolved    bool      // an alert is over

	AgentID, SessionID string // whom it tells of, and whose erasure takes it along; may be empty

	// Data is a JSON object: what the destination's template is given, and the body
	// where it has none. See docs/rules.md for its fields.
	Data json.RawMessage
}
