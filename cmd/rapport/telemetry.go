package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/go-logr/logr"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"rapport/store/ingest"
)

// telemetry is what goes to an OpenTelemetry collector, as the OTEL_* variables say.
// Its zero value sends nothing, and costs nothing.
type telemetry struct {
	traces *sdktrace.TracerProvider // nil: none
	logs   *sdklog.LoggerProvider   // nil: none
}

// flushTimeout is for how long an end waits for the collector. It is part of the
// 10 s that SIGTERM may take.
const flushTimeout = time.Second

// openTelemetry reads the OTEL_* variables. Whatever fails later is told to the logger.
func openTelemetry(ctx context.Context, getenv func(string) string, logger *slog.Logger) (*telemetry, error) {
	t := &telemetry{}
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return t, nil
	}
	traces, err1 := exports("TRACES", getenv)
	logs, err2 := exports("LOGS", getenv)
	if err := errors.Join(err1, err2); err != nil || !traces && !logs {
		return t, err
	}
	// The SDK's own messages repeat what it can't read, passwords included.
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(exportErrors(getenv, logger))
	// Without what finds out about the process, for that has its command line.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "rapport"), attribute.String("service.version", release)),
		resource.WithFromEnv())
	if err != nil {
		return nil, errors.New("OTEL_RESOURCE_ATTRIBUTES can't be read: it must be like key=value,key=value")
	}
	if traces {
		exporter, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, errors.New("the OTEL_EXPORTER_OTLP_* variables can't be used for traces: look at those for certificates")
		}
		t.traces = sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	}
	if logs {
		exporter, err := otlploghttp.New(ctx)
		if err != nil {
			return nil, errors.New("the OTEL_EXPORTER_OTLP_* variables can't be used for logs: look at those for certificates")
		}
		t.logs = sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)), sdklog.WithResource(about))
	}
	return t, nil
}

// exports reports whether a signal (TRACES or LOGS) is wanted, and checks what the SDK
// would pass over silently.
func exports(signal string, getenv func(string) string) (bool, error) {
	endpoint, endpointName := getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT"), "OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT"
	if endpoint == "" {
		endpoint, endpointName = getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), "OTEL_EXPORTER_OTLP_ENDPOINT"
	}
	switch getenv("OTEL_" + signal + "_EXPORTER") {
	case "":
		if endpoint == "" {
			return false, nil
		}
	case "none":
		return false, nil
	case "otlp":
	default:
		return false, fmt.Errorf("OTEL_%s_EXPORTER must be otlp or none", signal)
	}
	protocol := cmp.Or(getenv("OTEL_EXPORTER_OTLP_"+signal+"_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
	if protocol != "http/protobuf" {
		return false, errors.New("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, which collectors take on port 4318")
	}
	if u, err := url.Parse(endpoint); endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return false, fmt.Errorf("%s can't be read: it must be like http://127.0.0.1:4318", endpointName)
	} else if endpoint != "" && u.User != nil {
		return false, fmt.Errorf("%s must hold no password: use OTEL_EXPORTER_OTLP_HEADERS", endpointName)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_" + signal + "_HEADERS"} {
		for item := range strings.SplitSeq(getenv(name), ",") {
			if strings.TrimSpace(item) != "" && !strings.Contains(item, "=") {
				return false, fmt.Errorf("%s can't be read: it must be like key=value,key=value", name)
			}
		}
	}
	return true, nil
}

// exportErrors logs some of what fails, without the collector's address, which may
// have a key in its path.
func exportErrors(getenv func(string) string, logger *slog.Logger) otel.ErrorHandler {
	some := &rate.Sometimes{First: 1, Interval: time.Minute}
	return otel.ErrorHandlerFunc(func(err error) {
		some.Do(func() {
			text := err.Error()
			for _, signal := range []string{"", "TRACES_", "LOGS_"} {
				if endpoint := getenv("OTEL_EXPORTER_OTLP_" + signal + "ENDPOINT"); endpoint != "" {
					text = strings.ReplaceAll(text, endpoint, "the collector")
				}
			}
			logger.Warn("telemetry could not be sent", "error", text)
		})
	})
}

// close sends what is left, but not for long.
func (t *telemetry) close() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	var flushing sync.WaitGroup
	if t.traces != nil {
		flushing.Go(func() { _ = t.traces.Shutdown(ctx) }) // told to exportErrors
	}
	if t.logs != nil {
		flushing.Go(func() { _ = t.logs.Shutdown(ctx) })
	}
	flushing.Wait()
}

// logger is one that writes to the collector too, the same records.
func (t *telemetry) logger(to *slog.Logger, least slog.Level) *slog.Logger {
	if t.logs == nil {
		return to
	}
	bridge := otelslog.NewHandler("rapport", otelslog.WithLoggerProvider(t.logs))
	return slog.New(slog.NewMultiHandler(to.Handler(), levelHandler{bridge, least}))
}

// levelHandler passes on what is at least of a level.
type levelHandler struct {
	slog.Handler
	least slog.Level
}

// Enabled reports whether the level is high enough.
func (h levelHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.least && h.Handler.Enabled(ctx, level)
}

// WithAttrs is as slog wants it.
func (h levelHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return levelHandler{h.Handler.WithAttrs(attrs), h.least}
}

// WithGroup is as slog wants it.
func (h levelHandler) WithGroup(name string) slog.Handler {
	return levelHandler{h.Handler.WithGroup(name), h.least}
}

// requests is who makes the spans of requests; nil: nobody.
func (t *telemetry) requests() trace.TracerProvider {
	if t.traces == nil {
		return nil
	}
	return t.traces
}

// onCommit adds a span of its own for each commit of deliveries: it belongs to many
// requests, and to no single one.
func (t *telemetry) onCommit(next func(ingest.Commit)) func(ingest.Commit) {
	if t.traces == nil {
		return next
	}
	tracer := t.traces.Tracer("rapport")
	return func(commit ingest.Commit) {
		end := time.Now()
		_, span := tracer.Start(context.Background(), "commit deliveries", trace.WithTimestamp(end.Add(-commit.Took)),
			trace.WithAttributes(attribute.Int("rapport.events", commit.Events), attribute.Int("rapport.duplicates", commit.Duplicates)))
		span.End(trace.WithTimestamp(end))
		next(commit)
	}
}

// statements makes a span of each statement within a request; nil: nobody does.
func (t *telemetry) statements() pgx.QueryTracer {
	if t.traces == nil {
		return nil
	}
	return statementTracer{otelpgx.NewTracer(otelpgx.WithTracerProvider(t.traces), otelpgx.WithDisableSQLStatementInAttributes(),
		otelpgx.WithDisableConnectionDetailsInAttributes(), otelpgx.WithSpanNameCtxFunc(statementName))}
}

// statementName is the name that the statement has in queries/, or its first word: the
// rest may hold what a user asked.
func statementName(ctx context.Context, sql string) string {
	if fields := strings.Fields(sql[:min(len(sql), 200)]); len(fields) > 2 && fields[0] == "--" && fields[1] == "name:" {
		return fields[2]
	}
	return otelpgx.SQLOperationName(ctx, sql)
}

// statementTracer keeps the messages of Postgres to itself: they can repeat a value. Only
// the code passes.
type statementTracer struct{ tracer *otelpgx.Tracer }

// TraceQueryStart begins a span, if there is one around it.
func (t statementTracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return t.tracer.TraceQueryStart(ctx, conn, data)
}

// TraceQueryEnd ends it.
func (t statementTracer) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	data.Err = withoutValues(data.Err)
	t.tracer.TraceQueryEnd(ctx, conn, data)
}

// TraceBatchStart begins a span of all statements of a batch. (Were it not there, pgx would
// end the span around the batch with its first statement.)
func (t statementTracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	ctx = t.tracer.TraceBatchStart(ctx, conn, data)
	trace.SpanFromContext(ctx).SetName("batch") // that of the batch, or one that records nothing
	return ctx
}

// TraceBatchQuery is a span of one of them.
func (t statementTracer) TraceBatchQuery(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchQueryData) {
	data.Err = withoutValues(data.Err)
	t.tracer.TraceBatchQuery(ctx, conn, data)
}

// TraceBatchEnd ends it.
func (t statementTracer) TraceBatchEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchEndData) {
	data.Err = withoutValues(data.Err)
	t.tracer.TraceBatchEnd(ctx, conn, data)
}

func withoutValues(err error) error {
	if err == nil || slices.ContainsFunc([]error{pgx.ErrNoRows, context.Canceled, context.DeadlineExceeded},
		func(known error) bool { return errors.Is(err, known) }) {
		return err
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return &pgconn.PgError{Severity: pg.Severity, Code: pg.Code, Message: "refused by Postgres"}
	}
	return errors.New("the statement failed; the log says why")
}
