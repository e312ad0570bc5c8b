package dashboard

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"time"
	"unicode/utf8"
)

const quarantinePath = "/ui/quarantine"

// quarantined is an entry, as GET /quarantine tells of it.
type quarantined struct {
	ID          int64             `json:"id"`
	Reason      string            `json:"reason"`
	SeenCount   int64             `json:"seen_count"`
	FirstSeenAt time.Time         `json:"first_seen_at"`
	LastSeenAt  time.Time         `json:"last_seen_at"`
	Size        int64             `json:"size"`
	Body        *string           `json:"body"`
	BodyBase64  []byte            `json:"body_base64"`
	Headers     map[string]string `json:"headers"`
}

// maxShownBody is how many bytes of a body the page shows.
const maxShownBody = 4 << 10

// Shown is the body, or its beginning: JSON laid out, and what is no text as
// hexadecimal digits.
func (q *quarantined) Shown() string {
	if q.Body == nil {
		return hex.Dump(q.BodyBase64[:min(len(q.BodyBase64), maxShownBody/4)])
	}
	var laidOut bytes.Buffer
	if len(*q.Body) <= maxShownBody && json.Indent(&laidOut, []byte(*q.Body), "", "  ") == nil {
		return laidOut.String()
	}
	return beginning(*q.Body, maxShownBody)
}

// IsCut tells that Shown is not all of the body.
func (q *quarantined) IsCut() bool {
	if q.Body == nil {
		return len(q.BodyBase64) > maxShownBody/4
	}
	return len(*q.Body) > maxShownBody
}

// beginning is a text up to so many bytes, in whole characters.
func beginning(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

type quarantineData struct {
	Entries []quarantined
	Limited bool // the key sees some agents: what is no event is of none
	Pages   pager
}

func quarantine(r *Request) (any, error) {
	var list listed[quarantined]
	query := url.Values{"limit": {"20"}} // bodies may be large
	set(query, r.cursorOf())
	if err := r.Get("/quarantine", query, &list); err != nil {
		return nil, err
	}
	return &quarantineData{list.Data, len(r.Who.Agents) > 0, r.pagerOf(quarantinePath, list.NextCursor)}, nil
}
