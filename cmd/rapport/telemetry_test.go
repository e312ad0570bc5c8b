package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collectorlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collectortraces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"rapport/store/storetest"
)

// collector is an OTLP/HTTP receiver.
type collector struct {
	URL string

	mu    sync.Mutex
	spans []*tracepb.Span // guarded by mu, and the rest too
	logs  []string
	all   strings.Builder // whatever was received, headers included
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.receive(r); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

func (c *collector) receive(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
		var zipped *gzip.Reader
		if zipped, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(zipped)
		}
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.URL.Path {
	case "/v1/traces":
		var request collectortraces.ExportTraceServiceRequest
		err = proto.Unmarshal(body, &request)
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
		c.all.WriteString(request.String())
	case "/v1/logs":
		var request collectorlogs.ExportLogsServiceRequest
		err = proto.Unmarshal(body, &request)
		for _, resource := range request.ResourceLogs {
			for _, scope := range resource.ScopeLogs {
				for _, record := range scope.LogRecords {
					c.logs = append(c.logs, record.Body.GetStringValue())
				}
			}
		}
		c.all.WriteString(request.String())
	}
	return err
}

// span is the first one of a name, nil if there is none.
func (c *collector) span(name string) *tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range c.spans {
		if span.Name == name {
			return span
		}
	}
	return nil
}

func attributesOf(span *tracepb.Span) map[string]any {
	values := make(map[string]any)
	for _, attribute := range span.GetAttributes() {
		switch value := attribute.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			values[attribute.Key] = value.StringValue
		case *commonpb.AnyValue_IntValue:
			values[attribute.Key] = value.IntValue
		}
	}
	return values
}

func TestTelemetryHasRoutesAndStatusAndNothingThatWasSaid(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	to := newCollector(t)
	const text = "plover said this"
	p := serve(t, nil, "OTEL_EXPORTER_OTLP_ENDPOINT="+to.URL, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer "+marker,
		"OTEL_BSP_SCHEDULE_DELAY=50", "RAPPORT_DATABASE_URL="+db.URL("rapport_server"),
		"RAPPORT_WEBHOOK_TOKEN="+marker, "RAPPORT_API_TOKEN="+marker+"-api")
	now := float64(time.Now().Unix())
	p.post(chat("s", text, now), "X-Webhook-Secret", marker, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"X-Forwarded-For", "203.0.113.9")
	p.post(chat("s", text, now), "X-Webhook-Secret", marker+"-wrong")
	p.post("{"+text, "X-Webhook-Secret", marker)
	for _, path := range []string{"/sessions?min_position=1", "/sessions/s/messages?min_position=1", "/sessions?agent_id=" + marker, "/sessions?token=" + marker, "/stats",
		"/healthz", "/nowhere"} {
		fetch(t, p.base+path, marker+"-api")
	}
	eventually(t, "the spans arrive", func() bool { return to.span("GET /sessions/{session_id}/messages") != nil })
	p.terminate() // what is left is flushed

	delivery := to.span("POST /webhook")
	got := attributesOf(delivery)
	if got["http.route"] != "/webhook" || got["http.response.status_code"] != int64(200) || got["client.address"] != "127.0.0.1" {
		t.Errorf("the span of a delivery: %v", got)
	}
	if len(delivery.GetParentSpanId()) > 0 || len(delivery.GetLinks()) != 1 {
		t.Errorf("a stranger's trace is linked to, and is no parent: %v", delivery)
	}
	if read := to.span("GET /sessions"); attributesOf(read)["http.route"] != "/sessions" {
		t.Errorf("the span of a read: %v", read)
	}
	if stats := attributesOf(to.span("GET /stats")); stats["http.response.status_code"] != int64(200) || to.span("batch") == nil {
		t.Errorf("the span of a read whose statements are sent together: %v", stats)
	}
	if to.span("commit deliveries") == nil || to.span("GET /healthz") != nil {
		t.Error("a commit has a span, and a probe has none")
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	statements := 0
	for _, span := range to.spans {
		if strings.HasPrefix(span.Name, "Session") || strings.HasPrefix(span.Name, "Message") {
			statements++
		}
	}
	if statements == 0 {
		t.Errorf("the statements of a read have spans, by their names in queries/")
	}
	if logs := strings.Join(to.logs, "\n"); !strings.Contains(logs, "rapport is ready") || !strings.Contains(logs, "stopped") {
		t.Errorf("the log, to its end, is not there:\n%s", logs)
	}
	noMarker(t, "telemetry", to.all.String())
	if strings.Contains(to.all.String(), "plover") || strings.Contains(p.output(), marker) {
		t.Errorf("what was said is in telemetry:\n%s", to.all.String())
	}
}

func TestWithoutItsVariablesNothingGoesToACollector(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]map[string]string{
		"none is set":     {},
		"disabled":        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		"both are none":   {"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		"metrics are not": {"OTEL_METRICS_EXPORTER": "otlp"},
	} {
		got, err := openTelemetry(t.Context(), func(name string) string { return env[name] }, silent)
		if err != nil || got.requests() != nil || got.statements() != nil || got.logs != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestTelemetryThatCannotWorkIsAnErrorWithoutSecrets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  []string
		says string
	}{
		"exporter": {[]string{"OTEL_TRACES_EXPORTER=" + marker}, "OTEL_TRACES_EXPORTER must be otlp or none"},
		"protocol": {[]string{"OTEL_LOGS_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, "must be http/protobuf"},
		"endpoint": {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=://" + marker}, "OTEL_EXPORTER_OTLP_ENDPOINT can't be read"},
		"password": {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://u:" + marker + "@127.0.0.1"}, "must hold no password"},
		"headers":  {[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_HEADERS=" + marker}, "OTEL_EXPORTER_OTLP_HEADERS can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, stderr, code := runRapport(t, []string{"serve", "--listen", "127.0.0.1:0", "--data-dir", dataDir(t)}, c.env...)
			oneLineError(t, stderr, code, c.says)
			noMarker(t, name, out+stderr)
		})
	}
}

func TestACollectorThatIsAwayHoldsNothingUp(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hanging.Close()
	defer close(release)
	p := serve(t, nil, "OTEL_EXPORTER_OTLP_ENDPOINT="+hanging.URL+"/"+marker, "RAPPORT_DATABASE_URL="+db.URL("rapport_server"))
	if got := p.post(chat("s", "one", float64(time.Now().Unix()))); got.Code != 200 {
		t.Errorf("got %+v", got)
	}
	p.terminate() // within 10 s
	noMarker(t, "the log", p.output())
}
