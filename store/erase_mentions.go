package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"rapport/store/internal/dbsqlc"
)

// quarantinePage is how many bodies are looked at at once: each has a megabyte at most.
const quarantinePage = 20

// quarantineMentions are the entries of the quarantine that mention one of some ids.
// They are no events, so nothing else tells whose they are.
func quarantineMentions(ctx context.Context, q *dbsqlc.Queries, ids []string) ([]int64, error) {
	wanted := mentionsOf(ids)
	var found []int64
	for after := int64(0); ; {
		rows, err := q.QuarantineBodies(ctx, dbsqlc.QuarantineBodiesParams{After: after, MaxRows: quarantinePage})
		if err != nil || len(rows) == 0 {
			return found, err
		}
		for _, row := range rows {
			if wanted.in(row.Body) || wanted.in([]byte(row.Reason)) || wanted.in(row.Headers) {
				found = append(found, row.ID)
			}
			after = row.ID
		}
	}
}

// mentions are ids that are looked for, in all their spellings.
type mentions struct {
	words  map[string]bool // those that are one word
	others [][]byte
}

func mentionsOf(ids []string) mentions {
	m := mentions{words: make(map[string]bool)}
	for _, id := range ids {
		for _, spelling := range spellingsOf(id) {
			if bytes.ContainsFunc(spelling, func(r rune) bool { return r < 0x80 && !isWordByte(byte(r)) }) {
				m.others = append(m.others, spelling)
			} else {
				m.words[string(spelling)] = true
			}
		}
	}
	return m
}

// in reports whether a text has one of them as words of its own: an id that is the
// begin of another one is not that one. JSON may write any character as an escape.
func (m *mentions) in(text []byte) bool {
	return m.inPlain(text) || bytes.IndexByte(text, '\\') >= 0 && m.inPlain(unescape(text))
}

func (m *mentions) inPlain(text []byte) bool {
	for word := range wordsOf(text) {
		if m.words[string(word)] {
			return true
		}
	}
	for _, spelling := range m.others {
		if hasApart(text, spelling) {
			return true
		}
	}
	return false
}

// unescape undoes JSON's escapes, wherever they stand. Where a body is no JSON, so much
// the worse: it is looked at as it is, too.
func unescape(text []byte) []byte {
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		unit, size := escapedAt(text[i:])
		if low, more := escapedAt(text[i+size:]); utf16.IsSurrogate(unit) && more == 6 {
			if pair := utf16.DecodeRune(unit, low); pair != utf8.RuneError {
				unit, size = pair, size+more
			}
		}
		if size == 1 {
			plain = append(plain, text[i])
		} else {
			plain = utf8.AppendRune(plain, unit)
		}
		i += size
	}
	return plain
}

// escapedAt is the character of the escape that a text begins with, and its length; 1 if
// it begins with none.
func escapedAt(text []byte) (rune, int) {
	if len(text) < 2 || text[0] != '\\' {
		return 0, 1
	}
	if i := bytes.IndexByte([]byte(`"\/bfnrt`), text[1]); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), 2
	}
	if len(text) >= 6 && text[1] == 'u' {
		if unit, err := strconv.ParseUint(string(text[2:6]), 16, 16); err == nil {
			return rune(unit), 6
		}
	}
	return 0, 1
}

// wordsOf are the words of a text. Behind JSON's escapes such as \n, whose letter is
// none of a word, there is one with it and one without.
func wordsOf(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := 0; i < len(text); i++ {
			from := i
			for i < len(text) && isWordByte(text[i]) {
				i++
			}
			if from == i {
				continue
			}
			if !yield(text[from:i]) || beginsWithEscape(text, from) && !yield(text[from+1:i]) {
				return
			}
		}
	}
}

func beginsWithEscape(text []byte, at int) bool {
	return at > 0 && text[at-1] == '\\' && bytes.IndexByte([]byte("bfnrt"), text[at]) >= 0
}

// spellingsOf are the ways in which JSON can write an id: as it is, with the escapes
// that are needed, and with escapes for all that is not ASCII.
func spellingsOf(id string) [][]byte {
	spellings := [][]byte{[]byte(id)}
	add := func(s []byte) {
		for _, known := range spellings {
			if bytes.Equal(known, s) {
				return
			}
		}
		spellings = append(spellings, s)
	}
	for _, escapeHTML := range []bool{false, true} {
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(escapeHTML)
		if encoder.Encode(id) == nil {
			quoted := bytes.TrimSpace(b.Bytes())
			add(quoted[1 : len(quoted)-1])
			add(asASCII(quoted[1:len(quoted)-1], "\\u%04x"))
			add(asASCII(quoted[1:len(quoted)-1], "\\u%04X"))
			add(bytes.ReplaceAll(quoted[1:len(quoted)-1], []byte("/"), []byte(`\/`)))
		}
	}
	return spellings
}

func asASCII(text []byte, format string) []byte {
	var b []byte
	for _, r := range string(text) {
		if r < 0x80 {
			b = append(b, byte(r))
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			b = fmt.Appendf(b, format, unit)
		}
	}
	return b
}

// hasApart reports whether a text has an id that is more than a word, with no word
// that goes on from it on either side.
func hasApart(text, spelling []byte) bool {
	for from := 0; ; {
		i := bytes.Index(text[from:], spelling)
		if i < 0 {
			return false
		}
		i += from
		if !endsInWord(text[:i]) && !beginsWithWord(text[i+len(spelling):]) {
			return true
		}
		from = i + 1
	}
}

func isWordByte(c byte) bool {
	return c == '-' || c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c >= 0x80
}

func beginsWithWord(text []byte) bool { return len(text) > 0 && isWordByte(text[0]) }

// endsInWord passes over an escape.
func endsInWord(text []byte) bool {
	n := len(text)
	return n > 0 && isWordByte(text[n-1]) && !beginsWithEscape(text, n-1)
}
