package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"rapport"
)

const cursorVersion = 1

// maxMicros is the end of the year 9999, in µs since 1970.
const maxMicros = 253402300799999999

// cursor is what next_cursor holds: a place in a list, and which list it is a
// place of. It is opaque to readers, but no secret, and nothing in it is trusted.
type cursor[P place] struct {
	Version int    `json:"v"`
	List    string `json:"l"` // listHash
	Now     int64  `json:"n"` // of the first page, µs since 1970; 0 where it doesn't matter
	Place   P      `json:"p"`
}

// place is behind which row of its list a page begins.
type place interface {
	isValid() bool // whether Postgres can be asked about it
}

// encode makes the text of a cursor.
func (c cursor[P]) encode() string {
	text, err := json.Marshal(c)
	if err != nil {
		return "" // numbers and valid texts always marshal
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// decodeCursor reads the cursor of a list. It takes only what encode makes, to
// the letter.
func decodeCursor[P place](text, list string) (cursor[P], error) {
	var c cursor[P]
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(plain, &c) != nil || c.encode() != text || !c.isValid() {
		return c, badParameter("cursor", "malformed: send a next_cursor as it came")
	}
	if c.List != list {
		return c, badParameter("cursor", "of another list: send it with the path, filters and sort that it came from")
	}
	return c, nil
}

func (c cursor[P]) isValid() bool {
	return c.Version == cursorVersion && isMicros(c.Now) && c.Place.isValid()
}

// listHash stands for a list: its kind, and everything that filters or orders it.
func listHash(list ...any) (string, error) {
	text, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:12]), nil
}

func isMicros(us int64) bool { return us >= 0 && us <= maxMicros }

func isClean(text string) bool { return rapport.CleanText(text) == text }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
