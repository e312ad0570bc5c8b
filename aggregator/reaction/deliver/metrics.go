package deliver

import (
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"
)

// The values of the label result.
const (
	resultDelivered = "delivered"
	resultFailed    = "failed" // and is tried again
	resultDead      = "dead"
	resultHeld      = "held" // not tried: the breaker is open, or the destination has asked us to wait
)

// Metrics tell Prometheus of the deliveries that one process makes.
type Metrics struct {
	attempts *prometheus.CounterVec
	took     *prometheus.HistogramVec
	lines    *lines // whose breakers are told
}

// NewMetrics makes them, to be registered by the caller.
func NewMetrics() *Metrics {
	return &Metrics{
		lines: new(lines),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rapport_delivery_attempts_total", Help: "Attempts to tell a destination: delivered, failed, dead, or held (not tried yet).",
		}, []string{"destination", "result"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rapport_delivery_seconds", Help: "Time that a destination took to accept a delivery.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"destination"}),
	}
}

var breakerState = prometheus.NewDesc("rapport_delivery_breaker", "1 for the state of a destination's circuit breaker, 0 for the others.",
	[]string{"destination", "state"}, nil)

// Describe is for prometheus.Collector.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	m.attempts.Describe(descs)
	m.took.Describe(descs)
	descs <- breakerState
}

// Collect is for prometheus.Collector.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	m.attempts.Collect(metrics)
	m.took.Collect(metrics)
	for _, line := range m.lines.all() {
		for _, state := range []circuitbreaker.State{circuitbreaker.ClosedState, circuitbreaker.HalfOpenState, circuitbreaker.OpenState} {
			value := 0.0
			if line.breaker.State() == state {
				value = 1
			}
			metrics <- prometheus.MustNewConstMetric(breakerState, prometheus.GaugeValue, value, line.destination.Name, state.String())
		}
	}
}

// begin has a destination's counters start at 0: what appears with its first increase
// has no increase.
func (m *Metrics) begin(destination string) {
	for _, result := range []string{resultDelivered, resultFailed, resultDead, resultHeld} {
		m.attempts.WithLabelValues(destination, result)
	}
}

func (m *Metrics) count(l *line, result string) {
	m.attempts.WithLabelValues(l.destination.Name, result).Inc()
}

func (m *Metrics) delivered(l *line, took time.Duration) {
	m.count(l, resultDelivered)
	m.took.WithLabelValues(l.destination.Name).Observe(took.Seconds())
}
