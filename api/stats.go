package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
)

const tagStatistics = "statistics"

// statsMeaning is what every number has in common.
const statsMeaning = "Every number is one over the sessions that started in [from, to) and pass the filters: those that GET /sessions lists. " +
	"Sessions that are gone for their age still count, by whole quarter hours of UTC, unless something else than agent_id filters."

func (s *server) registerStats() {
	read(s, huma.Operation{
		OperationID: "get-stats", Path: "/stats", Tags: []string{tagStatistics},
		Summary:     "One number per metric for a range",
		Description: statsMeaning,
	}, s.stats)
	s.registerTimeseries()
	s.registerBreakdown()
	s.registerFunnel()
	s.registerAgents()
	s.registerUsers()
}

type statsInput struct {
	StatsParams
	Metrics []metricName `query:"metrics" nullable:"false" doc:"Which metrics, separated by commas; all if it is not given." example:"sessions,avg_engagement"`
	Compare string       `query:"compare" enum:"previous" doc:"previous tells the same of the time before, and the change. That is as many whole months or days of tz, if from and to are begins of such; else what is as long as from to to."`
}

type statsBody struct {
	Data          statNumbers  `json:"data" doc:"A number per metric."`
	Previous      *statNumbers `json:"previous,omitempty" doc:"The same of the time before; only with compare."`
	ChangePercent *statChanges `json:"change_percent,omitempty" doc:"By how many per cent data is above previous, 1 decimal; null where one of them is null, or previous 0. Of a negative number, of its size."`
	PreviousFrom  *timestamp   `json:"previous_from,omitempty" doc:"Begin of the time before."`
	PreviousTo    *timestamp   `json:"previous_to,omitempty" doc:"End of the time before: from."`
	Echo
}

func (s *server) stats(ctx context.Context, in *statsInput) (*answer[statsBody], error) {
	filter, err := in.resolve(ctx, s.now())
	if err != nil {
		return nil, err
	}
	of := metricsNamed(in.Metrics)
	in.Metrics, filter.Percentiles = namesOf(of), havePercentile(of)
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	bounds := []time.Time{in.from(), in.to()}
	if in.Compare != "" {
		bounds = append([]time.Time{before(in.from(), in.to(), in.TZ.place)}, bounds...)
	}
	totals, err := s.totals(ctx, filter, bounds)
	if err != nil {
		return nil, err
	}
	body := statsBody{Data: statNumbers{of, valuesOf(of, &totals[len(totals)-1])}}
	if in.Compare != "" {
		body.compare(of, &totals[0], bounds[0], bounds[1])
	}
	return &answer[statsBody]{Body: body}, nil
}

func (b *statsBody) compare(of []metric, earlier *rapport.Totals, from, to time.Time) {
	previous := valuesOf(of, earlier)
	changes := make([]figure, len(of))
	for i := range of {
		changes[i] = percentChange(b.Data.numbers[i], previous[i])
	}
	b.Previous, b.ChangePercent = &statNumbers{of, previous}, &statChanges{statNumbers{of, changes}}
	b.PreviousFrom, b.PreviousTo = new(timestamp(from)), new(timestamp(to))
}

// before is where the range before [from, to) begins: as many months or days of a
// place's calendar earlier, if they are whole ones, else as much time.
func before(from, to time.Time, place *time.Location) time.Time {
	begin := from.Add(-to.Sub(from))
	first, last := dateOf(from.In(place)), dateOf(to.In(place))
	if firstInstant(first, place).Equal(from) && firstInstant(last, place).Equal(to) {
		date := first.Add(-last.Sub(first))
		if first.Day() == 1 && last.Day() == 1 {
			months := 12*(last.Year()-first.Year()) + int(last.Month()-first.Month())
			date = first.AddDate(0, -months, 0)
		}
		begin = firstInstant(date, place).UTC()
	}
	if begin.Before(fromMicros(0)) {
		return fromMicros(0)
	}
	return begin
}

// statNumbers are the values of metrics, shown as an object.
type statNumbers struct {
	metrics []metric
	numbers []figure
}

// MarshalJSON writes the metrics in their order.
func (n statNumbers) MarshalJSON() ([]byte, error) { return n.appendMembers([]byte{'{'}), nil }

// Schema describes it to huma.
func (statNumbers) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Properties: metricProperties(), Description: "The metrics that were asked for."}
}

// statChanges are by how many per cent they have changed.
type statChanges struct{ statNumbers }

// Schema describes it to huma.
func (statChanges) Schema(huma.Registry) *huma.Schema {
	properties := make(map[string]*huma.Schema)
	for _, m := range metrics {
		properties[m.Name] = &huma.Schema{Type: huma.TypeNumber, Nullable: true, Description: "Change of " + m.Name + " in per cent."}
	}
	return &huma.Schema{Type: huma.TypeObject, Properties: properties}
}
