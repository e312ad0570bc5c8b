package api

import "github.com/prometheus/client_golang/prometheus"

var (
	sourceProven   = prometheus.NewDesc("webhook_proven_total", "Deliveries that were proven to be a source's.", []string{"source"}, nil)
	sourceOverRate = prometheus.NewDesc("webhook_over_rate_total", "Deliveries above the source's expected rate; they were kept.", []string{"source"}, nil)
)

// sourceCollector tells what came from each source, from 0 on.
type sourceCollector struct{ sources *Sources }

// Describe names the metrics.
func (c *sourceCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- sourceProven
	descs <- sourceOverRate
}

// Collect is called at each scrape.
func (c *sourceCollector) Collect(metrics chan<- prometheus.Metric) {
	for name, state := range c.sources.current.Load().of {
		counter := func(desc *prometheus.Desc, value int64) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), name)
		}
		counter(sourceProven, state.proven.Load())
		counter(sourceOverRate, state.overRate.Load())
	}
}
