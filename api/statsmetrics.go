package api

import (
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
)

// metric is a number over sessions: rapport has the table of them all.
type metric struct{ rapport.Metric }

// of is the metric of some sessions.
func (m metric) of(t *rapport.Totals) figure {
	n, known := m.Value(t)
	return figure{n: n, decimals: m.Decimals, known: known}
}

var metrics = allMetrics()

func allMetrics() []metric {
	all := rapport.Metrics()
	list := make([]metric, len(all))
	for i, m := range all {
		list[i] = metric{m}
	}
	return list
}

// figure is a decimal that never passes through a float.
type figure struct {
	n        int64 // of units of the last decimal
	decimals int
	known    bool // else it is null
}

// MarshalJSON writes all its decimals.
func (n figure) MarshalJSON() ([]byte, error) { return n.append(nil), nil }

func (n figure) append(b []byte) []byte {
	switch {
	case !n.known:
		return append(b, "null"...)
	case n.decimals == 0:
		return strconv.AppendInt(b, n.n, 10)
	}
	return appendNumber(b, n.n, n.decimals)
}

// compare orders numbers of one metric; nulls come last in both directions.
func (n figure) compare(other figure, descending bool) int {
	switch {
	case n.known != other.known:
		if n.known {
			return -1
		}
		return 1
	case n.n == other.n:
		return 0
	case n.n < other.n != descending:
		return -1
	}
	return 1
}

// quotient is num/den, rounded half away from zero; null if den is 0.
func quotient(num, den int64, decimals int) figure {
	n, known := rapport.Quotient(num, den, decimals)
	return figure{n: n, decimals: decimals, known: known}
}

// percentChange is by how many per cent a number is greater than an earlier one; null where
// one of them is, and where the earlier is 0.
func percentChange(now, before figure) figure {
	const decimals = 1
	if !now.known || !before.known || before.n == 0 {
		return figure{decimals: decimals}
	}
	change, _ := rapport.Quotient(now.n-before.n, max(before.n, -before.n), decimals+2) // per cent with a decimal
	return figure{n: change, decimals: decimals, known: true}
}

// metricName is the name of a metric.
type metricName string

// Schema describes it to huma, with all names there are.
func (metricName) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Enum: metricNames(), Examples: []any{"avg_engagement"}}
}

func metricNames() []any {
	names := make([]any, len(metrics))
	for i, m := range metrics {
		names[i] = m.Name
	}
	return names
}

// metricsNamed are the metrics of the names, each once; all if there are none.
func metricsNamed(names []metricName) []metric {
	if len(names) == 0 {
		return metrics
	}
	var named []metric
	for _, name := range names {
		m := metricNamed(string(name))
		if !slices.ContainsFunc(named, func(other metric) bool { return other.Name == m.Name }) {
			named = append(named, m)
		}
	}
	return named
}

// metricNamed is the metric of a name that there is.
func metricNamed(name string) metric {
	return metrics[slices.IndexFunc(metrics, func(m metric) bool { return m.Name == name })]
}

func namesOf(of []metric) []metricName {
	names := make([]metricName, len(of))
	for i, m := range of {
		names[i] = metricName(m.Name)
	}
	return names
}

func havePercentile(of []metric) bool {
	return slices.ContainsFunc(of, func(m metric) bool { return m.Percentile })
}

// valuesOf are the values of metrics.
func valuesOf(of []metric, t *rapport.Totals) []figure {
	numbers := make([]figure, len(of))
	for i, m := range of {
		numbers[i] = m.of(t)
	}
	return numbers
}

// metricProperties describe the metrics as fields of an object.
func metricProperties() map[string]*huma.Schema {
	properties := make(map[string]*huma.Schema)
	for _, m := range metrics {
		kind := huma.TypeNumber
		if m.Unit == rapport.UnitCount {
			kind = huma.TypeInteger
		}
		properties[m.Name] = &huma.Schema{
			Type: kind, Nullable: m.Unit != rapport.UnitCount, Description: m.Description + " Unit: " + strings.TrimSuffix(m.Unit, ".") + ".",
		}
	}
	return properties
}
