package dashboard

import (
	"strconv"
	"time"

	"rapport/api/access"
)

// nowData is what happens now.
type nowData struct {
	Open    part[openData]
	Feed    part[[]message]
	Minutes part[chart] // sessions that began in each minute of the last hour
	inMin   int         // messages of the last minute, as far as the feed tells
	Script  liveScript
}

// shownOpen is how many open sessions are listed; maxOpen is how many are counted.
const (
	shownOpen = 8
	maxOpen   = 1000
	shownFeed = 50
)

// openData are the sessions that are open, that with the latest activity first.
type openData struct {
	Sessions []session
	More     bool // there are more than can be counted
}

// Shown are those that are listed.
func (o openData) Shown() []session { return o.Sessions[:min(len(o.Sessions), shownOpen)] }

// Count is how many there are, as far as they are counted.
func (o openData) Count() string {
	if o.More {
		return whole(len(o.Sessions)) + "+"
	}
	return whole(len(o.Sessions))
}

func openSessions(r *Request) (openData, error) {
	var open listed[session]
	err := r.Get("/sessions", r.ofAgent("status", "open", "sort", "-last_activity_at", "limit", strconv.Itoa(maxOpen)), &open)
	return openData{open.Data, open.HasMore}, err
}

// message is one of the feed, or of a transcript.
type message struct {
	Position   int64      `json:"position"`
	AgentID    string     `json:"agent_id"`
	SessionID  string     `json:"session_id"`
	StartedAt  *time.Time `json:"started_at"`
	OccurredAt time.Time  `json:"occurred_at"`
	Role       string     `json:"role"`
	Beginning  string     `json:"beginning"` // of a feed's
	Text       string     `json:"text"`      // of a transcript's
	CharCount  int        `json:"char_count"`
	Language   string     `json:"language"`
}

// Link is the URL of the page of the message's session.
func (m message) Link(state State) string {
	return sessionLink(state, m.AgentID, m.SessionID, m.StartedAt)
}

// Place is where it was said.
func (m message) Place() string {
	if m.AgentID != "" {
		return m.AgentID
	}
	return m.SessionID
}

// RoleClass is how the style sheet calls who says it.
func (m message) RoleClass() string {
	if m.Role == "user" || m.Role == "agent" {
		return m.Role
	}
	return "other"
}

// RoleName is who says it.
func (m message) RoleName() string {
	if m.Role == "" {
		return "unknown"
	}
	return m.Role
}

// IsCut reports whether the beginning isn't all.
func (m message) IsCut() bool { return m.CharCount > maxBeginning }

// maxBeginning is how many characters the API tells of a message that it lists.
const maxBeginning = 300

func latestMessages(r *Request) ([]message, error) {
	var latest listed[message]
	err := r.Get("/messages", r.ofAgent("limit", strconv.Itoa(shownFeed)), &latest)
	return latest.Data, err
}

func lastHour(r *Request) (chart, error) {
	to := r.now.UTC().Truncate(time.Minute).Add(time.Minute)
	query := r.ofAgent("from", to.Add(-time.Hour).Format(time.RFC3339), "to", to.Format(time.RFC3339),
		"interval", "minute", "metrics", "sessions", "tz", r.State.TZ())
	var told timeseries
	if err := r.Get("/stats/timeseries", query, &told); err != nil {
		return chart{}, err
	}
	c := told.chart(r.State, "minutes", "Sessions begun per minute", chartBars, unitCount)
	c.add("Sessions", "accent", told.values("sessions"))
	return c.complete(), nil
}

// liveScript is what the script has to know to go on from the page.
type liveScript struct {
	URL  string            `json:"url"` // of the stream
	Now  int64             `json:"now"` // the server's clock, in ms since 1970
	TZ   string            `json:"tz"`
	Open [][4]any          `json:"open"` // agent_id, session_id, started_at and closes_at (ms since 1970) of the open sessions
	More bool              `json:"more"` // there are others: they are not counted
	Seen int64             `json:"seen"` // up to this position all messages are in the feed
	Link map[string]string `json:"link"` // what the URLs of sessions have besides

	Started int64 `json:"started,omitempty"` // of the session that alone is followed: when it began, in ms since 1970
	Closes  int64 `json:"closes,omitempty"`  // when it closes
}

// PerMinute is how many messages the last minute had: the feed may not reach back so far.
func (n nowData) PerMinute() string {
	if n.Feed.Failure != nil {
		return none
	}
	if n.inMin == shownFeed {
		return whole(n.inMin) + "+"
	}
	return whole(n.inMin)
}

// nearby is how many positions behind the head of the log the stream begins at most:
// farther back it would read much for little.
const nearby = 400

// complete fills in what the parts together tell.
func (n *nowData) complete(r *Request, ready progress) {
	for _, m := range n.Feed.Data {
		if m.OccurredAt.After(r.now.Add(-time.Minute)) {
			n.inMin++
		}
	}
	if !r.Who.May(access.Live) {
		return
	}
	n.Script = liveScript{Now: r.now.UnixMilli(), TZ: r.State.TZ(), More: n.Open.Data.More || n.Open.Failure != nil, Open: [][4]any{}, Link: map[string]string{}}
	if !n.Script.More {
		for _, s := range n.Open.Data.Sessions {
			n.Script.Open = append(n.Script.Open, [4]any{s.AgentID, s.SessionID, s.StartedAt.UnixMilli(), s.ClosesAt.UnixMilli()})
		}
	}
	for name, values := range r.State.Values() {
		n.Script.Link[name] = values[0]
	}
	n.Script.URL = "/live"
	if len(n.Feed.Data) > 0 {
		n.Script.Seen = n.Feed.Data[0].Position
	}
	query := r.ofAgent("last_event_id", beginAt(ready.Lag.LogHead, n.Script.Seen))
	if len(query) > 0 {
		n.Script.URL += "?" + query.Encode()
	}
}

// beginAt is the position that the stream begins behind: that of the newest message that
// is shown, for searching is behind the log; but not far from the head. Empty where that
// isn't known: now.
func beginAt(head *int64, seen int64) string {
	if head == nil {
		return ""
	}
	return strconv.FormatInt(min(*head, max(seen, *head-nearby, 0)), 10)
}
