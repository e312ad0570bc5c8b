package dashboard

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// sessionsData is what the list of sessions shows.
type sessionsData struct {
	Filter  sessionsFilter
	List    []session
	Agents  []string // of those that are listed, to choose from
	Pager   pager
	Default bool // nothing filters but the range and the agent
}

// sessionsFilter is what the list is asked for besides the state.
type sessionsFilter struct {
	Status, Tier, UserID, Room, SessionID, MinMessages, Sort string
}

// option is one of those to choose from.
type option struct{ Key, Name string }

// Sorts are those to choose from.
func (sessionsFilter) Sorts() []option {
	return []option{
		{"-started_at", "Newest"}, {"started_at", "Oldest"}, {"-last_activity_at", "Latest activity"}, {"-message_count", "Most messages"},
		{"-duration_s", "Longest"}, {"-engagement_score", "Highest engagement"}, {"quality_score", "Lowest quality"}, {"-quality_score", "Highest quality"},
	}
}

// Tiers are those to choose from.
func (sessionsFilter) Tiers() []option {
	var tiers []option
	for _, name := range tierMetrics {
		tiers = append(tiers, option{name, tierNames[name] + ": " + tierMeanings[name]})
	}
	return tiers
}

const defaultSort = "-started_at"

// sessionsFilterOf reads the filter of a URL. The API says what is wrong with it.
func sessionsFilterOf(query url.Values) sessionsFilter {
	f := sessionsFilter{
		Status: query.Get("status"), Tier: query.Get("engagement_tier"), UserID: query.Get("user_id"), Room: query.Get("room_name"),
		SessionID: query.Get("session_id"), MinMessages: strings.TrimSpace(query.Get("min_messages")), Sort: query.Get("sort"),
	}
	if f.Sort == "" {
		f.Sort = defaultSort
	}
	return f
}

// pairs are the names and values of what is set.
func (f sessionsFilter) pairs() []string {
	sort := f.Sort
	if sort == defaultSort {
		sort = ""
	}
	return []string{
		"status", f.Status, "engagement_tier", f.Tier, "user_id", f.UserID, "room_name", f.Room,
		"session_id", f.SessionID, "min_messages", f.MinMessages, "sort", sort,
	}
}

// More reports whether one of the filters that are seldom needed is set.
func (f sessionsFilter) More() bool {
	return f.UserID != "" || f.Room != "" || f.SessionID != "" || f.MinMessages != ""
}

func sessions(r *Request) (any, error) {
	data := &sessionsData{Filter: sessionsFilterOf(r.URL.Query())}
	data.Default = data.Filter == sessionsFilter{Sort: data.Filter.Sort}
	query := r.State.rangeQuery(append(data.Filter.pairs(), "limit", "50", "cursor", r.URL.Query().Get("cursor"))...)
	r.State.addAgent(query)
	var list listed[session]
	if err := r.Get("/sessions", query, &list); err != nil {
		return nil, err
	}
	data.List = list.Data
	for _, s := range list.Data {
		if s.AgentID != "" && !slices.Contains(data.Agents, s.AgentID) {
			data.Agents = append(data.Agents, s.AgentID)
		}
	}
	slices.Sort(data.Agents)
	data.Pager = r.pinned().pagerOf(sessionsPath, list.NextCursor, data.Filter.pairs()...)
	return data, nil
}

// pinned is the request with a range that stays where it is: a cursor is of one list,
// and now moves on.
func (r *Request) pinned() *Request {
	pinned := *r
	if r.State.Range != customRange {
		pinned.State.Until = r.State.to.UTC().Truncate(time.Second)
	}
	return &pinned
}
