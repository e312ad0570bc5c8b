package api

import (
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
)

// Decimals of a metric: counts have none.
const (
	shareDecimals = 4
	otherDecimals = 3
)

// The units of the metrics.
const (
	unitCount      = "count"
	unitSeconds    = "seconds"
	unitShare      = "share, 0 to 1"
	unitPerSession = "per session"
	unitScore      = "points, 0 to 100"
	unitSentiment  = "-1 to 1"
	unitRating     = "as told"
)

// metric is a number over sessions.
type metric struct {
	name        string
	unit        string
	description string
	of          func(*rapport.Totals) figure
	percentile  bool // it needs the histograms
}

// metrics are all there are: the table that they are computed by, and that describes
// them. Averages and shares are computed from the sums of all their sessions, and
// rounded once, half away from zero; they are null where there is nothing to divide by.
var metrics = []metric{
	count("sessions", "Sessions.", func(t *rapport.Totals) int64 { return t.Sessions }),
	count("engaged_sessions", "Sessions with a user message.", func(t *rapport.Totals) int64 { return t.Talked() }),
	shareOf("bounce_rate", "Sessions without a user message, of all.",
		func(t *rapport.Totals) (int64, int64) { return t.Bounced, t.Sessions }),
	count("bounced", "Sessions of the tier bounced: no user message.", func(t *rapport.Totals) int64 { return t.Bounced }),
	count("engaged", "Sessions of the tier engaged: one turn.", func(t *rapport.Totals) int64 { return t.Engaged }),
	count("continued", "Sessions of the tier continued: 2 or 3 turns.", func(t *rapport.Totals) int64 { return t.Continued }),
	count("deep", "Sessions of the tier deep: 4 turns or more.", func(t *rapport.Totals) int64 { return t.Deep }),
	count("messages", "Messages, of any role.", func(t *rapport.Totals) int64 { return t.Messages }),
	count("user_messages", "Messages of the user.", func(t *rapport.Totals) int64 { return t.UserMessages }),
	count("agent_messages", "Messages of the agent.", func(t *rapport.Totals) int64 { return t.AgentMessages }),
	count("turns", "Runs of neighbouring user messages.", func(t *rapport.Totals) int64 { return t.Turns }),
	count("answered_turns", "Turns that the agent answered.", func(t *rapport.Totals) int64 { return t.AnsweredTurns }),
	average("avg_duration_s", unitSeconds, "Mean duration_s of the sessions.",
		func(t *rapport.Totals) (int64, int64) { return t.DurationMS, 1000 * t.Sessions }),
	average("avg_active_s", unitSeconds, "Mean active_s of the sessions.",
		func(t *rapport.Totals) (int64, int64) { return t.ActiveMS, 1000 * t.Sessions }),
	average("avg_messages", unitPerSession, "Messages per session.",
		func(t *rapport.Totals) (int64, int64) { return t.Messages, t.Sessions }),
	average("avg_turns", unitPerSession, "Turns per session.",
		func(t *rapport.Totals) (int64, int64) { return t.Turns, t.Sessions }),
	average("avg_response_s", unitSeconds, "Mean response time over the answered turns: long conversations weigh more than short ones.",
		func(t *rapport.Totals) (int64, int64) { return t.ResponseMS, 1000 * t.AnsweredTurns }),
	shareOf("answer_rate", "Answered turns, of all turns.",
		func(t *rapport.Totals) (int64, int64) { return t.AnsweredTurns, t.Turns }),
	shareOf("quick_answer_rate", "Turns answered within 3 s, of the answered turns.",
		func(t *rapport.Totals) (int64, int64) { return t.QuickAnswers, t.AnsweredTurns }),
	shareOf("repeat_rate", "User messages that repeat an earlier one of the session, of the user messages.",
		func(t *rapport.Totals) (int64, int64) { return t.Repeats, t.UserMessages }),
	shareOf("friction_rate", "User messages with a frustration word or a sentiment of -0.5 or lower, of the user messages.",
		func(t *rapport.Totals) (int64, int64) { return t.Friction, t.UserMessages }),
	average("avg_engagement", unitScore, "Mean engagement_score of the sessions.",
		func(t *rapport.Totals) (int64, int64) { return t.EngagementTenths, 10 * t.Sessions }),
	average("avg_quality", unitScore, "Mean quality_score of the sessions that have one: those with a user message.",
		func(t *rapport.Totals) (int64, int64) { return t.QualityTenths, 10 * t.Judged }),
	average("avg_sentiment", unitSentiment, "Mean sentiment of the sessions that have one: those with a user message.",
		func(t *rapport.Totals) (int64, int64) { return t.SentimentThousandths, 1000 * t.Felt }),
	average("avg_rating", unitRating, "Mean rating of the sessions that have one.",
		func(t *rapport.Totals) (int64, int64) { return t.RatingThousandths, 1000 * t.Rated }),
	count("errors", "agent.error events of the sessions.", func(t *rapport.Totals) int64 { return t.Errors }),
	perSession("error_rate", "Errors per session; may be greater than 1.",
		func(t *rapport.Totals) (int64, int64) { return t.Errors, t.Sessions }),
	percentile("p50_duration_s", "Median duration_s of the sessions", 0.5,
		func(t *rapport.Totals) rapport.Histogram { return t.Duration }),
	percentile("p95_duration_s", "95th percentile of duration_s of the sessions", 0.95,
		func(t *rapport.Totals) rapport.Histogram { return t.Duration }),
	percentile("p50_response_s", "Median avg_response_s of the sessions with an answered turn", 0.5,
		func(t *rapport.Totals) rapport.Histogram { return t.Response }),
	percentile("p95_response_s", "95th percentile of avg_response_s of the sessions with an answered turn", 0.95,
		func(t *rapport.Totals) rapport.Histogram { return t.Response }),
}

func count(name, description string, of func(*rapport.Totals) int64) metric {
	return metric{name: name, unit: unitCount, description: description,
		of: func(t *rapport.Totals) figure { return figure{n: of(t), known: true} }}
}

func shareOf(name, description string, of func(*rapport.Totals) (num, den int64)) metric {
	return ratio(name, unitShare, description, shareDecimals, of)
}

func perSession(name, description string, of func(*rapport.Totals) (num, den int64)) metric {
	return ratio(name, unitPerSession, description, shareDecimals, of)
}

func average(name, unit, description string, of func(*rapport.Totals) (num, den int64)) metric {
	return ratio(name, unit, description, otherDecimals, of)
}

func ratio(name, unit, description string, decimals int, of func(*rapport.Totals) (num, den int64)) metric {
	return metric{name: name, unit: unit, description: description, of: func(t *rapport.Totals) figure {
		num, den := of(t)
		return quotient(num, den, decimals)
	}}
}

// percentile is one of milliseconds, shown as seconds.
func percentile(name, description string, q float64, of func(*rapport.Totals) rapport.Histogram) metric {
	return metric{name: name, unit: unitSeconds, description: description + ", within 1 %.", percentile: true,
		of: func(t *rapport.Totals) figure {
			ms, ok := of(t).Quantile(q)
			return figure{n: ms, decimals: otherDecimals, known: ok}
		}}
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
	if den == 0 {
		return figure{decimals: decimals}
	}
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)
	return figure{n: roundQuotient(scale.Mul(scale, big.NewInt(num)), big.NewInt(den)), decimals: decimals, known: true}
}

// roundQuotient rounds half away from zero. den is not 0.
func roundQuotient(num, den *big.Int) int64 {
	sign := int64(num.Sign() * den.Sign())
	twice := new(big.Int).Abs(num)
	size := new(big.Int).Abs(den)
	twice.Lsh(twice, 1).Add(twice, size)
	return sign * twice.Quo(twice, size.Lsh(size, 1)).Int64()
}

// percentChange is by how many per cent a number is greater than an earlier one; null where
// one of them is, and where the earlier is 0.
func percentChange(now, before figure) figure {
	const decimals = 1
	if !now.known || !before.known || before.n == 0 {
		return figure{decimals: decimals}
	}
	difference := new(big.Int).Sub(big.NewInt(now.n), big.NewInt(before.n))
	difference.Mul(difference, big.NewInt(1000)) // per cent with a decimal
	size := new(big.Int).Abs(big.NewInt(before.n))
	return figure{n: roundQuotient(difference, size), decimals: decimals, known: true}
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
		names[i] = m.name
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
		if !slices.ContainsFunc(named, func(other metric) bool { return other.name == m.name }) {
			named = append(named, m)
		}
	}
	return named
}

// metricNamed is the metric of a name that there is.
func metricNamed(name string) metric {
	return metrics[slices.IndexFunc(metrics, func(m metric) bool { return m.name == name })]
}

func namesOf(of []metric) []metricName {
	names := make([]metricName, len(of))
	for i, m := range of {
		names[i] = metricName(m.name)
	}
	return names
}

func havePercentile(of []metric) bool {
	return slices.ContainsFunc(of, func(m metric) bool { return m.percentile })
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
		if m.unit == unitCount {
			kind = huma.TypeInteger
		}
		properties[m.name] = &huma.Schema{
			Type: kind, Nullable: m.unit != unitCount, Description: m.description + " Unit: " + strings.TrimSuffix(m.unit, ".") + ".",
		}
	}
	return properties
}
