package rapport

import (
	"math"
	"math/big"
	"slices"
)

// Decimals of metrics. Counts have none.
const (
	ShareDecimals = 4
	otherDecimals = 3
)

// The units of the metrics.
const (
	UnitCount      = "count"
	UnitSeconds    = "seconds"
	UnitShare      = "share, 0 to 1"
	UnitPerSession = "per session"
	UnitScore      = "points, 0 to 100"
	UnitSentiment  = "-1 to 1"
	UnitRating     = "as told"
)

// Metric is a number over sessions, such as GET /stats tells and alerts are on.
type Metric struct {
	Name        string
	Unit        string // one of the constants
	Description string // a sentence
	Decimals    int    // that it is rounded to
	Percentile  bool   // it needs the histograms of the totals
	of          func(*Totals) (n int64, known bool)
}

// Value is the metric of some sessions in units of its last decimal, rounded once,
// half away from zero; false where there is nothing to divide by.
func (m *Metric) Value(t *Totals) (int64, bool) { return m.of(t) }

// Metrics are all there are.
func Metrics() []Metric { return slices.Clone(metrics) }

// MetricNamed is the metric of a name.
func MetricNamed(name string) (Metric, bool) {
	i := slices.IndexFunc(metrics, func(m Metric) bool { return m.Name == name })
	if i < 0 {
		return Metric{}, false
	}
	return metrics[i], true
}

// MetricNames are the names of all there are.
func MetricNames() []string {
	names := make([]string, len(metrics))
	for i, m := range metrics {
		names[i] = m.Name
	}
	return names
}

// metrics are all there are: the table that they are computed by, and that describes
// them. Averages and shares are computed from the sums of all their sessions, and
// rounded once, half away from zero; they are null where there is nothing to divide by.
var metrics = []Metric{
	CountMetric("sessions", "Sessions.", func(t *Totals) int64 { return t.Sessions }),
	CountMetric("engaged_sessions", "Sessions with a user message.", func(t *Totals) int64 { return t.Talked() }),
	shareMetric("bounce_rate", "Sessions without a user message, of all.",
		func(t *Totals) (int64, int64) { return t.Bounced, t.Sessions }),
	CountMetric("bounced", "Sessions of the tier bounced: no user message.", func(t *Totals) int64 { return t.Bounced }),
	CountMetric("engaged", "Sessions of the tier engaged: one turn.", func(t *Totals) int64 { return t.Engaged }),
	CountMetric("continued", "Sessions of the tier continued: 2 or 3 turns.", func(t *Totals) int64 { return t.Continued }),
	CountMetric("deep", "Sessions of the tier deep: 4 turns or more.", func(t *Totals) int64 { return t.Deep }),
	CountMetric("messages", "Messages, of any role.", func(t *Totals) int64 { return t.Messages }),
	CountMetric("user_messages", "Messages of the user.", func(t *Totals) int64 { return t.UserMessages }),
	CountMetric("agent_messages", "Messages of the agent.", func(t *Totals) int64 { return t.AgentMessages }),
	CountMetric("turns", "Runs of neighbouring user messages.", func(t *Totals) int64 { return t.Turns }),
	CountMetric("answered_turns", "Turns that the agent answered.", func(t *Totals) int64 { return t.AnsweredTurns }),
	meanMetric("avg_duration_s", UnitSeconds, "Mean duration_s of the sessions.",
		func(t *Totals) (int64, int64) { return t.DurationMS, 1000 * t.Sessions }),
	meanMetric("avg_active_s", UnitSeconds, "Mean active_s of the sessions.",
		func(t *Totals) (int64, int64) { return t.ActiveMS, 1000 * t.Sessions }),
	meanMetric("avg_messages", UnitPerSession, "Messages per session.",
		func(t *Totals) (int64, int64) { return t.Messages, t.Sessions }),
	meanMetric("avg_turns", UnitPerSession, "Turns per session.",
		func(t *Totals) (int64, int64) { return t.Turns, t.Sessions }),
	meanMetric("avg_response_s", UnitSeconds, "Mean response time over the answered turns: long conversations weigh more than short ones.",
		func(t *Totals) (int64, int64) { return t.ResponseMS, 1000 * t.AnsweredTurns }),
	shareMetric("answer_rate", "Answered turns, of all turns.",
		func(t *Totals) (int64, int64) { return t.AnsweredTurns, t.Turns }),
	shareMetric("quick_answer_rate", "Turns answered within 3 s, of the answered turns.",
		func(t *Totals) (int64, int64) { return t.QuickAnswers, t.AnsweredTurns }),
	shareMetric("repeat_rate", "User messages that repeat an earlier one of the session, of the user messages.",
		func(t *Totals) (int64, int64) { return t.Repeats, t.UserMessages }),
	shareMetric("friction_rate", "User messages with a frustration word or a sentiment of -0.5 or lower, of the user messages.",
		func(t *Totals) (int64, int64) { return t.Friction, t.UserMessages }),
	meanMetric("avg_engagement", UnitScore, "Mean engagement_score of the sessions.",
		func(t *Totals) (int64, int64) { return t.EngagementTenths, 10 * t.Sessions }),
	meanMetric("avg_quality", UnitScore, "Mean quality_score of the sessions that have one: those with a user message.",
		func(t *Totals) (int64, int64) { return t.QualityTenths, 10 * t.Judged }),
	meanMetric("avg_sentiment", UnitSentiment, "Mean sentiment of the sessions that have one: those with a user message.",
		func(t *Totals) (int64, int64) { return t.SentimentThousandths, 1000 * t.Felt }),
	meanMetric("avg_rating", UnitRating, "Mean rating of the sessions that have one.",
		func(t *Totals) (int64, int64) { return t.RatingThousandths, 1000 * t.Rated }),
	CountMetric("errors", "agent.error events of the sessions.", func(t *Totals) int64 { return t.Errors }),
	rateMetric("error_rate", "Errors per session; may be greater than 1.",
		func(t *Totals) (int64, int64) { return t.Errors, t.Sessions }),
	quantileMetric("p50_duration_s", "Median duration_s of the sessions", 0.5,
		func(t *Totals) Histogram { return t.Duration }),
	quantileMetric("p95_duration_s", "95th percentile of duration_s of the sessions", 0.95,
		func(t *Totals) Histogram { return t.Duration }),
	quantileMetric("p50_response_s", "Median avg_response_s of the sessions with an answered turn", 0.5,
		func(t *Totals) Histogram { return t.Response }),
	quantileMetric("p95_response_s", "95th percentile of avg_response_s of the sessions with an answered turn", 0.95,
		func(t *Totals) Histogram { return t.Response }),
}

// CountMetric is a metric that counts something.
func CountMetric(name, description string, of func(*Totals) int64) Metric {
	return Metric{Name: name, Unit: UnitCount, Description: description, of: func(t *Totals) (int64, bool) { return of(t), true }}
}

func shareMetric(name, description string, of func(*Totals) (num, den int64)) Metric {
	return quotientMetric(name, UnitShare, description, ShareDecimals, of)
}

func rateMetric(name, description string, of func(*Totals) (num, den int64)) Metric {
	return quotientMetric(name, UnitPerSession, description, ShareDecimals, of)
}

func meanMetric(name, unit, description string, of func(*Totals) (num, den int64)) Metric {
	return quotientMetric(name, unit, description, otherDecimals, of)
}

func quotientMetric(name, unit, description string, decimals int, of func(*Totals) (num, den int64)) Metric {
	return Metric{Name: name, Unit: unit, Description: description, Decimals: decimals, of: func(t *Totals) (int64, bool) {
		num, den := of(t)
		return Quotient(num, den, decimals)
	}}
}

// quantileMetric is one of milliseconds, told in seconds.
func quantileMetric(name, description string, q float64, of func(*Totals) Histogram) Metric {
	return Metric{Name: name, Unit: UnitSeconds, Description: description + ", within 1 %.", Decimals: otherDecimals, Percentile: true,
		of: func(t *Totals) (int64, bool) { return of(t).Quantile(q) }}
}

// Quotient is num/den in units of the last of some decimals, 0 to 18, rounded half away
// from zero; false if den is 0.
func Quotient(num, den int64, decimals int) (int64, bool) {
	if den == 0 {
		return 0, false
	}
	scale := int64(1)
	for range decimals {
		scale *= 10
	}
	const most = math.MaxInt64 / 4 // of what all below fits into an int64
	if -most/scale <= num && num <= most/scale && -most <= den && den <= most {
		half := den
		if num < 0 != (den < 0) {
			half = -den
		}
		return (2*num*scale + half) / (2 * den), true
	}
	scaled := big.NewInt(num)
	scaled.Mul(scaled, big.NewInt(scale)).Lsh(scaled, 1)
	divisor := big.NewInt(den)
	sign := int64(scaled.Sign() * divisor.Sign())
	scaled.Abs(scaled).Add(scaled, divisor.Abs(divisor))
	return sign * scaled.Quo(scaled, divisor.Lsh(divisor, 1)).Int64(), true
}
