package live

import "github.com/prometheus/client_golang/prometheus"

// metrics are what a hub tells Prometheus.
type metrics struct {
	streams prometheus.Gauge
	sent    *prometheus.CounterVec
	ended   *prometheus.CounterVec
	refused prometheus.Counter
	lag     prometheus.Histogram

	sentEvents, sentSessions prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rapport_live_streams", Help: "Live streams that are open.",
		}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rapport_live_sent_total", Help: "Messages that were written to live streams, by kind.",
		}, []string{"kind"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rapport_live_ended_total", Help: "Live streams that have ended: gone (the reader left), slow (cut off), draining, key (not valid any more) or reset.",
		}, []string{"reason"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rapport_live_refused_total", Help: "Live streams that were refused, since as many were open.",
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rapport_live_lag_seconds", Help: "Time from the receipt of an event to its being handed to the live streams; of each reading the oldest.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
	m.sentEvents, m.sentSessions = m.sent.WithLabelValues("event"), m.sent.WithLabelValues("session")
	for _, why := range []end{endGone, endSlow, endDraining, endFallen, endReset} {
		m.ended.WithLabelValues(string(why))
	}
	return m
}

func (m *metrics) count(sent tally) {
	m.sentEvents.Add(float64(sent.events))
	m.sentSessions.Add(float64(sent.sessions))
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.streams, m.sent, m.ended, m.refused, m.lag}
}

// Describe and Collect make a hub a prometheus.Collector.
func (h *Hub) Describe(descs chan<- *prometheus.Desc) {
	for _, c := range h.metrics.all() {
		c.Describe(descs)
	}
}

// Collect is called at each scrape.
func (h *Hub) Collect(metrics chan<- prometheus.Metric) {
	for _, c := range h.metrics.all() {
		c.Collect(metrics)
	}
}

// observe notes how old the oldest event of a batch is that is behind a position.
func (h *Hub) observe(b *batch, since int64) {
	for i := range b.frames {
		if f := &b.frames[i]; f.Kind == Events && f.Position > since {
			h.metrics.lag.Observe(h.Now().Sub(f.ReceivedAt).Seconds())
			return
		}
	}
}
