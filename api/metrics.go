package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"rapport"
	"rapport/store"
	"rapport/store/ingest"
)

// The values of the label status.
const (
	statusSuccess     = "success"
	statusDuplicate   = "duplicate"
	statusSpooled     = "spooled"
	statusQuarantined = "quarantined"
	statusError       = "error"
)

// The values of the label event_type, besides the known types.
const (
	typeUnknown = "unknown" // the delivery was answered before its type was known
	typeOther   = "other"   // any type that is not known: senders may invent any number
)

// Metrics are what one server tells Prometheus, in a registry of its own.
type Metrics struct {
	registry     *prometheus.Registry
	webhooks     *prometheus.CounterVec
	processing   prometheus.Histogram
	unauthorized *prometheus.CounterVec
	forbidden    prometheus.Counter
	outOfRange   prometheus.Counter
	limited      *prometheus.CounterVec
	batchEvents  prometheus.Histogram
	commit       prometheus.Histogram
	duplicates   prometheus.Counter
}

// NewMetrics makes the metrics of one server.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "webhook_requests_total", Help: "Webhook requests, by event type and outcome.",
		}, []string{"event_type", "status"}),
		processing: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "webhook_processing_seconds", Help: "Time from a webhook request to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		unauthorized: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rapport_unauthorized_total", Help: "Requests answered 401: webhook (no valid proof), read (no valid key) or signin (a wrong key).",
		}, []string{"request"}),
		forbidden: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rapport_forbidden_total", Help: "Requests answered 403: the key may not do this, or another site's page asked.",
		}),
		outOfRange: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "webhook_out_of_range_total", Help: "Deliveries answered 403: no source may deliver from their address.",
		}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rapport_limited_total", Help: "Requests refused for their number: key (429), unproven (429), reads (503) or sql (503).",
		}, []string{"limit"}),
		batchEvents: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rapport_batch_events", Help: "Deliveries that one commit took to the log.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 13), // to 4096
		}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rapport_commit_seconds", Help: "Time to commit a batch, tries included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		duplicates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rapport_duplicates_total", Help: "Deliveries that were in the log already.",
		}),
	}
	m.registry.MustRegister(m.webhooks, m.processing, m.unauthorized, m.forbidden, m.outOfRange, m.limited, m.batchEvents, m.commit, m.duplicates,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.begin()
	return m
}

// begin has the counters that alerts are made of start at 0: what appears with
// its first increase has no increase.
func (m *Metrics) begin() {
	for _, status := range []string{statusSuccess, statusDuplicate, statusSpooled, statusQuarantined, statusError} {
		for _, eventType := range []string{rapport.RoomJoin, rapport.ChatPush, rapport.SessionEnd, rapport.AgentError,
			rapport.Test, rapport.Ping, typeOther, typeUnknown} {
			m.webhooks.WithLabelValues(eventType, status)
		}
	}
	for _, request := range []string{"webhook", "read", "signin"} {
		m.unauthorized.WithLabelValues(request)
	}
	for _, limit := range []string{"key", "unproven", "reads", "sql"} {
		m.limited.WithLabelValues(limit)
	}
}

// OnCommit counts a committed batch: it is for ingest.Options.
func (m *Metrics) OnCommit(commit ingest.Commit) {
	m.batchEvents.Observe(float64(commit.Events))
	m.commit.Observe(commit.Took.Seconds())
	m.duplicates.Add(float64(commit.Duplicates))
}

func (m *Metrics) webhook(eventType, status string, took time.Duration) {
	m.webhooks.WithLabelValues(typeLabel(eventType), status).Inc()
	m.processing.Observe(took.Seconds())
}

// typeLabel bounds how many values the label has.
func typeLabel(eventType string) string {
	switch eventType {
	case rapport.RoomJoin, rapport.ChatPush, rapport.SessionEnd, rapport.AgentError,
		rapport.Test, rapport.Ping, typeUnknown:
		return eventType
	}
	return typeOther
}

// watch adds what the database and the spool tell.
func (m *Metrics) watch(db *store.DB, in *ingest.Ingest, sources *Sources, now func() time.Time) error {
	for _, c := range []prometheus.Collector{&databaseCollector{db, now}, &spoolCollector{in, now}, &sourceCollector{sources}, &streamCollector{db, now}} {
		if err := m.registry.Register(c); err != nil {
			return fmt.Errorf("the metrics serve another API already: %w", err)
		}
	}
	return nil
}

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// scrapeWithin is for how long a scrape waits for the database.
const scrapeWithin = 2 * time.Second

var (
	activeSessions = prometheus.NewDesc("active_avatar_sessions", "Sessions that are open now.", nil, nil)
	logHead        = prometheus.NewDesc("rapport_log_head_position", "Position of the last event of the log.", nil, nil)
	followerAt     = prometheus.NewDesc("rapport_follower_position", "Position up to which the follower has come.", []string{"follower"}, nil)
	followerEvents = prometheus.NewDesc("rapport_follower_lag_events", "Events that the follower has not followed yet.", []string{"follower"}, nil)
	followerAge    = prometheus.NewDesc("rapport_follower_lag_seconds", "Time since the oldest of them was received.", []string{"follower"}, nil)
	archiveTodo    = prometheus.NewDesc("rapport_archive_objects_pending", "Objects of the archive that are to be written again, or deleted: what was erased is gone from it when there are none.", nil, nil)
	quarantineSize = prometheus.NewDesc("rapport_quarantine_entries", "Entries of the quarantine.", nil, nil)
	quarantineSum  = prometheus.NewDesc("rapport_quarantine_bytes", "Bytes of the bodies in the quarantine.", nil, nil)
	deliveriesLeft = prometheus.NewDesc("rapport_deliveries_waiting", "Deliveries to the destination that wait, or are under way.", []string{"destination"}, nil)
	deliveriesDead = prometheus.NewDesc("rapport_deliveries_dead", "Deliveries to the destination that were tried as often as they may be.", []string{"destination"}, nil)
	deadLetters    = prometheus.NewDesc("rapport_dead_letters", "Events that the follower could not take and has put aside.", []string{"follower"}, nil)
)

// databaseCollector asks the database at each scrape. What it does not answer is
// left out: an old number would pass for a true one.
type databaseCollector struct {
	db  *store.DB
	now func() time.Time
}

// Describe names them all, though a scrape may lack some.
func (c *databaseCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		activeSessions, logHead, followerAt, followerEvents, followerAge, archiveTodo, quarantineSize, quarantineSum, deadLetters,
		deliveriesLeft, deliveriesDead,
	} {
		descs <- desc
	}
}

// Collect is called at each scrape.
func (c *databaseCollector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin)
	defer cancel()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	if open, err := c.db.OpenSessions(ctx, c.now()); err == nil {
		gauge(activeSessions, float64(open))
	}
	for _, follower := range []string{store.SessionsFollower, store.SearchFollower} {
		lag, err := c.db.FollowerLag(ctx, follower, c.now())
		if err != nil {
			continue
		}
		if follower == store.SessionsFollower {
			gauge(logHead, float64(lag.Head))
		}
		gauge(followerAt, float64(lag.Position), follower)
		gauge(followerEvents, float64(lag.Events), follower)
		gauge(followerAge, lag.Age.Seconds(), follower)
	}
	c.collectArchive(ctx, gauge)
	if entries, bytes, err := c.db.QuarantineStats(ctx); err == nil {
		gauge(quarantineSize, float64(entries))
		gauge(quarantineSum, float64(bytes))
	}
	if tally, err := c.db.DeadLetterTally(ctx); err == nil {
		for follower, letters := range tally {
			gauge(deadLetters, float64(letters), follower)
		}
	}
	if tally, err := c.db.DeliveryTally(ctx); err == nil {
		for destination, count := range tally {
			gauge(deliveriesLeft, float64(count.Waiting), destination)
			gauge(deliveriesDead, float64(count.Dead), destination)
		}
	}
}

// archiveFollower is how the archive is named among the followers.
const archiveFollower = "archive"

// collectArchive tells of the archive, if there ever was one.
func (c *databaseCollector) collectArchive(ctx context.Context, gauge func(*prometheus.Desc, float64, ...string)) {
	lag, used, err := c.db.ArchiveLag(ctx, c.now())
	if err != nil || !used {
		return
	}
	gauge(followerAt, float64(lag.Position), archiveFollower)
	gauge(followerEvents, float64(lag.Events), archiveFollower)
	gauge(followerAge, lag.Age.Seconds(), archiveFollower)
	if todo, err := c.db.ArchiveTodo(ctx); err == nil {
		gauge(archiveTodo, float64(todo.Blocks+todo.Sessions+todo.Garbage+todo.State))
	}
}
