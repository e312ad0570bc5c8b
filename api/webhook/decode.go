package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"rapport"
)

const (
	// maxDepth bounds how deep objects and arrays may nest.
	maxDepth = 100
	// maxExcerpt bounds what a refusal repeats of its delivery, in bytes.
	maxExcerpt = 64
)

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

// parse reads body as one JSON object. The grammar is encoding/json's, which
// takes nothing that Postgres's type json refuses, but for invalid UTF-8: that
// becomes U+FFFD in the texts.
func parse(body []byte) (*delivery, error) {
	if deeper(body, maxDepth) {
		return nil, refuse("the body nests deeper than %d: send a flatter object", maxDepth)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber() // times are read from their literals
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, refuseSyntax(err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, refuse("the body has data after its JSON value: send one object per delivery")
	}
	root, ok := value.(map[string]any)
	if !ok {
		return nil, refuse("the body is JSON, but not an object: send one object per delivery")
	}
	return newDelivery(body, root), nil
}

func refuseSyntax(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return refuse("the body is not JSON: %v (byte %d); send one JSON object", syntax, syntax.Offset)
	case errors.Is(err, io.EOF):
		return refuse("the body is empty: send one JSON object")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse("the body is not JSON: it ends too early; send one complete JSON object")
	default:
		return refuse("the body is not JSON: %v; send one JSON object", err)
	}
}

// deeper reports whether objects and arrays nest deeper than limit. It runs
// before the parser, which would allocate for each level.
func deeper(body []byte, limit int) bool {
	if bytes.Count(body, []byte{'{'})+bytes.Count(body, []byte{'['}) <= limit {
		return false // as nearly always, and many times faster than the scan
	}
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			quoted = !quoted
		case '\\':
			// What is escaped is no quote. Outside strings a backslash is
			// no JSON, which the parser will say.
			i++
		case '{', '[':
			if !quoted {
				depth++
			}
		case '}', ']':
			if !quoted {
				depth--
			}
		}
		if depth > limit {
			return true
		}
	}
	return false
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
