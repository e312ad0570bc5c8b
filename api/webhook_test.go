package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rapport/api/webhook"
	"rapport/store/ingest"
	"rapport/store/storetest"
)

const (
	join = `{"agent_id":"a1","event_type":"room.join","data":{"session_id":"s1"},"timestamp":1790607253.5}`
	chat = `{"agent_id":"a1","event_type":"chat.push","data":{"role":"user","message":"hi","session_id":"s1"},"timestamp":1790607254}`
)

func wantBody(t *testing.T, w *httptest.ResponseRecorder, body string) {
	t.Helper()
	if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != body {
		t.Errorf("%d %s, want 200 %s", w.Code, w.Body, body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
}

func wantWebhooks(t *testing.T, h http.Handler, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if got := metricLines(t, h, "webhook_requests_total"+line); len(got) != 1 {
			t.Errorf("no %s among %v", line, metricLines(t, h, "webhook_requests_total"))
		}
	}
	if got := metricLines(t, h, "webhook_requests_total"); len(got) != len(lines) {
		t.Errorf("%v, want %v", got, lines)
	}
}

func TestADeliveryIsAnsweredWithItsPosition(t *testing.T) {
	t.Parallel()
	log := &memoryLog{}
	h := newServer(t, options{log: log})
	wantBody(t, post(h, join), `{"status":"success","position":1}`)
	wantBody(t, post(h, chat), `{"status":"success","position":2}`)
	wantBody(t, post(h, join), `{"status":"success","position":1,"duplicate":true}`)
	wantBody(t, post(h, `{"event_type":"video.completed"}`), `{"status":"success","position":3}`)
	wantWebhooks(t, h,
		`{event_type="room.join",status="success"} 1`, `{event_type="chat.push",status="success"} 1`,
		`{event_type="room.join",status="duplicate"} 1`, `{event_type="other",status="success"} 1`)
	if got, want := log.events[0].ReceivedAt, noon.Truncate(time.Microsecond); !got.Equal(want) {
		t.Errorf("received at %v, want %v", got, want)
	}
	if got := string(log.events[0].Payload); got != join {
		t.Errorf("payload %s", got)
	}
	for name, want := range map[string]string{
		"webhook_processing_seconds_count": "webhook_processing_seconds_count 4",
		"rapport_duplicates_total":         "rapport_duplicates_total 1",
		"rapport_commit_seconds_count":     "rapport_commit_seconds_count 4",
		"rapport_batch_events_sum":         "rapport_batch_events_sum 4",
	} {
		if got := metricLines(t, h, name); len(got) != 1 || got[0] != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
}

func TestWhatIsNoEventIsQuarantined(t *testing.T) {
	t.Parallel()
	log := &memoryLog{}
	h := newServer(t, options{log: log})
	for i, body := range []string{"", "{", "[]", `{"agent_id":"a1"}`, `{"event_type":"chat.push","timestamp":1}`, "\xff"} {
		p := wantProblem(t, post(h, body, "User-Agent", "sender/1"), http.StatusUnprocessableEntity)
		if len(log.bodies) != i+1 || log.bodies[i] != body || p["detail"] != log.reasons[i] {
			t.Fatalf("%q: detail %q, quarantine %q %q", body, p["detail"], log.bodies, log.reasons)
		}
		if log.headers[i]["User-Agent"] != "sender/1" {
			t.Errorf("headers %v", log.headers[i])
		}
	}
	wantWebhooks(t, h, `{event_type="unknown",status="quarantined"} 6`)
	if len(log.events) != 0 {
		t.Errorf("the log has %d events", len(log.events))
	}
}

func TestProofs(t *testing.T) {
	t.Parallel()
	log := &memoryLog{}
	h := newServer(t, options{log: log, secrets: []string{"secret"}, tokens: []string{"token"}})
	signature := webhook.SignLegacy("secret", []byte(join))
	refused := [][]string{
		nil,
		{"Authorization", "Bearer other"},
		{"X-bitHuman-Signature", webhook.SignLegacy("other", []byte(join))},
		{"X-bitHuman-Signature", webhook.SignLegacy("other", []byte(join)), "Authorization", "Bearer token"},
		{"X-bitHuman-Signature", "sha256=..."},
	}
	for _, headers := range refused {
		w := post(h, join, headers...)
		wantProblem(t, w, http.StatusUnauthorized)
		if w.Header().Get("WWW-Authenticate") == "" {
			t.Error("no WWW-Authenticate")
		}
	}
	if len(log.events)+len(log.bodies) != 0 {
		t.Error("something was kept")
	}
	wantBody(t, post(h, join, "X-bitHuman-Signature", signature), `{"status":"success","position":1}`)
	wantBody(t, post(h, chat, "X-API-Key", "token"), `{"status":"success","position":2}`)
	wantProblem(t, post(h, "no event", "X-API-Key", "token"), http.StatusUnprocessableEntity)
	wantWebhooks(t, h, fmt.Sprintf(`{event_type="unknown",status="error"} %d`, len(refused)),
		`{event_type="room.join",status="success"} 1`, `{event_type="chat.push",status="success"} 1`,
		`{event_type="unknown",status="quarantined"} 1`)
	want := fmt.Sprintf(`rapport_unauthorized_total{request="webhook"} %d`, len(refused))
	if got := metricLines(t, h, "rapport_unauthorized_total"); len(got) != 1 || got[0] != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestAnUnprovenBodyIsNotRead(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{tokens: []string{"token"}})
	r := newRequest(http.MethodPost, "/webhook", failingReader{t})
	wantProblem(t, send(h, r), http.StatusUnauthorized)
}

type failingReader struct{ t *testing.T }

func (r failingReader) Read([]byte) (int, error) {
	r.t.Error("the body is read")
	return 0, io.EOF
}

func TestWhatCannotBeKeptIsToBeSentAgain(t *testing.T) {
	t.Parallel()
	fast := ingest.Options{Deadline: time.Millisecond}
	for name, o := range map[string]options{
		"no database": {log: &memoryLog{err: errors.New("the password is hunter2")}, ingest: fast},
		"overloaded":  {ingest: ingest.Options{MaxWaitingBytes: 1}},
		"shut down":   {stopped: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newServer(t, o)
			w := post(h, join)
			p := wantProblem(t, w, http.StatusServiceUnavailable)
			if w.Header().Get("Retry-After") != "1" {
				t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
			}
			if strings.Contains(p["detail"].(string), "hunter2") {
				t.Errorf("the cause leaked: %v", p["detail"])
			}
			wantWebhooks(t, h, `{event_type="room.join",status="error"} 1`)
		})
	}
	t.Run("no database for the quarantine", func(t *testing.T) {
		t.Parallel()
		h := newServer(t, options{log: &memoryLog{err: errors.New("away")}, ingest: fast})
		wantProblem(t, post(h, "no event"), http.StatusServiceUnavailable)
		wantWebhooks(t, h, `{event_type="unknown",status="error"} 1`)
	})
	t.Run("a sender that does not wait is not told 200", func(t *testing.T) {
		t.Parallel()
		h := newServer(t, options{log: &memoryLog{err: errors.New("away")}, ingest: fast})
		r := newRequest(http.MethodPost, "/webhook", strings.NewReader(join))
		ctx, leave := context.WithCancel(r.Context())
		leave()
		wantProblem(t, send(h, r.WithContext(ctx)), http.StatusServiceUnavailable)
	})
	t.Run("what is no event is kept though the sender left", func(t *testing.T) {
		t.Parallel()
		log := &memoryLog{}
		h := newServer(t, options{log: log})
		r := newRequest(http.MethodPost, "/webhook", strings.NewReader("no event"))
		ctx, leave := context.WithCancel(r.Context())
		leave()
		send(h, r.WithContext(ctx))
		if len(log.bodies) != 1 {
			t.Error("it is lost")
		}
	})
}

func TestWhatTheDatabaseRefusesIsQuarantined(t *testing.T) {
	t.Parallel()
	log := &memoryLog{err: &pgconn.PgError{Code: "22021", Message: "internals"}}
	h := newServer(t, options{log: log})
	w := post(h, join)
	wantProblem(t, w, http.StatusUnprocessableEntity)
	if strings.Contains(w.Body.String(), "internals") {
		t.Errorf("internals leaked: %s", w.Body)
	}
	if len(log.bodies) != 1 || log.bodies[0] != join {
		t.Errorf("quarantine %q", log.bodies)
	}
	wantWebhooks(t, h, `{event_type="room.join",status="quarantined"} 1`)
}

func TestTheLongestBody(t *testing.T) {
	t.Parallel()
	const limit = 200
	h := newServer(t, options{config: Config{MaxBodyBytes: limit}})
	padded := func(size int) string {
		const begin, end = `{"event_type":"test","note":"`, `"}`
		return begin + strings.Repeat("x", size-len(begin)-len(end)) + end
	}
	for name, declared := range map[string]bool{"declared": true, "chunked": false} {
		deliver := func(size int) *httptest.ResponseRecorder {
			r := newRequest(http.MethodPost, "/webhook", strings.NewReader(padded(size)))
			if !declared {
				r.ContentLength = -1
			}
			return send(h, r)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if w := deliver(limit); w.Code != http.StatusOK {
				t.Errorf("%d bytes: %d %s", limit, w.Code, w.Body)
			}
			w := deliver(limit + 1)
			wantProblem(t, w, http.StatusRequestEntityTooLarge)
			if w.Header().Get("Connection") != "close" {
				t.Error("the connection is not closed")
			}
		})
	}
	t.Run("a declared length is refused unread", func(t *testing.T) {
		t.Parallel()
		r := newRequest(http.MethodPost, "/webhook", failingReader{t})
		r.ContentLength = limit + 1
		wantProblem(t, send(h, r), http.StatusRequestEntityTooLarge)
	})
	t.Run("it is 1 MiB by default", func(t *testing.T) {
		t.Parallel()
		h := newServer(t, options{})
		if w := post(h, padded(1<<20)); w.Code != http.StatusOK {
			t.Errorf("1 MiB: %d", w.Code)
		}
		wantProblem(t, post(h, padded(1<<20+1)), http.StatusRequestEntityTooLarge)
	})
}

// A client that never sends the rest is answered nevertheless, and the
// connection is closed.
func TestTheRestOfABodyTooLongIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	const head = "POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	for name, request := range map[string]string{
		"declared":           head + "Content-Length: 99999999\r\n\r\n{",
		"declared, expected": head + "Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n",
		"chunked":            head + "Transfer-Encoding: chunked\r\n\r\n100001\r\n" + strings.Repeat("x", 1<<20+1) + "\r\nfffff\r\nx",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(newServer(t, options{}))
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != http.StatusRequestEntityTooLarge || !answer.Close {
				t.Errorf("status %d, close %v", answer.StatusCode, answer.Close)
			}
			if _, err := io.ReadAll(answer.Body); err != nil {
				t.Error(err)
			}
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("the connection is not closed")
			}
		})
	}
}

func TestABodyThatBreaksOffIsNotKept(t *testing.T) {
	t.Parallel()
	log := &memoryLog{}
	h := newServer(t, options{log: log})
	r := newRequest(http.MethodPost, "/webhook", io.MultiReader(strings.NewReader(join[:20]), brokenReader{}))
	wantProblem(t, send(h, r), http.StatusBadRequest)
	if len(log.events)+len(log.bodies) != 0 {
		t.Error("something was kept")
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestHeadersThatAreKept(t *testing.T) {
	t.Parallel()
	log := &memoryLog{}
	h := newServer(t, options{log: log, tokens: []string{"token"}})
	long := strings.Repeat("x", maxHeaderBytes-1) + "é"
	post(h, join, "X-API-Key", "token", "Authorization", "Bearer token", "X-Webhook-Secret", "token",
		"X-bitHuman-Signature", "sha256=00", "webhook-signature", "v1,00", "Cookie", "a=b",
		"X-BITHUMAN-EVENT", "room.join", "x-bithuman-delivery", "d1", "Webhook-Id", "w1", "idempotency-key", "a\x00\xffb",
		"User-Agent", long, "Content-Type", "application/json", "Content-Type", "text/plain")
	want := map[string]string{
		"X-BitHuman-Event": "room.join", "X-BitHuman-Delivery": "d1", "webhook-id": "w1", "Idempotency-Key": "a\uFFFD\uFFFDb",
	}
	if got := log.events[0].Headers; !maps.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	post(h, chat, "X-API-Key", "token")
	if got := log.events[1].Headers; len(got) != 0 {
		t.Errorf("of none: %q", got)
	}
	post(h, "{}", "X-API-Key", "token", "User-Agent", long, "Content-Type", "application/json", "Content-Type", "text/plain")
	want = map[string]string{"User-Agent": long[:maxHeaderBytes-1], "Content-Type": "application/json"}
	if got := log.headers[0]; !maps.Equal(got, want) {
		t.Errorf("of a quarantined body: %q, want %q", got, want)
	}
}

func BenchmarkWebhook(b *testing.B) {
	h := newServer(b, options{log: &memoryLog{}, secrets: []string{"secret"}})
	signature := webhook.SignLegacy("secret", []byte(chat))
	b.ReportAllocs()
	for b.Loop() {
		if w := post(h, chat, "X-bitHuman-Signature", signature); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}

func TestTheLogHasWhatWasReceived(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	wantBody(t, post(l, join, "X-BitHuman-Delivery", "d1", "Authorization", "Bearer x"), `{"status":"success","position":1}`)
	wantBody(t, post(l, join, "X-BitHuman-Delivery", "d2"), `{"status":"success","position":1,"duplicate":true}`)
	headers := storetest.Query(t, l.db, "rapport_server", pgx.RowTo[map[string]string], "SELECT headers FROM events")
	if want := (map[string]string{"X-BitHuman-Delivery": "d1"}); len(headers) != 1 || !maps.Equal(headers[0], want) {
		t.Errorf("headers %v", headers)
	}
}
