package dashboard

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// State is what the pages have in common, and what their URLs carry from one to the
// next: which time, which agent, which clock.
type State struct {
	Range    string    // the key of one of the ranges, or custom
	FromDate string    // of custom: the first day, as 2006-01-02
	ToDate   string    // of custom: the last day
	Until    time.Time // where the range ends; zero: now
	Agent    string    // empty: all
	Problems []string  // what of the URL could not be understood, and was passed over

	place    *time.Location
	now      time.Time
	from, to time.Time
}

// rangeOf are the ranges to choose from; each ends now.
type rangeOf struct {
	Key, Name string
	length    time.Duration
}

const (
	day          = 24 * time.Hour
	defaultRange = "24h"
	customRange  = "custom"
)

var ranges = []rangeOf{
	{"1h", "Last hour", time.Hour},
	{defaultRange, "Last 24 hours", day},
	{"7d", "Last 7 days", 7 * day},
	{"30d", "Last 30 days", 30 * day},
	{"90d", "Last 90 days", 90 * day},
	{"12m", "Last 12 months", 365 * day},
}

const dateLayout = "2006-01-02"

// readState reads a URL's query. What can't be understood is passed over, and told.
func readState(query url.Values, now time.Time) State {
	s := State{Range: defaultRange, Agent: query.Get("agent"), place: time.UTC, now: now}
	if name := query.Get("tz"); name != "" {
		place, err := time.LoadLocation(name)
		if err != nil || name == "Local" || name[0] < 'A' || name[0] > 'Z' {
			s.complain("tz", name, "is no time zone such as Europe/Berlin; times are shown in UTC")
		} else {
			s.place = place
		}
	}
	if until := query.Get("until"); until != "" {
		at, err := time.Parse(time.RFC3339, until)
		if err != nil || at.Year() < 1970 || at.Year() > 9000 {
			s.complain("until", until, "is no time such as 2026-01-31T12:00:00Z; the range ends now")
		} else {
			s.Until = at
		}
	}
	s.readRange(query, now)
	return s
}

func (s *State) readRange(query url.Values, now time.Time) {
	chosen := query.Get("range")
	if chosen == customRange && s.readDates(query) {
		return
	}
	at := slices.IndexFunc(ranges, func(r rangeOf) bool { return r.Key == chosen })
	if at < 0 {
		if chosen != "" && chosen != customRange {
			s.complain("range", chosen, "is no range; the last 24 hours are shown")
		}
		at = slices.IndexFunc(ranges, func(r rangeOf) bool { return r.Key == defaultRange })
	}
	s.Range = ranges[at].Key
	s.to = s.Until
	if s.to.IsZero() {
		s.to = endOfQuarterHour(now)
	}
	s.from = s.to.Add(-ranges[at].length)
}

// endOfQuarterHour is where ranges end: the API keeps its totals by quarter hours.
func endOfQuarterHour(now time.Time) time.Time {
	const quarter = 15 * time.Minute
	return now.UTC().Truncate(quarter).Add(quarter)
}

// readDates reads the days of a custom range, the last one included.
func (s *State) readDates(query url.Values) bool {
	from, errFrom := time.ParseInLocation(dateLayout, query.Get("from"), s.place)
	to, errTo := time.ParseInLocation(dateLayout, query.Get("to"), s.place)
	switch {
	case errFrom != nil || errTo != nil || from.Year() < 1970 || to.Year() > 9000:
		s.complain("from and to", query.Get("from")+" "+query.Get("to"), "are no days such as 2026-01-31; the last 24 hours are shown")
		return false
	case to.Before(from):
		s.complain("from and to", query.Get("from")+" "+query.Get("to"), "are in the wrong order; the last 24 hours are shown")
		return false
	}
	s.Range, s.FromDate, s.ToDate, s.Until = customRange, query.Get("from"), query.Get("to"), time.Time{}
	s.from, s.to = from, to.AddDate(0, 0, 1)
	return true
}

func (s *State) complain(name, value, what string) {
	if len(value) > 60 {
		value = strings.ToValidUTF8(value[:60], "") + "…"
	}
	s.Problems = append(s.Problems, name+": “"+value+"” "+what+".")
}

// TZ is the name of the time zone.
func (s State) TZ() string { return s.place.String() }

// Ranges are those to choose from.
func (s State) Ranges() []rangeOf {
	return append(slices.Clone(ranges), rangeOf{Key: customRange, Name: "Custom days"})
}

// RangeName is the range in words.
func (s State) RangeName() string {
	if s.Range == customRange {
		if s.FromDate == s.ToDate {
			return s.Date(s.from)
		}
		return s.Date(s.from) + " to " + s.Date(s.to.AddDate(0, 0, -1))
	}
	name := ranges[slices.IndexFunc(ranges, func(r rangeOf) bool { return r.Key == s.Range })].Name
	if !s.Until.IsZero() {
		name += " before " + s.DateTime(s.Until)
	}
	return name
}

// Query is what the API is asked with: the range and the time zone, and the agent if
// there is one.
func (s State) Query(pairs ...string) url.Values {
	query := s.rangeQuery(pairs...)
	query.Set("tz", s.TZ())
	s.addAgent(query)
	return query
}

// rangeQuery is Query for what has neither a time zone nor an agent.
func (s State) rangeQuery(pairs ...string) url.Values {
	query := url.Values{"from": {s.from.UTC().Format(time.RFC3339)}, "to": {s.to.UTC().Format(time.RFC3339)}}
	set(query, pairs)
	return query
}

func (s State) addAgent(query url.Values) {
	if s.Agent != "" {
		query.Set("agent_id", s.Agent)
	}
}

// set sets those of some pairs of names and values that are not empty.
func set(query url.Values, pairs []string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if query.Del(pairs[i]); pairs[i+1] != "" {
			query.Set(pairs[i], pairs[i+1])
		}
	}
}

// Values are the state as the query of a URL has it: without what is so by default.
func (s State) Values() url.Values {
	query := url.Values{}
	if s.Range != defaultRange {
		query.Set("range", s.Range)
	}
	if s.Range == customRange {
		query.Set("from", s.FromDate)
		query.Set("to", s.ToDate)
	}
	if !s.Until.IsZero() {
		query.Set("until", s.Until.UTC().Format(time.RFC3339))
	}
	if s.Agent != "" {
		query.Set("agent", s.Agent)
	}
	if s.place != time.UTC {
		query.Set("tz", s.TZ())
	}
	return query
}

// Link is the URL of a page in this state. Pairs of names and values are added, and
// replace what the state has: an empty value takes it away.
func (s State) Link(path string, pairs ...string) string {
	query := s.Values()
	set(query, pairs)
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}
