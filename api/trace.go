package api

import (
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traced puts a span around each request, but for probes. It has the method, the
// route and the status, and neither headers nor bodies nor the query.
func (s *server) traced(next http.Handler) http.Handler {
	if s.Traces == nil {
		return next
	}
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		span := trace.SpanFromContext(r.Context())
		// otelhttp believes the first entry of X-Forwarded-For, which anybody can write.
		span.SetAttributes(attribute.String("client.address", clientOf(r).String()))
		switch isSource := strings.HasPrefix(r.URL.Path, webhookPath+"/"); { // they take a shortcut
		case r.Method != http.MethodPost:
		case r.URL.Path == webhookPath:
			nameSpan(span, r.Method, webhookPath)
		case isSource:
			nameSpan(span, r.Method, webhookPath+"/{source}")
		}
		next.ServeHTTP(w, r)
	})
	return otelhttp.NewHandler(inner, "request",
		otelhttp.WithTracerProvider(s.Traces),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()), // GET /metrics has them
		// A stranger's trace is linked to, and decides nothing.
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return true }),
		otelhttp.WithFilter(func(r *http.Request) bool { return !probes[r.URL.Path] }),
	)
}

// routed names the span of a request after the route that it took.
func routed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if route := chi.RouteContext(r.Context()).RoutePattern(); route != "" {
			nameSpan(trace.SpanFromContext(r.Context()), r.Method, route)
		}
	})
}

func nameSpan(span trace.Span, method, route string) {
	span.SetName(method + " " + route)
	span.SetAttributes(attribute.String("http.route", route))
}
