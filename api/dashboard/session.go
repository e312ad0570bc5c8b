package dashboard

import (
	"net/url"
	"slices"
	"strconv"
	"time"
)

// sessionData is what a session's page shows.
type sessionData struct {
	Session    session
	Others     []session // of the same session_id, the latest first; the one that is shown too
	Moved      bool      // none began when the URL says: a late event has changed that
	Engagement []component
	Quality    []component
	Transcript part[[]line]
	Next       string // the URL of what follows; empty: the transcript ends here
	First      string // the URL of its beginning; empty: it begins here
	Script     *liveScript
}

// component is a part of a score.
type component struct {
	Name, Is string
	Points   float64 // of Weight
	Weight   float64
}

// Share is how much of the weight it has, of 100.
func (c component) Share() string { return strconv.FormatFloat(100*c.Points/c.Weight, 'f', 1, 64) }

// line is one of the transcript: a message, or what happened between.
type line struct {
	message
	Kind  string // message, event or error
	Event string // of what is no message, in words
	Gap   string // how long nothing came before, if that is long
	Day   string // the date, where it is another than that of the line before
}

const transcriptPage = 200

func sessionPage(r *Request) (any, error) {
	id, query := pathValue(r, "session_id"), r.URL.Query()
	var list listed[session]
	asked := url.Values{}
	set(asked, []string{"agent_id", query.Get("agent_id")})
	if err := r.Get("/sessions/"+url.PathEscape(id), asked, &list); err != nil {
		return nil, err
	}
	data := &sessionData{Others: list.Data}
	slices.Reverse(data.Others)
	data.choose(query.Get("started_at"))
	r.Title = "Session " + id
	data.Engagement, data.Quality = engagementOf(data.Session), qualityOf(data.Session)
	var ready progress
	_ = r.Together(
		func() error { data.Transcript.set(data.transcript(r)); return nil },
		func() error { ready = progressOf(r); return nil },
	)
	data.follow(r, ready)
	return data, nil
}

// choose takes the session that began at a time; if there is none, the one that this
// time is in; if there is none either, the latest.
func (d *sessionData) choose(startedAt string) {
	d.Session = d.Others[0]
	at, err := time.Parse(time.RFC3339Nano, startedAt)
	if err != nil {
		return
	}
	for _, s := range d.Others {
		if s.StartedAt.Equal(at) {
			d.Session = s
			return
		}
	}
	d.Moved = true
	for _, s := range d.Others {
		if !at.Before(s.StartedAt) && !at.After(s.LastActivityAt) {
			d.Session = s
			return
		}
	}
}

// path is that of the session in the API, and what says which it is.
func (s session) path() (string, url.Values) {
	query := url.Values{"started_at": {s.StartedAt.UTC().Format(time.RFC3339Nano)}}
	set(query, []string{"agent_id", s.AgentID})
	return "/sessions/" + url.PathEscape(s.SessionID), query
}

// transcript is a page of messages, and what else happened meanwhile.
func (d *sessionData) transcript(r *Request) ([]line, error) {
	path, query := d.Session.path()
	set(query, []string{"limit", strconv.Itoa(transcriptPage), "cursor", r.URL.Query().Get("cursor")})
	var messages listed[message]
	if err := r.Get(path+"/messages", query, &messages); err != nil {
		return nil, err
	}
	if messages.NextCursor != nil {
		d.Next = r.State.Link(r.URL.EscapedPath(), "agent_id", d.Session.AgentID, "started_at", query.Get("started_at"), "cursor", *messages.NextCursor)
	}
	if query.Get("cursor") != "" {
		d.First = d.Session.Link(r.State)
	}
	var lines []line
	for _, m := range messages.Data {
		lines = append(lines, line{message: m, Kind: "message"})
	}
	if d.Next == "" && d.First == "" && d.Session.EventCount <= maxEvents {
		others, err := d.otherEvents(r)
		if err != nil {
			return nil, err
		}
		lines = append(lines, others...)
		slices.SortStableFunc(lines, func(a, b line) int { return a.OccurredAt.Compare(b.OccurredAt) })
	}
	spaced(lines, r.State)
	return lines, nil
}
