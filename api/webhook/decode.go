package webhook

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"rapport"
)

// maxExcerpt bounds what a refusal repeats of its delivery, in bytes.
const maxExcerpt = 64

// Refusal says why an authentic delivery is no event. Reason is for the sender
// and for the quarantine: what is wrong and what to do, in valid UTF-8, with at
// most a short excerpt of the delivery.
type Refusal struct {
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

func refuse(format string, args ...any) error {
	return &Refusal{Reason: fmt.Sprintf(format, args...)}
}

// Decode reads the body of one delivery, in whichever of the sender's shapes it
// comes. receivedAt is the time of receipt; newest is the newest receipt in the
// log (zero if there is none), so that a clock that was set back refuses no
// live traffic.
//
// The event keeps body as its Payload, not a copy of it. Position and Headers
// are left to the caller. Every error is a *[Refusal]: the body is not one JSON
// object, nests deeper than 100, names no type, has an id of more than
// [rapport.MaxIDBytes], or tells an impossible time. Anything else of an
// unusable kind counts as absent.
func Decode(body []byte, receivedAt, newest time.Time) (rapport.Event, error) {
	d, err := parse(body)
	if err != nil {
		return rapport.Event{}, err
	}
	e := d.event()
	if e.Type == "" {
		return rapport.Event{}, refuse("the body names no type: send it as a string in event_type, event or type")
	}
	// The fingerprint is of the texts as they came: two that differ only in
	// what cleaning replaces are two events.
	e.Fingerprint = d.fingerprint(&e)
	cleanTexts(&e)
	if err := checkIDs(&e); err != nil {
		return rapport.Event{}, err
	}
	e.ReceivedAt = receivedAt.UTC().Truncate(time.Microsecond)
	if err := d.date(&e, newest); err != nil {
		return rapport.Event{}, err
	}
	return e, nil
}

// cleanTexts cleans the texts of an event. The parser has made them valid UTF-8
// already, so that only U+0000 is left to look for.
func cleanTexts(e *rapport.Event) {
	for _, text := range []*string{
		&e.Type, &e.AgentID, &e.SessionID, &e.UserID,
		&e.Role, &e.Text, &e.MessageType, &e.Language, &e.RoomName,
		&e.ErrorCode, &e.ErrorSeverity, &e.ErrorCategory, &e.EndReason,
	} {
		if strings.IndexByte(*text, 0) >= 0 {
			*text = rapport.CleanText(*text)
		}
	}
}

func checkIDs(e *rapport.Event) error {
	for _, id := range []struct{ name, value string }{
		{"agent_id", e.AgentID},
		{"session_id", e.SessionID},
		{"user_id", e.UserID},
	} {
		if len(id.value) > rapport.MaxIDBytes {
			return refuse("%s has %d bytes: send at most %d", id.name, len(id.value), rapport.MaxIDBytes)
		}
	}
	return nil
}

// excerpt quotes the beginning of a text, for a refusal.
func excerpt(s string) string {
	if len(s) <= maxExcerpt {
		return strconv.Quote(s)
	}
	end := maxExcerpt
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return strconv.Quote(s[:end]) + "…"
}
