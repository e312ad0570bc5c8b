package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/api/access"
	"rapport/store"
)

const tagAgents = "agents"

func (s *server) registerAgents() {
	list(s, huma.Operation{
		OperationID: "list-agents", Path: "/agents", Tags: []string{tagAgents},
		Summary:     "List the agents",
		Description: "Every agent that ever had a session, with its numbers over the sessions that started in [from, to). Ties sort by agent_id; nulls come last in both directions.",
	}, s.listAgents)
	read(s, huma.Operation{
		OperationID: "get-agent", Path: "/agents/{agent_id}", Tags: []string{tagAgents},
		Summary:     "One agent's numbers",
		Description: statsMeaning + " 404 if the agent never had a session.",
	}, s.getAgent)
}

// agent is a row of the list. What is no name or time is a metric: see metrics.
type agent struct {
	AgentID         string     `json:"agent_id" doc:"The agent; empty for sessions without one."`
	FirstSeenAt     *timestamp `json:"first_seen_at" nullable:"true" doc:"started_at of its first session, of all times; null if none is left."`
	LastSeenAt      *timestamp `json:"last_seen_at" nullable:"true" doc:"last_activity_at of the session that began last, of all times; null if none is left."`
	Sessions        int64      `json:"sessions" doc:"Sessions."`
	EngagedSessions int64      `json:"engaged_sessions" doc:"Sessions with a user message."`
	Messages        int64      `json:"messages" doc:"Messages, of any role."`
	UserMessages    int64      `json:"user_messages" doc:"Messages of the user."`
	AgentMessages   int64      `json:"agent_messages" doc:"Messages of the agent."`
	Errors          int64      `json:"errors" doc:"agent.error events of the sessions."`
	BounceRate      figure     `json:"bounce_rate" doc:"Sessions without a user message, of all, 0 to 1."`
	AvgDurationS    figure     `json:"avg_duration_s" doc:"Mean duration_s of the sessions, in seconds."`
	AvgResponseS    figure     `json:"avg_response_s" doc:"Mean response time over the answered turns, in seconds."`
	AvgEngagement   figure     `json:"avg_engagement" doc:"Mean engagement_score of the sessions, 0 to 100."`
	AvgQuality      figure     `json:"avg_quality" doc:"Mean quality_score of the sessions that have one, 0 to 100."`
	AvgSentiment    figure     `json:"avg_sentiment" doc:"Mean sentiment of the sessions that have one, -1 to 1."`
	AvgRating       figure     `json:"avg_rating" doc:"Mean rating of the sessions that have one, as told."`
}

func agentOf(seen *store.SeenAgent, t *rapport.Totals) agent {
	of := func(name string) figure { return metricNamed(name).of(t) }
	a := agent{
		AgentID: seen.AgentID, Sessions: t.Sessions, EngagedSessions: t.Talked(), Messages: t.Messages,
		UserMessages: t.UserMessages, AgentMessages: t.AgentMessages, Errors: t.Errors,
		BounceRate: of("bounce_rate"), AvgDurationS: of("avg_duration_s"), AvgResponseS: of("avg_response_s"),
		AvgEngagement: of("avg_engagement"), AvgQuality: of("avg_quality"), AvgSentiment: of("avg_sentiment"), AvgRating: of("avg_rating"),
	}
	a.FirstSeenAt, a.LastSeenAt = seenAt(seen.FirstSeenAt), seenAt(seen.LastSeenAt)
	return a
}

func seenAt(t time.Time) *timestamp {
	if t.IsZero() {
		return nil
	}
	return new(timestamp(t))
}

type agentsInput struct {
	ReadParams
	PageParams
	RangeParams
	Sort string `query:"sort" default:"-sessions" enum:"agent_id,-agent_id,first_seen_at,-first_seen_at,last_seen_at,-last_seen_at,sessions,-sessions,engaged_sessions,-engaged_sessions,messages,-messages,errors,-errors,bounce_rate,-bounce_rate,avg_response_s,-avg_response_s,avg_engagement,-avg_engagement,avg_quality,-avg_quality,avg_sentiment,-avg_sentiment,avg_rating,-avg_rating" doc:"- is descending."`
}

// agentPlace is behind which agent a page begins.
type agentPlace struct {
	Value   *int64 `json:"v"` // of the sort column; null if that is, and for agent_id
	AgentID string `json:"a"`
}

func (p agentPlace) isValid() bool { return isClean(p.AgentID) }

// agentSort is what a list of agents is sorted by.
type agentSort struct {
	column     string
	descending bool
}

func (o agentSort) value(a *agent) figure {
	switch o.column {
	case "agent_id":
		return figure{}
	case "first_seen_at":
		return microsOf(a.FirstSeenAt)
	case "last_seen_at":
		return microsOf(a.LastSeenAt)
	case "sessions":
		return figure{n: a.Sessions, known: true}
	case "engaged_sessions":
		return figure{n: a.EngagedSessions, known: true}
	case "messages":
		return figure{n: a.Messages, known: true}
	case "errors":
		return figure{n: a.Errors, known: true}
	case "bounce_rate":
		return a.BounceRate
	case "avg_response_s":
		return a.AvgResponseS
	case "avg_engagement":
		return a.AvgEngagement
	case "avg_quality":
		return a.AvgQuality
	case "avg_sentiment":
		return a.AvgSentiment
	}
	return a.AvgRating
}

func microsOf(t *timestamp) figure {
	if t == nil {
		return figure{}
	}
	return figure{n: time.Time(*t).UnixMicro(), known: true}
}

func (o agentSort) placeOf(a *agent) agentPlace {
	p := agentPlace{AgentID: a.AgentID}
	if value := o.value(a); value.known {
		p.Value = &value.n
	}
	return p
}

func (o agentSort) compare(a, b agentPlace) int {
	if c := valueOf(a.Value).compare(valueOf(b.Value), o.descending); c != 0 {
		return c
	}
	c := cmp.Compare(a.AgentID, b.AgentID)
	if o.column == "agent_id" && o.descending {
		return -c
	}
	return c
}

func valueOf(n *int64) figure {
	if n == nil {
		return figure{}
	}
	return figure{n: *n, known: true}
}

func (s *server) listAgents(ctx context.Context, in *agentsInput) (*answer[page[agent]], error) {
	hash, err := listHash("agents", in.From.bound(), in.To.bound(), in.Sort)
	if err != nil {
		return nil, err
	}
	now := s.now()
	var from cursor[agentPlace]
	if in.Cursor != "" {
		if from, err = decodeCursor[agentPlace](in.Cursor, hash); err != nil {
			return nil, err
		}
		now = fromMicros(from.Now)
	}
	if err := in.resolve(now, rangeStep); err != nil {
		return nil, err
	}
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	agents, err := s.agents(ctx, in.from(), in.to())
	if err != nil {
		return nil, err
	}
	column, descending := strings.CutPrefix(in.Sort, "-")
	order := agentSort{column, descending}
	slices.SortFunc(agents, func(a, b agent) int { return order.compare(order.placeOf(&a), order.placeOf(&b)) })
	if in.Cursor != "" {
		agents = slices.DeleteFunc(agents, func(a agent) bool { return order.compare(order.placeOf(&a), from.Place) <= 0 })
	}
	next := ""
	if len(agents) > in.Limit {
		agents = agents[:in.Limit]
		next = cursor[agentPlace]{cursorVersion, hash, now.UnixMicro(), order.placeOf(&agents[in.Limit-1])}.encode()
	}
	return newPage(agents, func(a *agent) agent { return *a }, next), nil
}

// agents are all that the reader may see, with their numbers over a range.
func (s *server) agents(ctx context.Context, from, to time.Time) ([]agent, error) {
	mine := access.Of(ctx).Agents
	seen, err := s.DB.SeenAgents(ctx, mine)
	if err != nil {
		return nil, err
	}
	totals, err := s.DB.SessionTotalsByAgent(ctx, store.TotalsFilter{Agents: mine}, from, to)
	if err != nil {
		return nil, err
	}
	agents := make([]agent, len(seen))
	for i := range seen {
		of := totals[seen[i].AgentID]
		if of == nil {
			of = new(rapport.Totals)
		}
		agents[i] = agentOf(&seen[i], of)
	}
	return agents, nil
}

type agentInput struct {
	ReadParams
	RangeParams
	AgentID string       `path:"agent_id" doc:"Percent-encoded."`
	Metrics []metricName `query:"metrics" nullable:"false" doc:"Which metrics, separated by commas; all if it is not given." example:"sessions,avg_engagement"`
}

// seenAgent is whose numbers they are.
type seenAgent struct {
	AgentID     string     `json:"agent_id" doc:"The agent."`
	FirstSeenAt *timestamp `json:"first_seen_at" nullable:"true" doc:"started_at of its first session, of all times; null if none is left."`
	LastSeenAt  *timestamp `json:"last_seen_at" nullable:"true" doc:"last_activity_at of the session that began last, of all times; null if none is left."`
}

type agentBody struct {
	Data statRow[seenAgent] `json:"data" doc:"The agent and its metrics."`
	Echo
}

func (s *server) getAgent(ctx context.Context, in *agentInput) (*answer[agentBody], error) {
	if err := in.resolve(s.now(), rangeStep); err != nil {
		return nil, err
	}
	of := metricsNamed(in.Metrics)
	in.Metrics = namesOf(of)
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	filter := store.TotalsFilter{Agents: access.Of(ctx).Agents, AgentID: rapport.CleanText(in.AgentID), Percentiles: havePercentile(of)}
	seen, err := s.seenAgent(ctx, filter)
	if err != nil {
		return nil, err
	}
	totals, err := s.DB.SessionTotals(ctx, filter, []time.Time{in.from(), in.to()})
	if err != nil {
		return nil, err
	}
	numbers := statNumbers{of, valuesOf(of, &totals[0])}
	return &answer[agentBody]{Body: agentBody{Data: statRow[seenAgent]{seen, numbers}}}, nil
}

// seenAgent is a 404 for an agent that the reader can't know of.
func (s *server) seenAgent(ctx context.Context, filter store.TotalsFilter) (seenAgent, error) {
	unknown := newProblem(http.StatusNotFound, "there are no sessions of such an agent")
	if len(filter.Agents) > 0 && !slices.Contains(filter.Agents, filter.AgentID) {
		return seenAgent{}, unknown
	}
	seen, err := s.DB.SeenAgents(ctx, []string{filter.AgentID})
	if err != nil {
		return seenAgent{}, err
	}
	if len(seen) == 0 {
		return seenAgent{}, unknown
	}
	return seenAgent{seen[0].AgentID, seenAt(seen[0].FirstSeenAt), seenAt(seen[0].LastSeenAt)}, nil
}
