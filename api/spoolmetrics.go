package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rapport/store/ingest"
)

var (
	spoolRecords = prometheus.NewDesc("rapport_spool_records", "Deliveries that wait in the spool for the database.", nil, nil)
	spoolBytes   = prometheus.NewDesc("rapport_spool_bytes", "Bytes of the spool on disk.", nil, nil)
	spoolAge     = prometheus.NewDesc("rapport_spool_age_seconds", "Time since the oldest delivery in the spool was kept; 0 if it is empty.", nil, nil)
	spoolRoom    = prometheus.NewDesc("rapport_spool_room", "1 if the spool can keep more, 0 if it is at a bound or can't be written.", nil, nil)
	spoolDamaged = prometheus.NewDesc("rapport_spool_damaged_segments", "Segments of the spool that were set aside since they are damaged.", nil, nil)
	spooledTotal = prometheus.NewDesc("rapport_spooled_total", "Deliveries that went to the spool.", nil, nil)
	drainedTotal = prometheus.NewDesc("rapport_spool_drained_total", "Records that went from the spool to the database.", nil, nil)
	refusedTotal = prometheus.NewDesc("rapport_spool_refused_total", "Deliveries that the spool could not keep: most senders send once.", nil, nil)
	circuitOpen  = prometheus.NewDesc("rapport_circuit_open", "1 while the database can't keep deliveries and they go to the spool at once.", nil, nil)
)

// spoolCollector tells of the spool, where there is one.
type spoolCollector struct {
	ingest *ingest.Ingest
	now    func() time.Time
}

// Describe names them all, though without a spool there are none.
func (c *spoolCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		spoolRecords, spoolBytes, spoolAge, spoolRoom, spoolDamaged, spooledTotal, drainedTotal, refusedTotal, circuitOpen,
	} {
		descs <- desc
	}
}

// Collect is called at each scrape.
func (c *spoolCollector) Collect(metrics chan<- prometheus.Metric) {
	status := c.ingest.Status()
	if !status.Enabled {
		return
	}
	tell := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64) {
		metrics <- prometheus.MustNewConstMetric(desc, kind, value)
	}
	tell(spoolRecords, prometheus.GaugeValue, float64(status.Waiting.Records))
	tell(spoolBytes, prometheus.GaugeValue, float64(status.Waiting.Bytes))
	tell(spoolAge, prometheus.GaugeValue, ageOf(status.Waiting.OldestAt, c.now()).Seconds())
	tell(spoolRoom, prometheus.GaugeValue, oneIf(status.Room == nil))
	tell(spoolDamaged, prometheus.GaugeValue, float64(status.Waiting.Damaged))
	tell(spooledTotal, prometheus.CounterValue, float64(status.Spooled))
	tell(drainedTotal, prometheus.CounterValue, float64(status.Drained))
	tell(refusedTotal, prometheus.CounterValue, float64(status.Refused))
	tell(circuitOpen, prometheus.GaugeValue, oneIf(!status.OpenSince.IsZero()))
}

// ageOf is how long ago a time is; 0 for the zero time, and for one to come.
func ageOf(t, now time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t))
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
