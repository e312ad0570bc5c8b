package api

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
)

const requestIDHeader = "X-Request-Id"

// observe is around every request but deliveries: it gives it an id, logs it,
// and answers 500 where a handler panics.
func (s *server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		w.Header().Set(requestIDHeader, requestID(r.Header.Get(requestIDHeader)))
		defer func() {
			if cause := recover(); cause != nil {
				s.recovered(rec, r, cause)
			}
			s.logAccess(rec, r, time.Since(start))
		}()
		next.ServeHTTP(rec, r)
	})
}

// requestID is the id that came, if it is a sane one, or else a new one: what
// tells this process apart, and a number.
func requestID(came string) string {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	if came == "" || len(came) > 64 || strings.Trim(came, allowed) != "" {
		return processID + strconv.FormatUint(requests.Add(1), 36)
	}
	return came
}

var (
	processID = rand.Text()[:10] + "-"
	requests  atomic.Uint64
)

// recovered answers for a handler that panicked. An answer that has begun can
// only be cut off.
func (s *server) recovered(rec *recorder, r *http.Request, cause any) {
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	s.Logger.Error("a handler panicked", "request_id", rec.Header().Get(requestIDHeader),
		"method", r.Method, "path", r.URL.Path, "panic", cause, "stack", string(debug.Stack()))
	if rec.status != 0 {
		panic(http.ErrAbortHandler)
	}
	internalError().write(rec)
}

// logAccess logs neither headers nor bodies nor the query: they may hold proofs
// and what people said.
func (s *server) logAccess(rec *recorder, r *http.Request, took time.Duration) {
	level := slog.LevelInfo
	if probes[r.URL.Path] || rec.status == http.StatusTooManyRequests { // of which the metrics tell, and a flood would fill the disk
		level = slog.LevelDebug
	}
	s.Logger.LogAttrs(r.Context(), level, "request",
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", rec.sent()),
		slog.Int64("bytes", rec.bytes), tookMs(took),
		slog.String("request_id", rec.Header().Get(requestIDHeader)))
}

// probes come every few seconds, and say nothing new.
var probes = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

// tookMs is a duration as every reader of logs understands it.
func tookMs(took time.Duration) slog.Attr {
	return slog.Float64("took_ms", float64(took.Microseconds())/1000)
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int // 0 until the header is written
	bytes  int64
}

func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) Write(p []byte) (int, error) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	n, err := rec.ResponseWriter.Write(p)
	rec.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// sent is the status that went out: net/http's 200 where nothing was written.
func (rec *recorder) sent() int {
	if rec.status == 0 {
		return http.StatusOK
	}
	return rec.status
}

type requestIDKey struct{}

// identify passes the request's id on to the handlers of huma.
func identify(ctx huma.Context, next func(huma.Context)) {
	_, w := humachi.Unwrap(ctx)
	next(huma.WithValue(ctx, requestIDKey{}, w.Header().Get(requestIDHeader)))
}

func requestIDOf(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
