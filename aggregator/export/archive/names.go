package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"rapport/store"
)

// The folders of the bucket.
const (
	eventsFolder   = "events/"
	stateFolder    = "state/"
	sessionsFolder = "avatar-events/"
)

// What of a folder is ours: nothing else is ever deleted.
var (
	blockName   = regexp.MustCompile(`^events/date=\d{4}-\d\d-\d\d/hour=\d\d/\d{12,}-\d{12,}-[0-9a-f]{16}\.parquet$`)
	tableName   = regexp.MustCompile(`^state/[a-z_]+-[0-9a-f]{32}\.copy\.zst$`)
	stateName   = regexp.MustCompile(`^state/(\d{12,})-([0-9a-f-]{36})\.json$`)
	sessionName = regexp.MustCompile(`^avatar-events/\d{4}-\d\d-\d\d/\d\d/[A-Za-z0-9%_~-]+-\d{8}T\d{6}\.\d{6}Z(~[0-9a-f]{16})?\.json$`)

	// What a killed process leaves behind in a directory: fileblob renames a file when it is
	// whole.
	leftover = regexp.MustCompile(`^(events|state|avatar-events)/.+\.(parquet|zst|json)\.[0-9a-f]{12,16}\.tmp$`)
)

// nameOfBlock is the name of a block: of its positions, and its content, so that a process
// that was frozen overwrites nothing else when it wakes up.
func nameOfBlock(b store.ArchiveBlock) string {
	return fmt.Sprintf("%sdate=%s/hour=%02d/%012d-%012d-%s.parquet", eventsFolder, b.Hour.UTC().Format(time.DateOnly), b.Hour.UTC().Hour(),
		b.First, b.Last, hex.EncodeToString(b.SHA256[:8]))
}

func nameOfTable(table string, sha []byte) string {
	return fmt.Sprintf("%s%s-%s.copy.zst", stateFolder, table, hex.EncodeToString(sha[:16]))
}

// manifestName is the name of a manifest: of which log, and its number.
type manifestName struct {
	number int64
	log    string
}

func (n manifestName) String() string {
	if n.number == 0 {
		return ""
	}
	return fmt.Sprintf("%s%012d-%s.json", stateFolder, n.number, n.log)
}

func parseManifestName(object string) (manifestName, bool) {
	match := stateName.FindStringSubmatch(object)
	if match == nil {
		return manifestName{}, false
	}
	number, err := strconv.ParseInt(match[1], 10, 64)
	return manifestName{number, match[2]}, err == nil && number > 0
}

// maxNameBytes is how much of an escaped session_id a name has: buckets take 1024 bytes
// in all, file systems 255 between two slashes.
const maxNameBytes = 120

// nameOfSession is the name of a session's object. Its agent is part of it only where
// another agent has a session of the same id and begin.
func nameOfSession(s store.ArchivedSession, isNamesake bool) string {
	at := s.StartedAt.UTC()
	agent := ""
	if isNamesake {
		sum := sha256.Sum256([]byte(s.AgentID))
		agent = "~" + hex.EncodeToString(sum[:8])
	}
	return fmt.Sprintf("%s%s/%02d/%s-%s%s.json", sessionsFolder, at.Format(time.DateOnly), at.Hour(), escaped(s.SessionID),
		at.Format("20060102T150405.000000Z"), agent)
}

// escaped is a text in the letters, digits and signs that every bucket takes: any other
// byte is percent-encoded. A long one ends in its hash.
func escaped(text string) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() <= maxNameBytes {
		return b.String()
	}
	sum := sha256.Sum256([]byte(text))
	return b.String()[:maxNameBytes] + "~" + hex.EncodeToString(sum[:16])
}
