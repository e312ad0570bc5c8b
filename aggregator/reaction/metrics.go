package reaction

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rapport/aggregator/reaction/rules"
	"rapport/store"
)

// The values of the label result.
const (
	resultDone   = "done"
	resultFailed = "failed"
)

// metrics tell Prometheus of the rules in one process.
type metrics struct {
	firings  *prometheus.CounterVec
	failed   *prometheus.CounterVec
	passed   prometheus.Counter
	reloads  *prometheus.CounterVec
	loadedAt prometheus.Gauge
	lag      lag
}

func newMetrics(r *Reaction) *metrics {
	m := &metrics{
		firings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rapport_rule_firings_total", Help: "What rules have told, by rule and destination.",
		}, []string{"rule", "destination"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rapport_rule_condition_errors_total", Help: "Conditions that could not be evaluated, so that the rule did not fire.",
		}, []string{"rule"}),
		passed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rapport_rule_passed_over_total", Help: "Events and sessions that rules could not be asked of, and that were passed over.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rapport_rules_reloads_total", Help: "How often the file of rules was read again: done, or failed, so that the old rules stay.",
		}, []string{"result"}),
		loadedAt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rapport_rules_loaded_timestamp", Help: "When the rules in force were read, in seconds since 1970.",
		}),
		lag: lag{r},
	}
	for _, result := range []string{resultDone, resultFailed} {
		m.reloads.WithLabelValues(result)
	}
	return m
}

// begin has the counters of rules start at 0: what appears with its first increase has no
// increase.
func (m *metrics) begin(set *rules.Set) {
	for _, rule := range set.Rules() {
		m.failed.WithLabelValues(rule.Name)
		for _, destination := range rule.Then {
			m.firings.WithLabelValues(rule.Name, destination)
		}
	}
}

func (m *metrics) fired(firings []rules.Firing) {
	for i := range firings {
		m.firings.WithLabelValues(firings[i].Rule, firings[i].Destination).Inc()
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.firings, m.failed, m.passed, m.reloads, m.loadedAt, m.lag}
}

// lag tells how far the rules are behind, as of the other followers, whose metrics have the
// same names.
type lag struct{ r *Reaction }

// scrapeWithin is for how long a scrape waits for the database.
const scrapeWithin = 2 * time.Second

var (
	followerAt     = prometheus.NewDesc("rapport_follower_position", "Position up to which the follower has come.", []string{"follower"}, nil)
	followerEvents = prometheus.NewDesc("rapport_follower_lag_events", "Events that the follower has not followed yet.", []string{"follower"}, nil)
	followerAge    = prometheus.NewDesc("rapport_follower_lag_seconds", "Time since the oldest of them was received.", []string{"follower"}, nil)
)

// Describe tells nothing, for the names are described where the other followers are told
// of.
func (l lag) Describe(chan<- *prometheus.Desc) {}

// Collect asks the database. What it does not answer is left out.
func (l lag) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin)
	defer cancel()
	at, err := l.r.db.FollowerLag(ctx, store.ReactionFollower, l.r.Now())
	if err != nil {
		return
	}
	for desc, value := range map[*prometheus.Desc]float64{
		followerAt: float64(at.Position), followerEvents: float64(at.Events), followerAge: at.Age.Seconds(),
	} {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, store.ReactionFollower)
	}
}
