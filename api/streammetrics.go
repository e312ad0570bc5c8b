package api

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rapport/store"
)

var (
	streamAt      = prometheus.NewDesc("rapport_stream_position", "Position up to which the stream has been acknowledged.", []string{"stream"}, nil)
	streamEvents  = prometheus.NewDesc("rapport_stream_lag_events", "Events that the stream has not come to yet.", []string{"stream"}, nil)
	streamAge     = prometheus.NewDesc("rapport_stream_lag_seconds", "Time since the oldest of them was received.", []string{"stream"}, nil)
	streamOmitted = prometheus.NewDesc("rapport_stream_omissions", "Events that went without their content, since the stream was begun: they were too large for the destination.", []string{"stream"}, nil)
)

// streamCollector tells how far the streams have come, whichever process sends them.
type streamCollector struct {
	db  *store.DB
	now func() time.Time
}

// Describe names the metrics.
func (c *streamCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{streamAt, streamEvents, streamAge, streamOmitted} {
		descs <- desc
	}
}

// Collect is called at each scrape.
func (c *streamCollector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin)
	defer cancel()
	streams, err := c.db.Streams(ctx, c.now())
	if err != nil {
		return // an old number would pass for a true one
	}
	for _, s := range streams {
		gauge := func(desc *prometheus.Desc, value float64) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, s.Name)
		}
		gauge(streamAt, float64(s.Position))
		gauge(streamEvents, float64(s.Head-s.Position))
		gauge(streamAge, s.Age.Seconds())
		gauge(streamOmitted, float64(s.Omitted))
	}
}

// Register adds what another part of the server tells.
func (m *Metrics) Register(c prometheus.Collector) error { return m.registry.Register(c) }
