package rapport

import (
	"math/big"
	"slices"
)

// Metric is a number over sessions, such as GET /stats tells.
type Metric struct {
	Name       string
	Decimals   int  // that it is rounded to; counts have none
	Percentile bool // it needs the histograms of the totals
	of         func(*Totals) (n int64, known bool)
}

// Value is the metric of some sessions in units of its last decimal, rounded once,
// half away from zero; false where there is nothing to divide by.
func (m *Metric) Value(t *Totals) (int64, bool) { return m.of(t) }

// MetricNamed is the metric of a name.
func MetricNamed(name string) (Metric, bool) {
	i := slices.IndexFunc(metrics, func(m Metric) bool { return m.Name == name })
	if i < 0 {
		return Metric{}, false
	}
	return metrics[i], true
}

// MetricNames are all there are.
func MetricNames() []string {
	names := make([]string, len(metrics))
	for i, m := range metrics {
		names[i] = m.Name
	}
	return names
}

// The decimals of a metric that is no count.
const (
	shareDecimals = 4
	otherDecimals = 3
)

var metrics = []Metric{
	countMetric("sessions", func(t *Totals) int64 { return t.Sessions }),
	countMetric("engaged_sessions", func(t *Totals) int64 { return t.Talked() }),
	quotientMetric("bounce_rate", shareDecimals, func(t *Totals) (int64, int64) { return t.Bounced, t.Sessions }),
	countMetric("bounced", func(t *Totals) int64 { return t.Bounced }),
	countMetric("engaged", func(t *Totals) int64 { return t.Engaged }),
	countMetric("continued", func(t *Totals) int64 { return t.Continued }),
	countMetric("deep", func(t *Totals) int64 { return t.Deep }),
	countMetric("messages", func(t *Totals) int64 { return t.Messages }),
	countMetric("user_messages", func(t *Totals) int64 { return t.UserMessages }),
	countMetric("agent_messages", func(t *Totals) int64 { return t.AgentMessages }),
	countMetric("turns", func(t *Totals) int64 { return t.Turns }),
	countMetric("answered_turns", func(t *Totals) int64 { return t.AnsweredTurns }),
	quotientMetric("avg_duration_s", otherDecimals, func(t *Totals) (int64, int64) { return t.DurationMS, 1000 * t.Sessions }),
	quotientMetric("avg_active_s", otherDecimals, func(t *Totals) (int64, int64) { return t.ActiveMS, 1000 * t.Sessions }),
	quotientMetric("avg_messages", otherDecimals, func(t *Totals) (int64, int64) { return t.Messages, t.Sessions }),
	quotientMetric("avg_turns", otherDecimals, func(t *Totals) (int64, int64) { return t.Turns, t.Sessions }),
	quotientMetric("avg_response_s", otherDecimals, func(t *Totals) (int64, int64) { return t.ResponseMS, 1000 * t.AnsweredTurns }),
	quotientMetric("answer_rate", shareDecimals, func(t *Totals) (int64, int64) { return t.AnsweredTurns, t.Turns }),
	quotientMetric("quick_answer_rate", shareDecimals, func(t *Totals) (int64, int64) { return t.QuickAnswers, t.AnsweredTurns }),
	quotientMetric("repeat_rate", shareDecimals, func(t *Totals) (int64, int64) { return t.Repeats, t.UserMessages }),
	quotientMetric("friction_rate", shareDecimals, func(t *Totals) (int64, int64) { return t.Friction, t.UserMessages }),
	quotientMetric("avg_engagement", otherDecimals, func(t *Totals) (int64, int64) { return t.EngagementTenths, 10 * t.Sessions }),
	quotientMetric("avg_quality", otherDecimals, func(t *Totals) (int64, int64) { return t.QualityTenths, 10 * t.Judged }),
	quotientMetric("avg_sentiment", otherDecimals, func(t *Totals) (int64, int64) { return t.SentimentThousandths, 1000 * t.Felt }),
	quotientMetric("avg_rating", otherDecimals, func(t *Totals) (int64, int64) { return t.RatingThousandths, 1000 * t.Rated }),
	countMetric("errors", func(t *Totals) int64 { return t.Errors }),
	quotientMetric("error_rate", shareDecimals, func(t *Totals) (int64, int64) { return t.Errors, t.Sessions }),
	quantileMetric("p50_duration_s", 0.5, func(t *Totals) Histogram { return t.Duration }),
	quantileMetric("p95_duration_s", 0.95, func(t *Totals) Histogram { return t.Duration }),
	quantileMetric("p50_response_s", 0.5, func(t *Totals) Histogram { return t.Response }),
	quantileMetric("p95_response_s", 0.95, func(t *Totals) Histogram { return t.Response }),
}

func countMetric(name string, of func(*Totals) int64) Metric {
	return Metric{Name: name, of: func(t *Totals) (int64, bool) { return of(t), true }}
}

func quotientMetric(name string, decimals int, of func(*Totals) (num, den int64)) Metric {
	return Metric{Name: name, Decimals: decimals, of: func(t *Totals) (int64, bool) {
		num, den := of(t)
		if den == 0 {
			return 0, false
		}
		return halfAway(num, den, decimals), true
	}}
}

// quantileMetric is one of milliseconds, told in seconds.
func quantileMetric(name string, q float64, of func(*Totals) Histogram) Metric {
	return Metric{Name: name, Decimals: otherDecimals, Percentile: true, of: func(t *Totals) (int64, bool) { return of(t).Quantile(q) }}
}

// halfAway is num/den in units of the last of some decimals, rounded half away from
// zero. den is not 0.
func halfAway(num, den int64, decimals int) int64 {
	scaled := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)
	scaled.Mul(scaled, big.NewInt(num)).Lsh(scaled, 1)
	divisor := big.NewInt(den)
	sign := int64(scaled.Sign() * divisor.Sign())
	scaled.Abs(scaled).Add(scaled, divisor.Abs(divisor))
	return sign * scaled.Quo(scaled, divisor.Lsh(divisor, 1)).Int64()
}
