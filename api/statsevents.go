package api

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"rapport"
	"rapport/api/access"
	"rapport/store"
)

// eventGrain is how fine events are counted.
const eventGrain = 15 * time.Minute

// eventsMetric is the one metric of events. It is computed from Events of the totals,
// as which a count of events is ranked.
var eventsMetric = metric{rapport.CountMetric("events", "Events.", func(t *rapport.Totals) int64 { return t.Events })}

func (s *server) breakdownOfEvents(ctx context.Context, in *breakdownInput) (*answer[breakdownBody], error) {
	if err := in.resolveForEvents(s.now()); err != nil {
		return nil, err
	}
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	filter := store.TotalsFilter{Agents: access.Of(ctx).Agents, AgentID: rapport.CleanText(in.AgentID)}
	counts, err := s.DB.EventCounts(ctx, filter, in.from(), in.to())
	if err != nil {
		return nil, err
	}
	name, descending := in.Sort.cut()
	r := &ranking{descending: descending, limit: in.Limit}
	if name == sortEvents {
		r.by = &eventsMetric
	}
	for _, g := range eventGroups(counts, in.By == byErrorCode) {
		r.add(g)
	}
	return &answer[breakdownBody]{Body: r.body([]metric{eventsMetric})}, nil
}

// resolveForEvents refuses what events have not, and cuts the range down to what they
// are counted by.
func (in *breakdownInput) resolveForEvents(now time.Time) error {
	const alone = "only agent_id filters by=event_type and by=error_code"
	switch {
	case in.EngagementTier != "":
		return badParameter("engagement_tier", alone)
	case in.UserID != "":
		return badParameter("user_id", alone)
	case in.RoomName != "":
		return badParameter("room_name", alone)
	case in.MinMessages > 0:
		return badParameter("min_messages", alone)
	case len(in.Metrics) > 0:
		return badParameter("metrics", "by=event_type and by=error_code have the metric events alone: leave it out")
	}
	in.Metrics = []metricName{metricName(eventsMetric.Name)}
	if in.Sort == "" {
		in.Sort = "-events"
	}
	if name, _ := in.Sort.cut(); name != sortKey && name != sortEvents {
		return badParameter("sort", "must be key, -key, events or -events where events are counted")
	}
	if err := in.RangeParams.resolve(now, eventGrain); err != nil {
		return err
	}
	in.fillPlace()
	in.From.at, in.To.at = in.from().Truncate(eventGrain), in.to().Truncate(eventGrain)
	if in.From.at.Equal(in.To.at) {
		return badParameter("from", "is in the same quarter hour of UTC as to, and events are counted by quarter hours")
	}
	return nil
}

// eventGroups sums counts up by event type; or by error code, of agent.error alone.
func eventGroups(counts []store.EventCount, byCode bool) []*group {
	groups := make(map[string]*group)
	kinds := make(map[string]map[errorKind]int64) // of the errors of each code
	for _, c := range counts {
		key := c.EventType
		if byCode {
			if c.EventType != rapport.AgentError {
				continue
			}
			key = c.ErrorCode
		}
		if groups[key] == nil {
			groups[key], kinds[key] = &group{Key: key}, make(map[errorKind]int64)
		}
		groups[key].totals.Events += c.Events
		kinds[key][errorKind{c.ErrorSeverity, c.ErrorCategory}] += c.Events
	}
	all := slices.Collect(maps.Values(groups))
	if byCode {
		for _, g := range all {
			kind := commonest(kinds[g.Key])
			g.ErrorSeverity, g.ErrorCategory = &kind.severity, &kind.category
		}
	}
	return all
}

// errorKind is what an error has besides its code.
type errorKind struct{ severity, category string }

// commonest is the kind that most errors have; of several, the first by name.
func commonest(counts map[errorKind]int64) errorKind {
	var kinds []errorKind
	for kind := range counts {
		kinds = append(kinds, kind)
	}
	return slices.MinFunc(kinds, func(a, b errorKind) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.severity, b.severity), cmp.Compare(a.category, b.category))
	})
}
