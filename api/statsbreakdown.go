package api

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/store"
)

func (s *server) registerBreakdown() {
	table[statRow[group]](s, huma.Operation{
		OperationID: "get-breakdown", Path: "/stats/breakdown", Tags: []string{tagStatistics},
		Summary: "Metrics by agent, tier, hour, weekday, room, event type or error code",
		Description: statsMeaning + " Groups behind limit are one row, other, whose averages are those over all its sessions. tier and room know nothing of sessions that are gone for their age. Ties sort by key; nulls come last in both directions. " +
			"event_type and error_code count events by their own time, sessions or not: the one metric is events, from and to are cut down to quarter hours of UTC (to is the end of the present one, if it is not given), of the filters there is agent_id, and what is longer than 100 characters is cut.",
	}, s.breakdown)
}

// What a breakdown can be by.
const (
	byAgent     = "agent"
	byTier      = "tier"
	byHour      = "hour_of_day"
	byWeekday   = "weekday"
	byRoom      = "room"
	byEventType = "event_type"
	byErrorCode = "error_code"
)

type breakdownInput struct {
	StatsParams
	TableParams
	By      string       `query:"by" default:"agent" enum:"agent,tier,hour_of_day,weekday,room,event_type,error_code" doc:"What a row is of. hour_of_day and weekday are when the session started, by the clock of tz." example:"hour_of_day"`
	Metrics []metricName `query:"metrics" nullable:"false" doc:"Which metrics, separated by commas; all if it is not given. Not for event_type and error_code." example:"sessions,avg_engagement"`
	Sort    sortName     `query:"sort" doc:"A metric, or key; - is descending. By default key for tier, hour_of_day and weekday, -events for event_type and error_code, else -sessions."`
	Limit   int          `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"How many groups to answer at most; the rest is other."`
}

// sortName is key or the name of a metric, or one of them with a - in front.
type sortName string

const (
	sortKey    sortName = "key"
	sortEvents sortName = "events"
)

// Schema describes it to huma.
func (sortName) Schema(huma.Registry) *huma.Schema {
	names := []any{"key", "-key", "events", "-events"}
	for _, m := range metrics {
		names = append(names, m.Name, "-"+m.Name)
	}
	return &huma.Schema{Type: huma.TypeString, Enum: names, Examples: []any{"-sessions"}}
}

// cut is a sort without its direction.
func (n sortName) cut() (name sortName, descending bool) {
	text, descending := strings.CutPrefix(string(n), "-")
	return sortName(text), descending
}

// What a row of a breakdown is of.
const (
	kindGroup = "group"
	kindOther = "other"
	kindTotal = "total"
)

// group is what a row of a breakdown is of.
type group struct {
	Kind          string  `json:"kind" enum:"group,other,total" doc:"group is one of the groups, other all that limit leaves out, total all of them. As CSV and NDJSON, other and total are the last rows."`
	Key           string  `json:"key" doc:"The agent_id, the engagement_tier, the hour 0 to 23, the weekday in English, the room_name, the event_type or the error_code; empty for sessions or events without one, and for other and total."`
	ErrorSeverity *string `json:"error_severity,omitempty" doc:"Severity of most of the errors of this code; by error_code alone."`
	ErrorCategory *string `json:"error_category,omitempty" doc:"Category of most of them; by error_code alone."`

	order  int // of keys that have an order of their own
	totals rapport.Totals
}

type breakdownBody struct {
	Data  []statRow[group] `json:"data" nullable:"false" doc:"A row for each group."`
	Other *statRow[group]  `json:"other" nullable:"true" doc:"The groups that limit leaves out, together; null if there are none."`
	Total statRow[group]   `json:"total" doc:"All groups together."`
	Echo
	metrics []metric
}

func (b *breakdownBody) appendBody(into []byte) ([]byte, error) {
	return appendSpliced(into, &b.Data, b)
}

func (b breakdownBody) table() *statTable {
	rows := slices.Clone(b.Data)
	if b.Other != nil {
		rows = append(rows, *b.Other)
	}
	return tableOf(b.metrics, append(rows, b.Total))
}

func (s *server) breakdown(ctx context.Context, in *breakdownInput) (*answer[breakdownBody], error) {
	if in.By == byEventType || in.By == byErrorCode {
		return s.breakdownOfEvents(ctx, in)
	}
	filter, err := in.resolve(ctx, s.now())
	if err != nil {
		return nil, err
	}
	ranking, err := in.ranking()
	if err != nil {
		return nil, err
	}
	of := metricsNamed(in.Metrics)
	in.Metrics = namesOf(of)
	filter.Percentiles = havePercentile(of) || ranking.by != nil && ranking.by.Percentile
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	if err := s.eachGroup(ctx, filter, in, ranking.add); err != nil {
		return nil, err
	}
	return &answer[breakdownBody]{Body: ranking.body(of)}, nil
}

// ranking are the first groups of a breakdown and the sum of all: however many
// groups there are, it holds limit of them.
type ranking struct {
	by         *metric // nil: the keys
	descending bool
	limit      int
	first      []*group
	total      rapport.Totals
	pending    []*rapport.Totals // that the total lacks
	groups     int
}

// maxPending is how many totals are added at once.
const maxPending = 64

// ranking resolves the sort.
func (in *breakdownInput) ranking() (*ranking, error) {
	if in.Sort == "" {
		in.Sort = "-sessions"
		if in.By == byTier || in.By == byHour || in.By == byWeekday {
			in.Sort = sortKey
		}
	}
	name, descending := in.Sort.cut()
	r := &ranking{descending: descending, limit: in.Limit}
	switch name {
	case sortKey:
	case sortEvents:
		return nil, badParameter("sort", "events is for by=event_type and by=error_code")
	default:
		r.by = new(metricNamed(string(name)))
	}
	return r, nil
}

func (r *ranking) add(g *group) {
	if r.pending = append(r.pending, &g.totals); len(r.pending) == maxPending {
		r.addPending()
	}
	r.groups++
	at, _ := slices.BinarySearchFunc(r.first, g, r.compare)
	if at == r.limit {
		return
	}
	if len(r.first) == r.limit {
		r.first = r.first[:r.limit-1]
	}
	r.first = slices.Insert(r.first, at, g)
}

func (r *ranking) addPending() {
	r.total.AddAll(r.pending)
	r.pending = r.pending[:0]
}

func (r *ranking) compare(a, b *group) int {
	if r.by != nil {
		if c := r.by.of(&a.totals).compare(r.by.of(&b.totals), r.descending); c != 0 {
			return c
		}
		return a.compareKey(b)
	}
	if r.descending {
		return b.compareKey(a)
	}
	return a.compareKey(b)
}

func (g *group) compareKey(other *group) int {
	if g.order != other.order {
		return g.order - other.order
	}
	return strings.Compare(g.Key, other.Key)
}

func (r *ranking) body(of []metric) breakdownBody {
	body := breakdownBody{Data: make([]statRow[group], len(r.first)), metrics: of}
	r.addPending()
	rest, hasOther := r.total, r.groups > len(r.first)
	for i, g := range r.first {
		if hasOther {
			rest.Sub(g.totals)
		}
		g.Kind = kindGroup
		body.Data[i] = statRow[group]{*g, statNumbers{of, valuesOf(of, &g.totals)}}
	}
	if hasOther {
		body.Other = &statRow[group]{group{Kind: kindOther}, statNumbers{of, valuesOf(of, &rest)}}
	}
	body.Total = statRow[group]{group{Kind: kindTotal}, statNumbers{of, valuesOf(of, &r.total)}}
	return body
}

// eachGroup tells the totals of each group, in no particular order.
func (s *server) eachGroup(ctx context.Context, filter store.SessionFilter, in *breakdownInput, tell func(*group)) error {
	switch in.By {
	case byAgent:
		if !filter.IsOfAgents() {
			return s.groupsOf(ctx, filter, in, store.ByAgent, tell)
		}
		of, err := s.DB.SessionTotalsByAgent(ctx, filter.TotalsFilter, in.from(), in.to())
		for agent, totals := range of {
			tell(&group{Key: agent, totals: *totals})
		}
		return err
	case byTier:
		return s.tiers(ctx, filter, in, tell)
	case byHour:
		return s.groupsOfCycle(ctx, filter, in, hoursOfDay, tell)
	case byWeekday:
		return s.groupsOfCycle(ctx, filter, in, weekdays, tell)
	}
	return s.groupsOf(ctx, filter, in, store.ByRoom, tell)
}

func (s *server) groupsOf(ctx context.Context, filter store.SessionFilter, in *breakdownInput, by store.SessionColumn, tell func(*group)) error {
	return s.DB.GroupedTotals(ctx, filter, by, in.from(), in.to(), func(key string, totals rapport.Totals) {
		tell(&group{Key: key, totals: totals})
	})
}

// tiers tells of each tier, the empty ones too.
func (s *server) tiers(ctx context.Context, filter store.SessionFilter, in *breakdownInput, tell func(*group)) error {
	tiers := []string{rapport.TierBounced, rapport.TierEngaged, rapport.TierContinued, rapport.TierDeep}
	of := make([]rapport.Totals, len(tiers))
	err := s.DB.GroupedTotals(ctx, filter, store.ByTier, in.from(), in.to(), func(tier string, totals rapport.Totals) {
		of[slices.Index(tiers, tier)] = totals
	})
	if err != nil {
		return err
	}
	for i, tier := range tiers {
		tell(&group{Key: tier, order: i, totals: of[i]})
	}
	return nil
}

// cycle is what comes again and again by the local clock.
type cycle struct {
	interval string
	length   int
	index    func(start time.Time) int
	name     func(index int) string
}

var hoursOfDay = cycle{"hour", 24, time.Time.Hour, strconv.Itoa}

var weekdays = cycle{"day", 7, weekdayIndex, func(index int) string {
	return strings.ToLower(time.Weekday((index + 1) % 7).String())
}}

// groupsOfCycle tells of each part of a cycle, the empty ones too: the sums of all
// intervals that have its index.
func (s *server) groupsOfCycle(ctx context.Context, filter store.SessionFilter, in *breakdownInput, c cycle, tell func(*group)) error {
	first, last, err := s.DB.SessionsStarted(ctx)
	if err != nil {
		return err
	}
	from, to := in.from(), earlier(in.to(), last.Add(time.Microsecond))
	if from.Before(first) {
		from = first
	}
	of := make([]rapport.Totals, c.length)
	for from.Before(to) {
		end := earlier(to, from.Add(cycleParts*intervalNamed(c.interval).about))
		if err := s.addCycle(ctx, filter, c, from, end, in.TZ.place, of); err != nil {
			return err
		}
		from = end
	}
	for i := range of {
		tell(&group{Key: c.name(i), order: i, totals: of[i]})
	}
	return nil
}

// cycleParts is how many intervals of a cycle are asked for at once.
const cycleParts = 2000

func (s *server) addCycle(ctx context.Context, filter store.SessionFilter, c cycle, from, to time.Time, place *time.Location, sums []rapport.Totals) error {
	starts, _ := intervalNamed(c.interval).starts(from, to, place)
	bounds := append(slices.Clone(starts), to)
	bounds[0] = from
	totals, err := s.totals(ctx, filter, bounds)
	parts := make([][]*rapport.Totals, len(sums))
	for i := range totals {
		index := c.index(starts[i])
		parts[index] = append(parts[index], &totals[i])
	}
	for index := range parts {
		sums[index].AddAll(parts[index])
	}
	return err
}
