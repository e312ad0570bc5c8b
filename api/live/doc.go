// Package live hands out what happens as it happens: the events of the log once they are
// committed, and sessions once they have changed, as server-sent events.
//
// A Hub reads the log once for all: whenever it has moved, one query takes what is new,
// which is encoded once, kept in a ring of bounded size, and from there taken by every
// stream at its own pace. A stream that has not taken what leaves the ring is cut off: it
// holds nobody up, and resumes where it was. A stream that begins before the ring reads
// the log until it has reached the ring, a stretch at a time, which those who come back
// together share.
//
// Events and sessions come from two sequences, for sessions are folded after the log has
// grown. A Place has how far a stream is in both.
package live

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kinds are what a stream tells of.
type Kinds uint8

// The kinds.
const (
	Events   Kinds = 1 << iota // events of the log
	Sessions                   // sessions that have changed
	All      = Events | Sessions
)

// Place is how far a stream is: what is told up to there is not told again.
type Place struct {
	Log      int64 // the position of the last event
	Sessions int64 // the position up to which changes of sessions are told; at most Log
}

// id is what a client sends as Last-Event-ID to go on from the place: the position, or
// both where the sessions are not as far as the events.
func (p Place) id(kinds Kinds) string {
	switch {
	case kinds == Sessions:
		return strconv.FormatInt(p.Sessions, 10)
	case kinds == Events || p.Log == p.Sessions:
		return strconv.FormatInt(p.Log, 10)
	}
	return strconv.FormatInt(p.Log, 10) + "-" + strconv.FormatInt(p.Sessions, 10)
}

var errNoPlace = errors.New("malformed: send an id as it came, or a log position")

// ParsePlace reads an id. A log position is one, too.
func ParsePlace(id string) (Place, error) {
	log, sessions, isBoth := strings.Cut(id, "-")
	var p Place
	var err error
	if p.Log, err = parsePosition(log); err != nil {
		return Place{}, err
	}
	if p.Sessions = p.Log; isBoth {
		if p.Sessions, err = parsePosition(sessions); err != nil || p.Sessions > p.Log {
			return Place{}, errNoPlace
		}
	}
	return p, nil
}

func parsePosition(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || text != strconv.FormatUint(n, 10) {
		return 0, errNoPlace
	}
	return int64(n), nil
}

// upTo is the farther of two places, in each sequence.
func (p Place) upTo(q Place) Place { return Place{max(p.Log, q.Log), max(p.Sessions, q.Sessions)} }

// reaches reports whether a place is not before another, in the sequences that count.
func (p Place) reaches(q Place, kinds Kinds) bool {
	return (kinds&Events == 0 || p.Log >= q.Log) && (kinds&Sessions == 0 || p.Sessions >= q.Sessions)
}

// Filter is what a stream tells of. What is empty leaves nothing out.
type Filter struct {
	Kinds     Kinds
	AgentID   string
	SessionID string
	EventType string   // of events; sessions have none
	Agents    []string // whom the reader may see
}

func (f *Filter) lets(m *Message) bool {
	return f.Kinds&m.Kind != 0 &&
		(f.AgentID == "" || f.AgentID == m.AgentID) &&
		(f.SessionID == "" || f.SessionID == m.SessionID) &&
		(f.EventType == "" || m.Kind == Sessions || f.EventType == m.EventType) &&
		(len(f.Agents) == 0 || slices.Contains(f.Agents, m.AgentID))
}

func (f *Filter) letsAll() bool {
	return f.AgentID == "" && f.SessionID == "" && f.EventType == "" && len(f.Agents) == 0
}

// Message is an event, or a session that has changed.
type Message struct {
	Kind       Kinds // one of them
	Position   int64 // at which it is told
	AgentID    string
	SessionID  string
	EventType  string    // of an event
	ReceivedAt time.Time // of an event
	Data       []byte    // JSON in one line
}

// text is the message as it is sent, behind its id.
func (m *Message) text() []byte {
	name := "event"
	if m.Kind == Sessions {
		name = "session"
	}
	return fmt.Appendf(make([]byte, 0, len(m.Data)+40), "event: %s\ndata: %s\n\n", name, m.Data)
}
