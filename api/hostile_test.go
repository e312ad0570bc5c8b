package api

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// leak is what no answer may tell: the inside of the program, of the machine or
// of the database. None of it is in what the requests below are made of.
var leak = regexp.MustCompile(`pgx|pgconn|SQLSTATE|goroutine \d|\.go:\d|runtime error|panic:|/root/|/home/|syntax error at|` +
	`relation "|column "|constraint|postgres(ql)?://|rapport_(server|owner|eraser)|dbsqlc|s3cret-admin`)

// hostileRequests is few where all tests run; docs/security.md asks for 10,000.
var hostileRequests = flag.Int("hostile", 2000, "how many hostile requests are made up")

func TestHostileRequestsAreAnsweredCalmly(t *testing.T) {
	t.Parallel()
	const workers = 4
	l := newLive(t, Config{APIToken: "s3cret-admin"})
	l.deliver(t, said("A", "s-1", "user", "hello", 0), said("B", "s/2 ü", "user", "hello", 1))
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	operations := operationsOf(t, l)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wait sync.WaitGroup
	for i := range workers {
		wait.Go(func() {
			h := &hostile{Rand: rand.New(rand.NewPCG(seed, uint64(i))), operations: operations}
			wire := &rawWire{addr: server.Listener.Addr().String()}
			defer wire.close()
			for range *hostileRequests / workers {
				request := h.request()
				if problem := calm(wire, request); problem != "" {
					t.Errorf("%s\n%.2000q", problem, request)
					return
				}
			}
		})
	}
	wait.Wait()
	if w := get(l, "/sessions", "Authorization", "Bearer s3cret-admin"); w.Code != http.StatusOK {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
}

// calm says what is wrong with the answer to a request; empty if nothing is.
func calm(wire *rawWire, request string) string {
	status, header, body, err := wire.ask(request)
	switch {
	case err != nil && !hasTarget(request):
		return "" // net/http answers, and closes at once: the answer can be lost
	case err != nil:
		return "no answer: " + err.Error()
	case status == http.StatusServiceUnavailable && header.Get("Retry-After") != "" && strings.Contains(request, "min_position"):
		return "" // the rollups don't have that position yet
	case status >= 500:
		return fmt.Sprintf("answered %d: %s", status, body)
	}
	if found := leaked(body); found != "" {
		return fmt.Sprintf("the answer tells %q: %s", found, body)
	}
	return ""
}

// clean has the bodies that tell nothing, by their hash: the great documents are the
// same each time, and looking through them takes longest.
var clean sync.Map

func leaked(body string) string {
	hash := sha256.Sum256([]byte(body))
	if _, known := clean.Load(hash); known {
		return ""
	}
	found := leak.FindString(body)
	if found == "" {
		clean.Store(hash, true)
	}
	return found
}

// hasTarget reports whether the request line names something.
func hasTarget(request string) bool {
	fields := strings.SplitN(request, " ", 3)
	_, err := url.ParseRequestURI(fields[1])
	return err == nil
}

// operation is what the OpenAPI document says of a route.
type operation struct {
	method, path string
	query        []string
}

// operationsOf reads the document, so that a new route is attacked as well.
func operationsOf(t *testing.T, h http.Handler) []operation {
	t.Helper()
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	w := get(h, "/openapi.json", "Authorization", "Bearer s3cret-admin")
	if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	var operations []operation
	for path, methods := range document.Paths {
		for method, described := range methods {
			o := operation{method: strings.ToUpper(method), path: path}
			for _, p := range described.Parameters {
				if p.In == "query" {
					o.query = append(o.query, p.Name)
				}
			}
			operations = append(operations, o)
		}
	}
	slices.SortFunc(operations, func(a, b operation) int { return strings.Compare(a.method+a.path, b.method+b.path) })
	if len(operations) < 8 {
		t.Fatalf("only %d operations are described", len(operations))
	}
	return operations
}

// hostile makes requests that no friend would send.
type hostile struct {
	*rand.Rand
	operations []operation
}

var (
	hostileValues = []string{
		"", " ", "0", "-1", "1", "50", "1001", "9223372036854775808", "-9223372036854775809", "1e309", "NaN", "0x10", "١٢", "true", "null",
		"%00", "%ff%fe", "%", "%zz", "%2", "%u0041", "%C0%AF", "..%2f..%2fetc", "a%0d%0aSet-Cookie:%20x=1", "A", "s-1", "s%2F2%20%C3%BC",
		"'", "%27%20OR%201=1--", "%22;DROP%20TABLE%20events;--", "%5C", "$1", "{}", "[]", "{{7*7}}", "%3Cscript%3E", "*", "/", ";", "a;b=c", "&", "=",
		"2026-09-28T12:00:00Z", "2026-13-01T00:00:00Z", "0000-00-00", "99999-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "2026-09-28",
		"2026-09-28T12:00:00%2B25:00", "1s", "-5s", "0s", "1ns", "9999999h", "5", "-started_at", "message_count,started_at", "password",
		"eyJhIjoxfQ", "eyJhIjoxfQ==", "////", "AAAA", "open", "closed", "deep", "NONE", "csv", "%F0%9F%92%A9", "%E2%80%AE", "%EF%BF%BF",
	}
	hostileMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"}
	hostileHeaders = []string{
		"Accept: */*;q=x", "Accept: text/csv", "Accept: " + strings.Repeat("a/b,", 500), "Accept-Encoding: gzip;q=2, br", "Range: bytes=0-",
		"If-None-Match: *", "If-None-Match: \"", "If-Modified-Since: never", "Content-Type: application/xml", "Content-Type: ;;;", "Origin: null",
		"Origin: https://evil.example", "Cookie: __Host-rapport=x; rapport=y; =", "X-Forwarded-For: 1.2.3.4, ::1, unknown", "Forwarded: for=\"[::1\";;proto=",
		"X-HTTP-Method-Override: DELETE", "Expect: nothing", "Connection: Authorization", "X-bitHuman-Signature: sha256=00", "webhook-signature: v1,AAAA",
		"webhook-timestamp: 99999999999999999999", "X-bitHuman-Signature: t=x,v1=", "Authorization: Basic eDp5", "Last-Event-ID: -1", "traceparent: 00-zz-zz-00",
	}
	hostileBodies = []string{
		"", "{", "{}", "[]", "null", "\x00", "\xff\xfe", `{"event_type":"chat.push","data":[]}`, `{"event_type":{},"timestamp":1e400}`,
		`{"event_type":"chat.push","timestamp":"2026-02-30T00:00:00Z","data":{"message":"\ud800","session_id":"\u0000"}}`,
		strings.Repeat(`{"a":`, 150) + "1" + strings.Repeat("}", 150), `{"event_type":"x","event_type":"y"}`, "key=" + strings.Repeat("A", 1500),
		`{"event_type":"chat.push","agent_id":"` + strings.Repeat("a", 600) + `"}`, `{"type":"room.join","data":{"participants":1e99,"session_id":7}}`,
	}
)

func (h *hostile) of(list []string) string { return list[h.IntN(len(list))] }

func (h *hostile) value() string {
	v := h.of(hostileValues)
	switch h.IntN(10) {
	case 0:
		return strings.Repeat(v, h.IntN(300))
	case 1:
		return v + h.of(hostileValues)
	}
	return v
}

// request is raw: what a client's library would refuse to send can be in it.
func (h *hostile) request() string {
	o := h.operations[h.IntN(len(h.operations))]
	method := o.method
	if h.IntN(10) == 0 {
		method = h.of(hostileMethods)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\n", method, h.target(o))
	if h.IntN(20) > 0 {
		b.WriteString("Authorization: Bearer s3cret-admin\r\n")
	}
	for range h.IntN(3) {
		b.WriteString(h.of(hostileHeaders) + "\r\n")
	}
	body := ""
	if method != "GET" || h.IntN(10) == 0 {
		body = h.of(hostileBodies)
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

var pathParameter = regexp.MustCompile(`\{[^}]+\}`)

func (h *hostile) target(o operation) string {
	path := pathParameter.ReplaceAllStringFunc(o.path, func(string) string { return h.value() })
	path = strings.NewReplacer(" ", "%20", "?", "%3F").Replace(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	var query []string
	for range h.IntN(4) {
		name := url.QueryEscape(h.of(append([]string{"nothing", "limit", "cursor", "%00", ""}, o.query...)))
		if name == "wait" {
			query = append(query, "wait=1ms") // nobody has time
			continue
		}
		value := h.value()
		query = append(query, name+"="+strings.ReplaceAll(value, " ", "+"))
	}
	if strings.Contains(strings.Join(query, "&"), "min_position") {
		query = append(query, "wait=1ms")
	}
	if len(query) == 0 {
		return path
	}
	return path + "?" + strings.Join(query, "&")
}

// rawWire sends requests as they are over a connection that it keeps as long as
// the server does.
type rawWire struct {
	addr   string
	conn   net.Conn
	reader *bufio.Reader
}

func (w *rawWire) close() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

func (w *rawWire) ask(request string) (status int, header http.Header, body string, err error) {
	if w.conn == nil {
		if w.conn, err = net.Dial("tcp", w.addr); err != nil {
			return 0, nil, "", err
		}
		w.reader = bufio.NewReader(w.conn)
	}
	_ = w.conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(w.conn, request); err != nil {
		w.close()
		return 0, nil, "", err
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(w.reader, &http.Request{Method: method})
	if err != nil {
		w.close()
		return 0, nil, "", err
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") { // it has no end
		first := make([]byte, 4096)
		n, err := response.Body.Read(first)
		w.close()
		if errors.Is(err, io.EOF) {
			err = nil // as of a HEAD
		}
		return response.StatusCode, response.Header, string(first[:n]), err
	}
	text, err := io.ReadAll(response.Body)
	if err != nil || response.Close {
		w.close()
	}
	return response.StatusCode, response.Header, string(text), err
}
