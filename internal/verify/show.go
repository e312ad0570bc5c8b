package verify

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"rapport"
	"rapport/store"
)

// maxShown bounds how much of a text is repeated, in bytes.
const maxShown = 80

// show is a value in one line.
func show(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.000000Z07:00")
	case rapport.Fingerprint:
		return hex.EncodeToString(v[:])
	case []byte:
		return strconv.Quote(hex.EncodeToString(v))
	case string:
		return quote(v)
	default:
		return fmt.Sprint(v)
	}
}

func quote(text string) string {
	if len(text) <= maxShown {
		return strconv.Quote(text)
	}
	return fmt.Sprintf("%s… (%d bytes)", strconv.Quote(strings.ToValidUTF8(text[:maxShown], "")), len(text))
}

// plain is a text of our own as it is, unless it is not in one line.
func plain(text string) string {
	if text != "" && strconv.CanBackquote(text) {
		return text
	}
	return quote(text)
}

// name is an id in one line: quoted where it would be mistaken.
func name(id string) string {
	quoted := quote(id)
	if id == "" || quoted != `"`+id+`"` || strings.ContainsAny(id, " /:") {
		return quoted
	}
	return id
}

// session names a session.
func session(key store.SessionKey) string {
	return fmt.Sprintf("session %s/%s %s", name(key.AgentID), name(key.SessionID), show(key.StartedAt))
}
