package dashboard

import (
	"time"
)

const agentsPath = "/ui/agents"

// agentsPage is what the list of agents shows.
type agentsPage struct {
	Rows  []agentRow
	Sort  string
	Sorts []option
	Pager pager
}

// listedAgent is a row of GET /agents.
type listedAgent struct {
	AgentID     string     `json:"agent_id"`
	FirstSeenAt *time.Time `json:"first_seen_at"`
	LastSeenAt  *time.Time `json:"last_seen_at"`
	Sessions    int64      `json:"sessions"`
	Messages    int64      `json:"messages"`
	Errors      int64      `json:"errors"`
	Bounce      *float64   `json:"bounce_rate"`
	Response    *float64   `json:"avg_response_s"`
	Engagement  *float64   `json:"avg_engagement"`
	Quality     *float64   `json:"avg_quality"`
}

var agentSorts = []option{
	{"-sessions", "Most sessions"}, {"-messages", "Most messages"}, {"-last_seen_at", "Seen last"}, {"-bounce_rate", "Highest bounce rate"},
	{"-avg_response_s", "Slowest response"}, {"avg_quality", "Lowest quality"}, {"-avg_quality", "Highest quality"},
	{"-avg_engagement", "Highest engagement"}, {"-errors", "Most errors"}, {"agent_id", "Name"},
}

func agents(r *Request) (any, error) {
	data := &agentsPage{Sort: r.URL.Query().Get("sort"), Sorts: agentSorts}
	if data.Sort == "" {
		data.Sort = agentSorts[0].Key
	}
	var list listed[listedAgent]
	query := r.State.rangeQuery("limit", "100", "sort", data.Sort, "cursor", r.URL.Query().Get("cursor"))
	if err := r.Get("/agents", query, &list); err != nil {
		return nil, err
	}
	compared := agentsData{}
	for _, a := range list.Data {
		compared.Rows = append(compared.Rows, agentRow{
			AgentID: a.AgentID, Sessions: a.Sessions, Messages: a.Messages, Errors: a.Errors, Bounce: a.Bounce, Response: a.Response,
			Engagement: a.Engagement, Quality: a.Quality, FirstSeenAt: a.FirstSeenAt, LastSeenAt: a.LastSeenAt,
		})
	}
	compared.bars()
	data.Rows = compared.Rows
	data.Pager = r.pinned().pagerOf(agentsPath, list.NextCursor, "sort", data.Sort)
	return data, nil
}
