// Package api is Rapport over HTTP: it accepts webhooks and shows what the
// store remembers.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"rapport/api/access"
	"rapport/api/dashboard"
	"rapport/api/forwarded"
	livehub "rapport/api/live"
	"rapport/internal/redact"
	"rapport/store"
	"rapport/store/ingest"
)

// Config is what the API serves, and how. The first four are needed; what else
// is zero has a default.
type Config struct {
	DB      *store.DB
	Watch   *store.Watch
	Ingest  *ingest.Ingest
	Sources *Sources

	APIToken     string           // the first admin key; empty: there are only those of Keys
	Keys         *Keys            // those of the DB, which nobody else has to know
	Exposed      bool             // the server listens beyond loopback: without a key nothing is read
	MaxBodyBytes int64            // of a webhook; 1 MiB
	Redact       *redact.Rules    // what is masked of a webhook before it is kept; nothing
	Now          func() time.Time // time.Now
	Logger       *slog.Logger     // discards
	Metrics      *Metrics         // of this API alone
	LagAlarm     time.Duration    // from this lag on the rollups are late; 1 min
	Draining     *atomic.Bool     // once true, readiness fails: the server is about to end
	Version      string           // for the OpenAPI document

	Sandbox *store.Sandbox // runs the statements of /sql; nil: nobody does

	Traces trace.TracerProvider // makes a span of each request; nobody

	TrustedProxies forwarded.Proxies // whose word for the client's address counts; nobody's
	Limits         Limits            // none
	Live           LiveLimits        // none

	patience time.Duration // of a probe; probePatience
}

// server has the handlers.
type server struct {
	Config
	api      huma.API
	router   *chi.Mux
	refusals rate.Sometimes // which refused deliveries are logged
	limits   limiters
	readTime time.Duration // that a read may take
	seen     glance        // for readiness
	live     *livehub.Hub
	pages    *dashboard.Dashboard

	sqlAnswers *shares
}

// New makes the handler of all of the API. It is an error if the Config lacks
// something, or if its Metrics serve another API already.
func New(config Config) (http.Handler, error) {
	s, err := assemble(config)
	if err != nil {
		return nil, err
	}
	return s.handler(), nil
}

// handler is all of the API.
func (s *server) handler() http.Handler { return s.arrive(s.traced(s.short(s.observe(s.router)))) }

// assemble wires the routes.
func assemble(config Config) (*server, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	if err := config.Metrics.watch(config.DB, config.Ingest, config.Sources, config.Now); err != nil {
		return nil, err
	}
	s := &server{
		Config: config, refusals: rate.Sometimes{First: 5, Interval: time.Second},
		limits: newLimiters(config.Limits, config.MaxBodyBytes), readTime: maxReadTime,
	}
	s.live = s.newLive()
	if err := config.Metrics.registry.Register(s.live); err != nil {
		return nil, fmt.Errorf("the metrics serve another API already: %w", err)
	}
	router := chi.NewRouter()
	s.router = router
	if s.Traces != nil {
		router.Use(routed)
	}
	router.Use(boundBody, compressed, s.limitUnproven, s.authorize, s.limitKeys, s.limitReads, revalidated, middleware.GetHead)
	router.NotFound(s.notFound)
	router.MethodNotAllowed(methodNotAllowed(router))
	s.route(router, anyone, http.MethodPost, webhookPath, http.HandlerFunc(s.receive))
	s.route(router, anyone, http.MethodPost, webhookPath+"/{source}", http.HandlerFunc(s.receive))
	s.route(router, access.Read, http.MethodGet, "/metrics", s.allAgents(config.Metrics.handler()))

	s.api = humachi.New(router, humaConfig(config.Version))
	s.api.UseMiddleware(identify, s.checkScope, checkQuery)
	s.registerHealth()
	s.registerSessions()
	s.registerTranscripts()
	s.registerStats()
	s.registerSearch()
	s.registerHistory()
	s.registerEvents()
	s.registerLive()
	s.registerSQL()
	s.registerErasure()
	s.registerQuarantine()
	s.registerDeadLetters()
	s.registerAlerts()
	s.registerAudit()
	s.registerSignin(router)
	describeUnregistered(s.api.OpenAPI())
	if err := completeDocument(s.api.OpenAPI()); err != nil {
		return nil, fmt.Errorf("describing the API: %w", err)
	}

	document, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("describing the API: %w", err)
	}
	s.route(router, anyKey, http.MethodGet, "/openapi.json", serveDocument(document))
	page, err := docsPage(docsOf(s.api.OpenAPI()))
	if err != nil {
		return nil, fmt.Errorf("describing the API: %w", err)
	}
	s.route(router, anyKey, http.MethodGet, "/docs", serveDocs(page))
	if err := s.registerDashboard(router); err != nil {
		return nil, err
	}
	return s, nil
}

func (c *Config) complete() error {
	if c.DB == nil || c.Watch == nil || c.Ingest == nil || c.Sources == nil {
		return errors.New("the API needs a DB, a Watch, an Ingest and Sources")
	}
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = 1 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	if c.Keys == nil {
		c.Keys = NewKeys(c.DB, c.Logger)
	}
	if c.patience == 0 {
		c.patience = probePatience
	}
	if c.LagAlarm == 0 {
		c.LagAlarm = time.Minute
	}
	if c.Draining == nil {
		c.Draining = new(atomic.Bool)
	}
	return nil
}

// now is the server's clock as the log keeps times: UTC, whole microseconds.
func (s *server) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// answer is what a handler returns to huma.
type answer[T any] struct{ Body T }

// problemOf tells the reader as much of an error as is the reader's, and the
// log the rest.
func (s *server) problemOf(ctx context.Context, err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	unavailable := store.IsUnavailable(err)
	if ctx.Err() == nil { // else the reader has left, which is no fault of ours
		s.Logger.Error("a read failed", "request_id", requestIDOf(ctx), "error", err)
	}
	switch {
	case store.TookTooLong(err):
		return newProblem(http.StatusGatewayTimeout, "the database needs too long for this: ask for less, say with from and to or agent_id")
	case unavailable:
		return tryAgain("the database is unavailable")
	}
	return internalError()
}

func (s *server) notFound(w http.ResponseWriter, r *http.Request) {
	if dashboard.IsPath(r.URL.Path) {
		s.pages.Refuse(w, r, http.StatusNotFound, "there is no page at this address")
		return
	}
	newProblem(http.StatusNotFound, "there is nothing at this path; GET /openapi.json describes what there is").write(w)
}

// methodNotAllowed tells which methods a path has, as RFC 9110 asks.
func methodNotAllowed(router *chi.Mux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.RawPath
		if path == "" {
			path = r.URL.Path
		}
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if !router.Match(chi.NewRouteContext(), method, path) {
				continue
			}
			w.Header().Add("Allow", method)
			if method == http.MethodGet {
				w.Header().Add("Allow", http.MethodHead)
			}
		}
		newProblem(http.StatusMethodNotAllowed, r.Method+" is not for this path").write(w)
	}
}
