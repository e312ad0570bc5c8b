package dashboard

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"
)

const alertsPath = "/ui/alerts"

// alert is one, as GET /alerts tells of it.
type alert struct {
	Rule        string         `json:"rule"`
	Description string         `json:"description"`
	Severity    string         `json:"severity"`
	Metric      string         `json:"metric"`
	Filter      map[string]any `json:"filter"`
	WindowS     float64        `json:"window_s"`
	Above       *float64       `json:"above"`
	Below       *float64       `json:"below"`
	NoData      string         `json:"no_data"` // ok, alert or keep
	State       string         `json:"state"`   // ok, firing or no_data
	Value       *float64       `json:"value"`
	Since       *time.Time     `json:"since"`        // null: it never changed
	EvaluatedAt *time.Time     `json:"evaluated_at"` // null: not yet
}

// The states of an alert.
const (
	alertFiring = "firing"
	alertNoData = "no_data"
)

// IsFiring tells the alerts that somebody should look at.
func (a *alert) IsFiring() bool { return a.State == alertFiring }

// Words are the state as people say it.
func (a *alert) Words() string {
	switch {
	case a.State == alertFiring:
		return "Firing"
	case a.State == alertNoData:
		return "No data"
	case a.EvaluatedAt == nil:
		return "Not looked at yet"
	}
	return "OK"
}

// Badge is the colour of the state.
func (a *alert) Badge() string {
	switch {
	case a.State == alertFiring:
		return "bad"
	case a.State == alertNoData, a.EvaluatedAt == nil:
		return "warn"
	}
	return "good"
}

// Condition is when it fires: avg_quality below 50 over 1 h.
func (a *alert) Condition() string {
	var bounds []string
	if a.Above != nil {
		bounds = append(bounds, "above "+valueOf(a.Metric, a.Above))
	}
	if a.Below != nil {
		bounds = append(bounds, "below "+valueOf(a.Metric, a.Below))
	}
	return strings.Join(bounds, " or ") + " over " + duration(a.WindowS)
}

// Sessions are which sessions it is of; empty: all.
func (a *alert) Sessions() []string {
	var filters []string
	for _, name := range slices.Sorted(maps.Keys(a.Filter)) {
		if value := a.Filter[name]; value != nil {
			filters = append(filters, fmt.Sprintf("%s: %v", name, value))
		}
	}
	return filters
}

// Shown is the value at the last look.
func (a *alert) Shown() string { return valueOf(a.Metric, a.Value) }

// valueOf shows a metric's value in its unit, which its name ends with.
func valueOf(metric string, value *float64) string {
	switch {
	case strings.HasSuffix(metric, "_s"):
		return known(value, duration)
	case strings.HasSuffix(metric, "_rate"):
		return known(value, percent)
	}
	return known(value, plain)
}

// plain shows a number with the decimals that it has, up to three.
func plain(n float64) string {
	if n == math.Trunc(n) && math.Abs(n) < 1e15 {
		return whole(int64(n))
	}
	return strings.TrimRight(decimal(n, 3), "0")
}

// alertChange is a row of GET /alerts/history.
type alertChange struct {
	Rule  string    `json:"rule"`
	State string    `json:"state"` // firing or resolved
	Value *float64  `json:"value"`
	At    time.Time `json:"at"`

	Shown string `json:"-"` // the value in its unit
}

// IsFiring tells that it began; else it is over.
func (c *alertChange) IsFiring() bool { return c.State == alertFiring }

type alertsData struct {
	Alerts []alert // those that fire first
	Firing int64
	Stale  int64  // how many nobody has looked at for staleAfter
	Rule   string // whose history it is; empty: that of all
	All    string // where that of all is
	Past   []alertChange
	Pages  pager
}

// staleAfter is how old a look is when nobody looks any more: a server with rules does
// every minute.
const staleAfter = 5 * time.Minute

func alerts(r *Request) (any, error) {
	data := &alertsData{Rule: r.URL.Query().Get("rule"), All: r.State.Link(alertsPath)}
	var now listed[alert]
	var past listed[alertChange]
	query := url.Values{"limit": {"30"}}
	set(query, append(r.cursorOf(), "rule", data.Rule))
	err := r.Together(
		func() error { return r.Get("/alerts", url.Values{"limit": {"1000"}}, &now) },
		func() error { return r.Get("/alerts/history", query, &past) },
	)
	if err != nil {
		return nil, err
	}
	data.Alerts, data.Past = now.Data, past.Data
	data.Pages = r.pagerOf(alertsPath, past.NextCursor, "rule", data.Rule)
	slices.SortStableFunc(data.Alerts, func(a, b alert) int { return rank(&a) - rank(&b) })
	metrics := map[string]string{}
	for i := range data.Alerts {
		metrics[data.Alerts[i].Rule] = data.Alerts[i].Metric
		if data.Alerts[i].IsFiring() {
			data.Firing++
		}
		if at := data.Alerts[i].EvaluatedAt; at != nil && r.now.Sub(*at) > staleAfter {
			data.Stale++
		}
	}
	for i := range data.Past {
		data.Past[i].Shown = valueOf(metrics[data.Past[i].Rule], data.Past[i].Value)
	}
	return data, nil
}

func rank(a *alert) int { return slices.Index([]string{alertFiring, alertNoData, "ok"}, a.State) }
