package redact

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Body masks a delivery's body. Of JSON that are its strings and the names of its
// members, whatever escapes they are written with, but for what a delivery is known
// by: its type, ids, role and times. All other bytes stay as they came. From where
// a body is no JSON on, it is masked as text.
func (r *Rules) Body(body []byte) []byte {
	if r == nil || len(body) == 0 {
		return body
	}
	w := &walk{rules: r, body: body, decoder: jsontext.NewDecoder(bytes.NewBuffer(body),
		jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))}
	for {
		err := w.value("")
		if err == io.EOF {
			break
		}
		if err != nil {
			w.mask(w.read, body[w.read:])
			break
		}
	}
	return replace(body, w.edits)
}

// walk goes through a body and gathers what is to be replaced in it.
type walk struct {
	rules   *Rules
	body    []byte
	decoder *jsontext.Decoder
	read    int // the end of the last string
	edits   []edit
}

// The objects of a delivery that are looked into: see webhook.Decode. The parts of
// others are elsewhere.
const (
	root      = "root"
	elsewhere = "elsewhere"
)

// kept are the members of each of these that are never masked.
var kept = map[string][]string{
	root:      {"event_type", "event", "type", "agent_id", "agentId", "agent_code", "session_id", "sessionId", "id"},
	"data":    {"agent_id", "session_id", "user_id", "role"},
	"user":    {"id"},
	"message": {"id", "role", "type"},
}

// times are kept if they look like one.
var times = map[string][]string{root: {"timestamp", "created"}, "data": {"timestamp"}}

// known are the names that mean something. Others may be anything.
var known = make(map[string]bool)

func init() {
	for _, name := range []string{
		"event_type", "event", "type", "agent_id", "agentId", "agent_code", "session_id", "sessionId", "id", "timestamp", "created",
		"data", "user", "message", "room", "error", "session", "conversation", "metrics", "metadata",
		"user_id", "role", "content", "language", "participant_count", "participants", "room_name", "name",
		"code", "severity", "category", "endReason", "userSatisfaction",
	} {
		known[name] = true
	}
}

// value masks the next value, which is a part of the named object. The outermost one
// has none.
func (w *walk) value(within string) error {
	switch w.decoder.PeekKind() {
	case '{':
		if within == "" {
			within = root
		}
		return w.object(within)
	case '[':
		return w.array()
	case '"':
		return w.str(func([]byte) bool { return true })
	default:
		_, err := w.decoder.ReadToken()
		return err
	}
}

func (w *walk) array() error {
	if _, err := w.decoder.ReadToken(); err != nil { // [
		return err
	}
	for {
		switch w.decoder.PeekKind() {
		case ']', 0:
			_, err := w.decoder.ReadToken()
			return noEOF(err)
		}
		if err := w.value(elsewhere); err != nil {
			return noEOF(err)
		}
	}
}

func (w *walk) object(this string) error {
	if _, err := w.decoder.ReadToken(); err != nil { // {
		return err
	}
	for {
		switch w.decoder.PeekKind() {
		case '}', 0:
			_, err := w.decoder.ReadToken()
			return noEOF(err)
		}
		var name string
		err := w.str(func(text []byte) bool {
			name = string(text)
			return !known[name]
		})
		if err != nil {
			return noEOF(err)
		}
		if err := w.member(this, name); err != nil {
			return noEOF(err)
		}
	}
}

// noEOF tells a body that ends too early from the end of a body.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// member masks the value of a member of an object.
func (w *walk) member(this, name string) error {
	switch {
	case w.decoder.PeekKind() != '"':
		if this == root && (name == "data" || name == "user" || name == "message") {
			return w.value(name)
		}
		return w.value(elsewhere)
	case slices.Contains(kept[this], name):
		return w.str(func([]byte) bool { return false })
	case slices.Contains(times[this], name):
		return w.str(func(text []byte) bool { return !looksLikeTime(text) })
	default:
		return w.value(elsewhere)
	}
}

func looksLikeTime(text []byte) bool {
	return len(text) <= 40 && len(bytes.Trim(text, "0123456789.:+-TtZzEe")) == 0
}

// str reads a string and, if wanted says so of its text, masks it.
func (w *walk) str(wanted func(text []byte) bool) error {
	literal, err := w.decoder.ReadValue()
	if err != nil {
		return err
	}
	w.read = int(w.decoder.InputOffset())
	raw := literal[1 : len(literal)-1]
	text, _ := unescape(raw)
	if wanted(text) {
		w.mask(w.read-1-len(raw), raw)
	}
	return nil
}

// mask notes the matches in a part of the body, with whatever escapes it is written.
func (w *walk) mask(at int, raw []byte) {
	text, places := unescape(raw)
	for _, e := range w.rules.matches(text) {
		if places != nil {
			e.from, e.to = places[e.from], places[e.to]
		}
		e.from, e.to = e.from+at, e.to+at
		w.edits = append(w.edits, e)
	}
}

// unescape reads the escapes of a JSON string. places tells for each byte of the
// text, and for its end, where it is in raw; nil if they are the same.
func unescape(raw []byte) (text []byte, places []int) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw, nil
	}
	text, places = make([]byte, 0, len(raw)), make([]int, 0, len(raw)+1)
	for i := 0; i < len(raw); {
		n := len(text)
		size := 1
		if r, length := escaped(raw[i:]); length > 0 {
			text, size = utf8.AppendRune(text, r), length
		} else {
			text = append(text, raw[i])
		}
		for range len(text) - n {
			places = append(places, i)
		}
		i += size
	}
	return text, append(places, len(raw))
}

// escaped is the character of the escape that a text begins with, and its length; 0
// if it begins with none. A lone surrogate is U+FFFD.
func escaped(raw []byte) (r rune, length int) {
	if len(raw) < 2 || raw[0] != '\\' {
		return 0, 0
	}
	if i := bytes.IndexByte([]byte(`"\/bfnrt`), raw[1]); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), 2
	}
	unit, ok := codeUnit(raw)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(unit) {
		return unit, 6
	}
	if low, ok := codeUnit(raw[6:]); ok {
		if pair := utf16.DecodeRune(unit, low); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}

// codeUnit reads \uXXXX.
func codeUnit(raw []byte) (rune, bool) {
	var unit [2]byte
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	if _, err := hex.Decode(unit[:], raw[2:6]); err != nil {
		return 0, false
	}
	return rune(binary.BigEndian.Uint16(unit[:])), true
}
