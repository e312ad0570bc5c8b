package dashboard

import (
	"strings"
	"time"
)

// The kinds of charts, and their units, as the script knows them.
const (
	chartBars  = "bars"
	chartStack = "stack"
	chartLines = "lines"

	unitCount   = "count"
	unitSeconds = "seconds"
)

// chart is what the script draws, and says what can be seen to those who don't see it.
type chart struct {
	ID      string   `json:"-"`
	Title   string   `json:"-"`
	Summary string   `json:"-"`
	Kind    string   `json:"kind"`
	Unit    string   `json:"unit"`
	TZ      string   `json:"tz"`
	Until   int64    `json:"until"` // where the last interval ends, in s since 1970
	Starts  []int64  `json:"starts"`
	Series  []series `json:"series"`

	state State
	times []time.Time
}

type series struct {
	Label  string     `json:"label"`
	Color  string     `json:"color"` // of the style sheet
	Values []*float64 `json:"values"`
}

// IsEmpty reports whether there is nothing to draw.
func (c chart) IsEmpty() bool {
	for _, s := range c.Series {
		for _, v := range s.Values {
			if v != nil && *v != 0 {
				return false
			}
		}
	}
	return true
}

func (c *chart) add(label, color string, values []*float64) {
	c.Series = append(c.Series, series{label, color, values})
}

// complete sums up what can be seen.
func (c *chart) complete() chart {
	var parts []string
	for _, s := range c.Series {
		at := -1
		for i, v := range s.Values {
			if v != nil && (at < 0 || *v > *s.Values[at]) {
				at = i
			}
		}
		if at >= 0 && *s.Values[at] != 0 {
			parts = append(parts, s.Label+": at most "+c.show(*s.Values[at])+", "+c.state.DateTime(c.times[at]))
		}
	}
	c.Summary = c.Title + ". " + strings.Join(parts, ". ") + "."
	if len(parts) == 0 {
		c.Summary = c.Title + ": nothing in this time."
	}
	return *c
}

func (c *chart) show(n float64) string {
	if c.Unit == unitSeconds {
		return duration(n)
	}
	return compact(n)
}

// timeseries is what GET /stats/timeseries tells.
type timeseries struct {
	Data []struct {
		Start   time.Time `json:"start"`
		To      time.Time `json:"to"`
		Partial bool      `json:"partial"`
		intervalValues
	} `json:"data"`
	Query struct {
		Interval string `json:"interval"`
	} `json:"query"`
}

// intervalValues are the metrics that are drawn.
type intervalValues struct {
	Sessions      *float64 `json:"sessions"`
	Bounced       *float64 `json:"bounced"`
	Engaged       *float64 `json:"engaged"`
	Continued     *float64 `json:"continued"`
	Deep          *float64 `json:"deep"`
	UserMessages  *float64 `json:"user_messages"`
	AgentMessages *float64 `json:"agent_messages"`
	P50Response   *float64 `json:"p50_response_s"`
	P95Response   *float64 `json:"p95_response_s"`
}

func (v *intervalValues) of(metric string) *float64 {
	return map[string]*float64{
		"sessions": v.Sessions, "bounced": v.Bounced, "engaged": v.Engaged, "continued": v.Continued, "deep": v.Deep,
		"user_messages": v.UserMessages, "agent_messages": v.AgentMessages,
		"p50_response_s": v.P50Response, "p95_response_s": v.P95Response,
	}[metric]
}

func (t *timeseries) values(metric string) []*float64 {
	values := make([]*float64, len(t.Data))
	for i := range t.Data {
		values[i] = t.Data[i].of(metric)
	}
	return values
}

func (t *timeseries) chart(state State, id, title, kind, unit string) chart {
	c := chart{ID: id, Title: title, Kind: kind, Unit: unit, TZ: state.TZ(), state: state}
	for _, row := range t.Data {
		c.Starts = append(c.Starts, row.Start.Unix())
		c.times = append(c.times, row.Start)
		c.Until = row.To.Unix()
	}
	if n := len(c.Starts); n > 1 { // the last interval may not be over: it is as wide as the others all the same
		c.Until = max(c.Until, 2*c.Starts[n-1]-c.Starts[n-2])
	}
	return c
}

// chartsData are the charts of the range, and the table of their numbers.
type chartsData struct {
	Charts   []chart
	Interval string // in words
	Rows     []chartRow
}

type chartRow struct {
	Start   time.Time
	Partial bool
	Cells   []string
}

// intervalNames are what the API calls its intervals, in words.
var intervalNames = map[string]string{
	"minute": "minute", "five_minutes": "5 minutes", "quarter_hour": "quarter hour", "hour": "hour", "day": "day", "week": "week", "month": "month",
}

var drawnMetrics = []string{"bounced", "engaged", "continued", "deep", "user_messages", "agent_messages", "p50_response_s", "p95_response_s"}

func charts(r *Request) (chartsData, error) {
	var told timeseries
	query := r.State.Query("metrics", strings.Join(drawnMetrics, ","), "interval", r.State.interval())
	if err := r.Get("/stats/timeseries", query, &told); err != nil {
		return chartsData{}, err
	}
	data := chartsData{Interval: intervalNames[told.Query.Interval]}
	sessions := told.chart(r.State, "sessions", "Sessions", chartStack, unitCount)
	for i, name := range tierMetrics {
		sessions.add(tierNames[name], tierColors[i], told.values(name))
	}
	messages := told.chart(r.State, "messages", "Messages", chartStack, unitCount)
	messages.add("Agent", "second", told.values("agent_messages"))
	messages.add("User", "accent", told.values("user_messages"))
	responses := told.chart(r.State, "responses", "Response times", chartLines, unitSeconds)
	responses.add("Median", "accent", told.values("p50_response_s"))
	responses.add("95th percentile", "third", told.values("p95_response_s"))
	data.Charts = []chart{sessions.complete(), messages.complete(), responses.complete()}
	data.Rows = told.rows(data.Charts)
	return data, nil
}

var tierNames = map[string]string{"bounced": "Bounced", "engaged": "Engaged", "continued": "Continued", "deep": "Deep"}

var tierColors = []string{"tier0", "tier1", "tier2", "tier3"}

// rows are the numbers of all charts, the latest first.
func (t *timeseries) rows(charts []chart) []chartRow {
	rows := make([]chartRow, len(t.Data))
	for i := range t.Data {
		row := chartRow{Start: t.Data[i].Start, Partial: t.Data[i].Partial}
		for _, c := range charts {
			for _, s := range c.Series {
				row.Cells = append(row.Cells, known(s.Values[i], c.show))
			}
		}
		rows[len(rows)-1-i] = row
	}
	return rows
}

// Columns are the names of the table's columns.
func (d chartsData) Columns() []string {
	var names []string
	for _, c := range d.Charts {
		for _, s := range c.Series {
			names = append(names, c.Title+": "+strings.ToLower(s.Label[:1])+s.Label[1:])
		}
	}
	return names
}

// interval is how fine the charts of the range are.
func (s State) interval() string {
	switch length := s.to.Sub(s.from); {
	case length <= time.Hour:
		return "minute"
	case length <= 6*time.Hour:
		return "quarter_hour"
	case length <= 3*day:
		return "hour"
	}
	return "auto"
}
