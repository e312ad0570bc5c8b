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
	"golang.org/x/time/rate"

	"rapport/api/webhook"
	"rapport/store"
	"rapport/store/ingest"
)

// Config is what the API serves, and how. The first four are needed; what else
// is zero has a default.
type Config struct {
	DB       *store.DB
	Watch    *store.Watch
	Ingest   *ingest.Ingest
	Verifier *webhook.Verifier

	APIToken     string           // that reads have to carry; empty: reads are for loopback alone
	MaxBodyBytes int64            // of a webhook; 1 MiB
	Now          func() time.Time // time.Now
	Logger       *slog.Logger     // discards
	Metrics      *Metrics         // of this API alone
	LagAlarm     time.Duration    // from this lag on the rollups are late; 1 min
	Draining     *atomic.Bool     // once true, readiness fails: the server is about to end
	Version      string           // for the OpenAPI document
}

// server has the handlers.
type server struct {
	Config
	api      huma.API
	refusals rate.Sometimes // which refused deliveries are logged
}

// New makes the handler of all of the API. It is an error if the Config lacks
// something, or if its Metrics serve another API already.
func New(config Config) (http.Handler, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	if err := config.Metrics.watch(config.DB, config.Ingest, config.Now); err != nil {
		return nil, err
	}
	s := &server{Config: config, refusals: rate.Sometimes{First: 5, Interval: time.Second}}
	router := chi.NewRouter()
	router.Use(s.authorize, middleware.GetHead)
	router.NotFound(notFound)
	router.MethodNotAllowed(methodNotAllowed(router))
	router.Post("/webhook", s.receive)
	router.Method(http.MethodGet, "/metrics", config.Metrics.handler())

	s.api = humachi.New(router, humaConfig(config.Version))
	s.api.UseMiddleware(identify, checkQuery)
	s.registerHealth()
	s.registerSessions()
	s.registerTranscripts()
	s.registerQuarantine()
	s.registerDeadLetters()
	describeUnregistered(s.api.OpenAPI())

	document, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("describing the API: %w", err)
	}
	router.Get("/openapi.json", serveDocument(document))
	return s.short(s.observe(router)), nil
}

func (c *Config) complete() error {
	if c.DB == nil || c.Watch == nil || c.Ingest == nil || c.Verifier == nil {
		return errors.New("the API needs a DB, a Watch, an Ingest and a Verifier")
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

// read registers a GET whose errors become problems.
func read[I, O any](s *server, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	op.Method = http.MethodGet
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return out, nil
	})
}

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
	if unavailable {
		return tryAgain("the database is unavailable")
	}
	return internalError()
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	newProblem(http.StatusNotFound, "there is nothing at this path; GET /openapi.json describes what there is").write(w)
}

// methodNotAllowed tells which methods a path has, as RFC 9110 asks.
func methodNotAllowed(router *chi.Mux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.RawPath
		if path == "" {
			path = r.URL.Path
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
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
