package webhook

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"strings"

	"rapport"
)

// fingerprintVersion is the first byte hashed. Stored logs recognise their
// duplicates by the fingerprint: another algorithm needs another version, and a
// way for the log to know both.
const fingerprintVersion = 1

// fingerprint hashes what makes a delivery itself. A room.join or chat.push is
// its content: who said what, the ids that its sender gave it, and the times as
// they were written. Of any other type only equal bytes are surely the same
// event. Headers add nothing, for no signature covers them.
//
// The texts of e must be as they came, before cleaning.
func (d *delivery) fingerprint(e *rapport.Event) rapport.Fingerprint {
	hashed := make([]byte, 1, 512)
	hashed[0] = fingerprintVersion
	if e.Type != rapport.RoomJoin && e.Type != rapport.ChatPush {
		return sha256.Sum256(appendField(appendField(hashed, e.Type), d.body))
	}
	unreadable := false
	for _, field := range [...]string{
		e.Type, e.AgentID, e.SessionID, e.Role, e.Text,
		asWritten(d.root["id"]), asWritten(d.message["id"]),
		asWritten(d.data["timestamp"]), asWritten(d.root["timestamp"]), asWritten(d.root["created"]),
	} {
		hashed = appendField(hashed, field)
		unreadable = unreadable || strings.Contains(field, "\uFFFD")
	}
	if unreadable {
		// U+FFFD stands for any bytes that could not be read: two different
		// texts may look alike here, but not in their bytes.
		hashed = appendField(hashed, d.body)
	}
	return sha256.Sum256(hashed)
}

// appendField adds a field after its length, so that no two lists of fields run
// together into the same bytes.
func appendField[T string | []byte](b []byte, field T) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(field))), field...)
}

// asWritten is a number or string with a letter that tells them apart, and
// empty for anything else.
func asWritten(v any) string {
	switch v := v.(type) {
	case json.Number:
		return "n" + v.String()
	case string:
		return "s" + v
	default:
		return ""
	}
}
