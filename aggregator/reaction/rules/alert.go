package rules

import (
	"math"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"rapport"
)

// Alert is a rule on a metric: what is computed over a sliding range of time, and
// from when on it is too much or too little.
type Alert struct {
	Rule   string
	Metric rapport.Metric
	Filter Filter
	Window time.Duration // 5 minutes to 7 days: the sessions that started in it, up to the occasion's time
	Above  *float64      // it fires for what is greater, if it is set
	Below  *float64      // it fires for what is less, if it is set
	NoData string        // what to do without data: one of the constants
}

// Filter says which sessions a metric is of, as in GET /stats. Zero values filter
// nothing.
type Filter struct {
	AgentID        string
	EngagementTier string
	UserID         string
	RoomName       string
	MinMessages    int64
}

// What an alert makes of it that there is no data: sessions without which the metric
// is null. (A count is 0 then, which is data.)
const (
	NoDataOK    = "ok"    // nothing is wrong
	NoDataAlert = "alert" // something is wrong
	NoDataKeep  = "keep"  // it stays as it was
)

// AlertEvery is how often alerts are looked at, at whole ones of UTC.
const AlertEvery = time.Minute

const minAlertWindow = 5 * time.Minute

func (r *reader) alert(rule string, n *yaml.Node, fields map[string]*yaml.Node) *Alert {
	alert := &Alert{Rule: rule, NoData: NoDataKeep}
	if metric := fields["metric"]; metric != nil {
		alert.Metric, _ = rapport.MetricNamed(r.oneOf(metric, "metric", rapport.MetricNames()...))
	} else {
		r.wrong(n, "a rule on: metric must have metric: %s", strings.Join(rapport.MetricNames(), ", "))
	}
	if window := fields["window"]; window != nil {
		alert.Window = r.duration(window, "window", minAlertWindow, maxWindow)
	} else {
		r.wrong(n, "a rule on: metric must have window: the time that it is computed over")
	}
	if filter := fields["filter"]; filter != nil {
		alert.Filter = r.filter(filter)
	}
	if noData := fields["no_data"]; noData != nil {
		alert.NoData = r.oneOf(noData, "no_data", NoDataOK, NoDataAlert, NoDataKeep)
	}
	r.threshold(alert, n, fields["above"], fields["below"])
	return alert
}

func (r *reader) threshold(alert *Alert, n, above, below *yaml.Node) {
	if above != nil {
		alert.Above = new(r.number(above, "above"))
	}
	if below != nil {
		alert.Below = new(r.number(below, "below"))
	}
	switch {
	case above == nil && below == nil:
		r.wrong(n, "a rule on: metric must have above or below: the threshold")
	case above != nil && below != nil && *alert.Below > *alert.Above:
		r.wrong(below, "below is greater than above: the alert would never be over")
	}
}

func (r *reader) filter(n *yaml.Node) Filter {
	var filter Filter
	fields, ok := r.fields(n, "filter", "agent_id", "engagement_tier", "user_id", "room_name", "min_messages")
	if !ok {
		return filter
	}
	for name, to := range map[string]*string{"agent_id": &filter.AgentID, "user_id": &filter.UserID, "room_name": &filter.RoomName} {
		if field := fields[name]; field != nil {
			*to, _ = r.text(field, name)
		}
	}
	if tier := fields["engagement_tier"]; tier != nil {
		filter.EngagementTier = r.oneOf(tier, "engagement_tier", rapport.TierBounced, rapport.TierEngaged, rapport.TierContinued, rapport.TierDeep)
	}
	if messages := fields["min_messages"]; messages != nil {
		filter.MinMessages = r.integer(messages, "min_messages", 1, 1_000_000)
	}
	return filter
}

// Matches reports whether a session is one of those that the metric is of.
func (f *Filter) Matches(s *rapport.Session) bool {
	return (f.AgentID == "" || s.AgentID == f.AgentID) &&
		(f.EngagementTier == "" || s.EngagementTier() == f.EngagementTier) &&
		(f.UserID == "" || s.UserID == f.UserID) &&
		(f.RoomName == "" || s.RoomName == f.RoomName) &&
		s.MessageCount >= f.MinMessages
}

// Value is the metric of some sessions, as GET /stats shows it; nil without data.
func (a *Alert) Value(totals *rapport.Totals) *float64 {
	n, known := a.Metric.Value(totals)
	if !known {
		return nil
	}
	return new(float64(n) / math.Pow10(a.Metric.Decimals))
}

// AlertState is what is remembered of an alert.
type AlertState struct {
	Firing bool
	Since  time.Time // when Firing last changed; zero if it never has
	Value  *float64  // at the last look; nil without data
}

// judge is the state after a value at a time.
func (a *Alert) judge(was AlertState, value *float64, at time.Time) AlertState {
	is := AlertState{Firing: a.isBeyond(value, was.Firing), Since: was.Since, Value: value}
	if is.Firing != was.Firing {
		is.Since = at
	}
	return is
}

func (a *Alert) isBeyond(value *float64, wasFiring bool) bool {
	switch {
	case value != nil:
		return a.Above != nil && *value > *a.Above || a.Below != nil && *value < *a.Below
	case a.NoData == NoDataKeep:
		return wasFiring
	}
	return a.NoData == NoDataAlert
}
