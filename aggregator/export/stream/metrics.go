package stream

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what a process tells of the streams that it sends. How far they have come,
// the database tells.
type Metrics struct{ sent, failures, omitted *prometheus.CounterVec }

// NewMetrics makes the metrics of one server.
func NewMetrics() *Metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"stream"})
	}
	return &Metrics{
		sent:     counter("rapport_stream_sent_total", "Events that the destination of the stream has acknowledged."),
		failures: counter("rapport_stream_failures_total", "Tries to send after which some events were not acknowledged."),
		omitted:  counter("rapport_stream_omitted_total", "Events that were too large for the destination, so that they went without their content."),
	}
}

// begin has a stream's counters start at 0.
func (m *Metrics) begin(stream string) {
	for _, counter := range m.all() {
		counter.WithLabelValues(stream)
	}
}

func (m *Metrics) all() []*prometheus.CounterVec {
	return []*prometheus.CounterVec{m.sent, m.failures, m.omitted}
}

// Describe names them.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, counter := range m.all() {
		counter.Describe(descs)
	}
}

// Collect is called at each scrape.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	for _, counter := range m.all() {
		counter.Collect(metrics)
	}
}
