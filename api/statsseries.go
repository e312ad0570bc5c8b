package api

import (
	"context"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

func (s *server) registerTimeseries() {
	table[statRow[bucket]](s, huma.Operation{
		OperationID: "get-timeseries", Path: "/stats/timeseries", Tags: []string{tagStatistics},
		Summary: "Metrics over time",
		Description: statsMeaning + " A row for each interval that [from, to) meets, in order and without a gap: where nothing happened, counts are 0 and averages null. " +
			fmt.Sprintf("At most %d rows.", maxBuckets),
	}, s.timeseries)
}

type timeseriesInput struct {
	StatsParams
	TableParams
	Metrics  []metricName `query:"metrics" nullable:"false" doc:"Which metrics, separated by commas; all if it is not given." example:"sessions,avg_engagement"`
	Interval string       `query:"interval" default:"auto" enum:"auto,minute,five_minutes,quarter_hour,hour,day,week,month" doc:"How long a bucket is, on the clock and the calendar of tz: a day may have 23 or 25 hours, and weeks begin on Monday. auto makes about 50 buckets."`
}

// bucket is the time that a row is of.
type bucket struct {
	Start   localTime `json:"start" doc:"Begin of the interval on the calendar of tz, with its offset: from may be later."`
	From    timestamp `json:"from" doc:"The row counts the sessions that started then or later: at start, or from where that is later."`
	To      timestamp `json:"to" doc:"The row counts the sessions that started before."`
	Partial bool      `json:"partial" doc:"from or to cut the interval: the row counts a part of it."`
}

type timeseriesBody struct {
	Data []statRow[bucket] `json:"data" nullable:"false" doc:"A row for each interval."`
	Echo
	metrics []metric
}

func (b timeseriesBody) table() *statTable { return tableOf(b.metrics, b.Data) }

func (b *timeseriesBody) appendBody(into []byte) ([]byte, error) {
	return appendSpliced(into, &b.Data, b)
}

func (s *server) timeseries(ctx context.Context, in *timeseriesInput) (*answer[timeseriesBody], error) {
	filter, err := in.resolve(ctx, s.now())
	if err != nil {
		return nil, err
	}
	of := metricsNamed(in.Metrics)
	in.Metrics, filter.Percentiles = namesOf(of), havePercentile(of)
	buckets, err := in.buckets()
	if err != nil {
		return nil, err
	}
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	bounds := make([]time.Time, 0, len(buckets)+1)
	for _, b := range buckets {
		bounds = append(bounds, time.Time(b.From))
	}
	totals, err := s.totals(ctx, filter, append(bounds, in.to()))
	if err != nil {
		return nil, err
	}
	body := timeseriesBody{Data: make([]statRow[bucket], len(buckets)), metrics: of}
	for i, b := range buckets {
		body.Data[i] = statRow[bucket]{b, statNumbers{of, valuesOf(of, &totals[i])}}
	}
	return &answer[timeseriesBody]{Body: body}, nil
}

// buckets cuts the range, and resolves the interval auto.
func (in *timeseriesInput) buckets() ([]bucket, error) {
	var v interval
	if in.Interval == "auto" {
		v = intervalFor(in.to().Sub(in.from()))
		in.Interval = v.name
	} else {
		v = intervalNamed(in.Interval)
	}
	starts, ok := v.starts(in.from(), in.to(), in.TZ.place)
	if !ok {
		return nil, badParameter("interval", fmt.Sprintf("from and to are more than %d intervals of a %s apart: take a longer one, or a shorter range", maxBuckets, v.name))
	}
	buckets := make([]bucket, len(starts))
	for i, start := range starts {
		from, to := start, in.to()
		if i == 0 {
			from = in.from()
		}
		if i < len(starts)-1 {
			to = starts[i+1]
		}
		buckets[i] = bucket{localTime(start), timestamp(from), timestamp(to), !from.Equal(start)}
	}
	last := &buckets[len(buckets)-1]
	last.Partial = last.Partial || v.meets(in.to(), in.TZ.place)
	return buckets, nil
}

// meets reports whether an instant is within an interval, and not its begin.
func (v interval) meets(t time.Time, place *time.Location) bool {
	starts, _ := v.starts(t, t.Add(1), place)
	return !starts[0].Equal(t)
}

const localTimeLayout = `"2006-01-02T15:04:05Z07:00"`

// localTime is RFC 3339 with the offset of its place in JSON.
type localTime time.Time

// MarshalJSON writes it.
func (t localTime) MarshalJSON() ([]byte, error) {
	return time.Time(t).AppendFormat(nil, localTimeLayout), nil
}

// Schema describes it to huma.
func (localTime) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Examples: []any{"2026-01-31T00:00:00+01:00"}}
}
