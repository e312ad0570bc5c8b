package dashboard

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// overviewData is what the overview shows. Each part has a Failure of its own: one that
// takes the API too long hides no other.
type overviewData struct {
	Now    nowData
	Ready  progress
	Stats  part[periodData]
	Charts part[chartsData]
	Agents part[agentsData]

	base string // of the server, as the visitor has it
	at   time.Time
}

// part is a part of a page, or why it can't be shown.
type part[T any] struct {
	Data    T
	Failure *Failure
}

// set is how a part comes about.
func (p *part[T]) set(data T, err error) {
	p.Data = data
	if err != nil {
		p.Failure = failureOf(err)
	}
}

func overview(r *Request) (any, error) {
	data := &overviewData{base: r.base(), at: r.now}
	_ = r.Together(
		func() error { data.Ready = progressOf(r); return nil },
		func() error { data.Now.Open.set(openSessions(r)); return nil },
		func() error { data.Now.Feed.set(latestMessages(r)); return nil },
		func() error { data.Now.Minutes.set(lastHour(r)); return nil },
		func() error { data.Stats.set(period(r)); return nil },
		func() error { data.Charts.set(charts(r)); return nil },
		func() error { data.Agents.set(comparedAgents(r)); return nil },
	)
	if f := data.failure(); f != nil {
		return nil, f
	}
	data.Now.complete(r, data.Ready)
	return data, nil
}

// failure is why nothing can be shown, if so.
func (d *overviewData) failure() *Failure {
	failures := []*Failure{d.Stats.Failure, d.Charts.Failure, d.Agents.Failure, d.Now.Open.Failure, d.Now.Feed.Failure}
	if slices.Contains(failures, nil) {
		return nil
	}
	return failures[0]
}

// IsEmpty reports whether no session has ever come, as far as can be seen.
func (d *overviewData) IsEmpty() bool {
	return d.Stats.Failure == nil && d.Stats.Data.isEmpty() && len(d.Now.Open.Data.Sessions) == 0 && len(d.Now.Feed.Data) == 0 &&
		d.Now.Open.Failure == nil && d.Now.Feed.Failure == nil
}

// FirstWebhook is a command that sends one.
func (d *overviewData) FirstWebhook() string {
	return fmt.Sprintf(`curl %s/webhook -H 'Content-Type: application/json' -d '{
  "event_type": "chat.push", "agent_id": "my-agent", "timestamp": %d,
  "data": {"session_id": "hello-1", "role": "user", "message": "Hello!"}
}'`, d.base, d.at.Unix())
}

// progress is what GET /readyz tells of how far the numbers are.
type progress struct {
	Lag struct {
		Status     string   `json:"status"`
		LogHead    *int64   `json:"log_head"`
		LagSeconds *float64 `json:"lag_seconds"`
	} `json:"lag"`
}

// IsLate reports whether the numbers lack what has come a while ago.
func (p progress) IsLate() bool { return p.Lag.Status == "late" && p.Lag.LagSeconds != nil }

// progressOf is empty where it can't be told.
func progressOf(r *Request) progress {
	var p progress
	_ = r.Get("/readyz", nil, &p) // its 503 is told by what fails beside it
	return p
}

// metricValues are numbers of GET /stats and its kin by name, null where unknown.
type metricValues map[string]*float64

func (v metricValues) count(name string) int64 {
	if v[name] == nil {
		return 0
	}
	return int64(*v[name])
}

// periodData are the numbers of the range, and of the one before.
type periodData struct {
	Tiles []tile
	Tiers []tier
	Total int64 // sessions
	empty bool
}

func (p periodData) isEmpty() bool { return p.empty }

// tile is one number.
type tile struct {
	Label, Value, Before string
	Change               change
	Help                 string
}

// change is by how much a number has changed.
type change struct {
	Text string // such as +12.3 %; empty if it can't be told
	Way  string // up, down or same
	Mood string // good, bad or neither
}

// Arrow points where it went.
func (c change) Arrow() string {
	switch c.Way {
	case "up":
		return "▲"
	case "down":
		return "▼"
	}
	return "="
}

// shownMetrics are those of the tiles, in their order.
var shownMetrics = []struct {
	name, label, help string
	better            int // 1: more is better, -1: less is, 0: neither
	show              func(float64) string
}{
	{"sessions", "Sessions", "Sessions that began in this time", 1, compact},
	{"messages", "Messages", "Messages of these sessions, of users and agents", 1, compact},
	{"bounce_rate", "Bounce rate", "Sessions without a user message", -1, percent},
	{"avg_turns", "Turns per session", "Runs of user messages", 1, func(n float64) string { return decimal(n, 1) }},
	{"p50_duration_s", "Median duration", "From the first event to the last activity", 0, duration},
	{"p50_response_s", "Median response", "From a user’s message to the agent’s answer", -1, duration},
	{"avg_quality", "Quality", "0 to 100: answered, quickly, without repeats and friction", 1, points},
	{"errors", "Errors", "agent.error events of these sessions", -1, compact},
}

var tierMetrics = []string{"bounced", "engaged", "continued", "deep"}

// tier is a part of the bar of engagement tiers.
type tier struct {
	Name, Meaning string
	Count         int64
	Share         float64
	Before        *float64 // share of the time before
	X, Width      string   // in the bar, of 1000
}

var tierMeanings = map[string]string{
	"bounced": "no user message", "engaged": "1 turn", "continued": "2 or 3 turns", "deep": "4 turns or more",
}

// Label is the tier's name, to show.
func (t tier) Label() string { return tierNames[t.Name] }

func period(r *Request) (periodData, error) {
	names := slices.Clone(tierMetrics)
	for _, m := range shownMetrics {
		names = append(names, m.name)
	}
	var told struct {
		Data     metricValues `json:"data"`
		Previous metricValues `json:"previous"`
		Change   metricValues `json:"change_percent"`
	}
	err := r.Get("/stats", r.State.Query("compare", "previous", "metrics", strings.Join(names, ",")), &told)
	if err != nil {
		return periodData{}, err
	}
	p := periodData{Total: told.Data.count("sessions"), empty: told.Data.count("sessions")+told.Previous.count("sessions") == 0}
	for _, m := range shownMetrics {
		t := tile{Label: m.label, Help: m.help, Value: known(told.Data[m.name], m.show), Change: changeOf(told.Change[m.name], m.better)}
		if told.Previous[m.name] != nil {
			t.Before = m.show(*told.Previous[m.name])
		}
		p.Tiles = append(p.Tiles, t)
	}
	p.Tiers = tiersOf(told.Data, told.Previous)
	return p, nil
}

func changeOf(percent *float64, better int) change {
	if percent == nil {
		return change{}
	}
	c := change{Text: decimal(math.Abs(*percent), 1) + nbsp + "%", Way: "same"}
	if math.Abs(*percent) >= 1000 {
		c.Text = compact(math.Abs(*percent)) + nbsp + "%"
	}
	switch sign := better; {
	case *percent == 0:
		return c
	case *percent < 0:
		c.Way, c.Text, sign = "down", minus+c.Text, -sign
		c.Mood = moodOf(sign)
	default:
		c.Way, c.Text = "up", "+"+c.Text
		c.Mood = moodOf(sign)
	}
	return c
}

func moodOf(sign int) string {
	switch sign {
	case 1:
		return "good"
	case -1:
		return "bad"
	}
	return ""
}

func tiersOf(now, before metricValues) []tier {
	all, allBefore := now.count("sessions"), before.count("sessions")
	var tiers []tier
	var x int64
	for _, name := range tierMetrics {
		t := tier{Name: name, Meaning: tierMeanings[name], Count: now.count(name)}
		if all > 0 {
			t.Share = float64(t.Count) / float64(all)
			t.X, t.Width = thousandths(x, all), thousandths(t.Count, all)
			x += t.Count
		}
		if allBefore > 0 {
			t.Before = new(float64(before.count(name)) / float64(allBefore))
		}
		tiers = append(tiers, t)
	}
	return tiers
}

func thousandths(n, of int64) string {
	return strconv.FormatFloat(1000*float64(n)/float64(of), 'f', 1, 64)
}

// agentsData are the agents beside each other.
type agentsData struct {
	Rows  []agentRow
	Other int64 // sessions of agents that are not shown
	Most  int64 // sessions of the first
}

type agentRow struct {
	AgentID     string
	Sessions    int64
	Messages    int64
	Errors      int64
	Bounce      *float64
	Response    *float64
	Engagement  *float64
	Quality     *float64
	Bar         string // width of its bar, of 100
	FirstSeenAt *time.Time
	LastSeenAt  *time.Time
}

const shownAgents = 12

var agentMetrics = strings.Join([]string{"sessions", "messages", "errors", "bounce_rate", "avg_response_s", "avg_engagement", "avg_quality"}, ",")

// comparedAgents are those of the range, whichever agent is chosen.
func comparedAgents(r *Request) (agentsData, error) {
	query := r.State.rangeQuery("by", "agent", "limit", strconv.Itoa(shownAgents), "metrics", agentMetrics, "tz", r.State.TZ())
	var told struct {
		Data  []breakdownRow `json:"data"`
		Other *breakdownRow  `json:"other"`
	}
	if err := r.Get("/stats/breakdown", query, &told); err != nil {
		return agentsData{}, err
	}
	var data agentsData
	for _, row := range told.Data {
		data.Rows = append(data.Rows, agentRow{
			AgentID: row.Key, Sessions: row.Sessions, Messages: row.Messages, Errors: row.Errors,
			Bounce: row.Bounce, Response: row.Response, Engagement: row.Engagement, Quality: row.Quality,
		})
	}
	data.bars()
	if told.Other != nil {
		data.Other = told.Other.Sessions
	}
	return data, nil
}

func (d *agentsData) bars() {
	for _, row := range d.Rows {
		d.Most = max(d.Most, row.Sessions)
	}
	for i := range d.Rows {
		d.Rows[i].Bar = strconv.FormatFloat(100*float64(d.Rows[i].Sessions)/float64(max(1, d.Most)), 'f', 1, 64)
	}
}

// Names are the agents, to choose from.
func (d agentsData) Names() []string {
	var names []string
	for _, row := range d.Rows {
		if row.AgentID != "" {
			names = append(names, row.AgentID)
		}
	}
	return names
}

type breakdownRow struct {
	Key        string   `json:"key"`
	Sessions   int64    `json:"sessions"`
	Messages   int64    `json:"messages"`
	Errors     int64    `json:"errors"`
	Bounce     *float64 `json:"bounce_rate"`
	Response   *float64 `json:"avg_response_s"`
	Engagement *float64 `json:"avg_engagement"`
	Quality    *float64 `json:"avg_quality"`
}

// valuesOf are those of some pairs of names and values that are not empty.
func valuesOf(pairs ...string) url.Values {
	query := url.Values{}
	set(query, pairs)
	return query
}

// ofAgent are values, and the agent if there is one.
func (r *Request) ofAgent(pairs ...string) url.Values {
	query := valuesOf(pairs...)
	r.State.addAgent(query)
	return query
}
