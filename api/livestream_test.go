package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"rapport"
	"rapport/store"
)

// appendInParts appends events by several connections at once, in their order by each.
func (l *listening) appendInParts(t *testing.T, events []*rapport.Event, connections int) {
	t.Helper()
	parts := slices.Collect(slices.Chunk(events, 7))
	var next atomic.Int64
	var appending sync.WaitGroup
	for range connections {
		appending.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(parts) {
					return
				}
				if _, err := l.db.Append(t.Context(), parts[i]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	appending.Wait()
}

// fickle reads a stream, and comes back at random, until it has seen all of the log.
func (l *listening) fickle(t *testing.T, rng *rand.Rand, query string, isLast func(streamed) bool) []streamed {
	var got []streamed
	s := &source{lastID: "0"}
	for {
		s.connect(t, l, query)
		for range 1 + rng.IntN(60) {
			m, err := s.next()
			if err != nil {
				t.Errorf("%q, after %d: %v", query, len(got), err)
				return got
			}
			if got = append(got, m); isLast(m) {
				s.close()
				return got
			}
		}
		s.close()
	}
}

func TestWhoComesBackMissesNothingAndGetsNothingTwice(t *testing.T) {
	t.Parallel()
	l := newListening(t, Config{})
	l.follow(t)
	rng := rand.New(rand.NewPCG(6, 1))
	const count = 600
	var reading sync.WaitGroup
	got := make(map[string][]streamed)
	var mu sync.Mutex
	for _, query := range []string{"", "kind=event", "kind=session", "agent_id=agent1", "agent_id=agent2&kind=event"} {
		seed := rng.Uint64()
		reading.Go(func() {
			last := "agent2"
			if strings.Contains(query, "agent1") {
				last = "agent1"
			}
			hasEvent, hasSession := strings.Contains(query, "kind=session"), strings.Contains(query, "kind=event")
			told := l.fickle(t, rand.New(rand.NewPCG(seed, 2)), query, func(m streamed) bool {
				if strings.Contains(m.data, `"session_id":"last"`) && strings.Contains(m.data, last) {
					hasEvent, hasSession = hasEvent || m.name == "event", hasSession || m.name == "session"
				}
				return hasEvent && hasSession
			})
			mu.Lock()
			defer mu.Unlock()
			got[query] = told
		})
	}
	l.appendInParts(t, randomEvents(rng, count), 4)
	var last []*rapport.Event
	for i := range 3 {
		e := &rapport.Event{OccurredAt: noon.Truncate(time.Microsecond), ReceivedAt: noon.Truncate(time.Microsecond), Type: "last", AgentID: fmt.Sprint("agent", i), SessionID: "last", Payload: []byte("{\n}")}
		e.Fingerprint[31] = byte(i + 1)
		last = append(last, e)
	}
	l.appendInParts(t, last, 1)
	reading.Wait()
	for query, told := range got {
		l.wantAll(t, query, told)
	}
}

// wantAll compares what a stream has told with the log and the sessions.
func (l *listening) wantAll(t *testing.T, query string, got []streamed) {
	t.Helper()
	asked := strings.ReplaceAll(strings.ReplaceAll(query, "kind=event", ""), "kind=session", "")
	var events []row
	sessions := known{}
	for _, m := range got {
		if r := m.row(t); m.name == "event" {
			events = append(events, r)
		} else {
			sessions.learn(r)
		}
	}
	if !strings.Contains(query, "kind=session") {
		want := decodeRows(t, l, "/events?limit=1000&"+asked)
		if !reflect.DeepEqual(events, want) {
			t.Errorf("%q: %d events, want %d: %v", query, len(events), len(want), column(events, "position"))
		}
	}
	if !strings.Contains(query, "kind=event") {
		want := known{}
		for _, r := range allRows(t, l, "/sessions?"+asked, 1000) {
			r["replaces"] = row{"after": r["started_at"], "before": r["started_at"]}
			want.learn(r)
		}
		if diff := cmp.Diff(want, sessions); diff != "" {
			t.Errorf("%q: the sessions, -want +got:\n%s", query, diff)
		}
	}
}

// TestEachStateOfASessionIsToldOnce is of events that come in time: a late one may have what
// is beside it told again.
func TestEachStateOfASessionIsToldOnce(t *testing.T) {
	t.Parallel()
	l := newListening(t, Config{})
	l.follow(t)
	rng := rand.New(rand.NewPCG(6, 3))
	events := randomEvents(rng, 400)
	slices.SortStableFunc(events, rapport.Compare)
	for i, e := range events {
		e.OccurredAt = e.OccurredAt.Add(time.Duration(i) * time.Millisecond)
	}
	last := *events[len(events)-1]
	last.SessionID, last.Fingerprint[31] = "last", 1
	var reading sync.WaitGroup
	var got []streamed
	reading.Go(func() {
		got = l.fickle(t, rng, "", func(m streamed) bool { return m.name == "session" && strings.Contains(m.data, `"last"`) })
	})
	l.appendInParts(t, events, 1)
	l.appendInParts(t, []*rapport.Event{&last}, 1)
	reading.Wait()
	seen := map[string]bool{}
	for _, m := range got {
		r := m.row(t)
		key := fmt.Sprint(m.name, r["agent_id"], r["session_id"], r["started_at"], r["last_position"], r["position"])
		if seen[key] {
			t.Errorf("%s comes again", key)
		}
		seen[key] = true
	}
	l.wantAll(t, "", got)
}

func TestAStreamBeginsNowUnlessTold(t *testing.T) {
	t.Parallel()
	l := newListening(t, Config{})
	l.deliver(t, said("A", "s1", "user", "before", 1), said("A", "s1", "agent", "before", 2))
	now := new(source)
	response := now.connect(t, l, "")
	now.begun(t)
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Encoding": "", "ETag": "",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if now.lastID != "2" || now.retry == "" {
		t.Errorf("id %q, retry %q", now.lastID, now.retry)
	}
	first := new(source)
	first.connect(t, l, "last_event_id=1&kind=event")
	l.deliver(t, said("A", "s2", "user", "after\r\nit <b>", 3))
	if m := now.mustNext(t); m.name != "event" || m.id != "3-2" || m.row(t)["message"] != "after\r\nit <b>" {
		t.Errorf("%+v", m)
	}
	if m := now.mustNext(t); m.name != "session" || m.id != "3" || m.row(t)["message_count"] != 1.0 || m.row(t)["session_id"] != "s2" {
		t.Errorf("%+v", m)
	}
	if a, b := first.mustNext(t), first.mustNext(t); a.id != "2" || b.id != "3" {
		t.Errorf("%+v, %+v", a, b)
	}
	lines := strings.Join(metricLines(t, l, "rapport_live_"), "\n")
	for _, want := range []string{"rapport_live_streams 2", `rapport_live_sent_total{kind="event"} 3`, `rapport_live_sent_total{kind="session"} 1`} {
		if !strings.Contains(lines, want) {
			t.Errorf("%s is not in\n%s", want, lines)
		}
	}
}

func TestWhatAStreamIsAskedFor(t *testing.T) {
	t.Parallel()
	l := newListening(t, Config{})
	l.deliver(t, said("A", "s1", "user", "Hi", 1))
	for query, name := range map[string]string{
		"last_event_id=x": "last_event_id", "last_event_id=2": "last_event_id", "last_event_id=1-2": "last_event_id", "last_event_id=01": "last_event_id",
		"kind=all": "kind", "event_type=chat.push&kind=session": "event_type", "user_id=u": "user_id",
	} {
		wantBadParameter(t, get(l, "/live?"+query), name)
	}
	if w := get(l, "/live", "Last-Event-ID", "9"); w.Code != http.StatusBadRequest {
		t.Errorf("behind the end: %d %s", w.Code, w.Body)
	}
	if w := send(l, newRequest(http.MethodHead, "/live", nil)); w.Code != http.StatusOK || w.Header().Get("Content-Type") != eventStream {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	l.deliver(t, said("A", "s2", "user", "2", 2), said("B", "s1", "user", "3", 3), `{"event_type":"room.join","agent_id":"A","data":{"session_id":"s9","user_id":"u1"},"timestamp":1790596804}`)
	for query, want := range map[string]string{
		"":                           "event 1, event 2, event 3, event 4, session 1, session 2, session 3, session 4",
		"agent_id=A":                 "event 1, event 2, event 4, session 1, session 2, session 4",
		"session_id=s1":              "event 1, event 3, session 1, session 3",
		"agent_id=A&session_id=s1":   "event 1, session 1",
		"event_type=room.join":       "event 4",
		"kind=session&agent_id=B":    "session 3",
		"kind=event&event_type=none": "",
	} {
		s := &source{lastID: "0"}
		s.connect(t, l, query)
		var got []string
		for range strings.Count(want, " ")/2 + 1 {
			if want == "" {
				break
			}
			m := s.mustNext(t)
			position := m.row(t)["position"]
			if m.name == "session" {
				position = m.row(t)["last_position"]
			}
			got = append(got, fmt.Sprint(m.name, " ", position))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

func TestAKeyOfAnAgentStreamsThatAgent(t *testing.T) {
	t.Parallel()
	l := newListening(t, Config{})
	one := l.key(t, "one", []string{"live"}, "A")
	l.deliver(t, said("B", "b", "user", "secret", 1), said("A", "a", "user", "mine", 2))
	for _, query := range []string{"", "agent_id=A", "kind=session"} {
		s := &source{lastID: "0"}
		s.connect(t, l, query, bearerOf(one)...)
		for range map[string]int{"": 4, "agent_id=A": 4, "kind=session": 2}[query] / 2 {
			if m := s.mustNext(t); !strings.Contains(m.data, `"agent_id":"A"`) {
				t.Errorf("%q: %s", query, m.data)
			}
		}
		// From here on it takes from what all take.
		l.deliver(t, said("B", "b"+query, "user", "secret", 3), said("A", "a"+query, "user", "mine", 4))
		for range map[string]int{"": 4, "agent_id=A": 4, "kind=session": 2}[query] / 2 {
			if m := s.mustNext(t); !strings.Contains(m.data, `"agent_id":"A"`) {
				t.Errorf("%q: %s", query, m.data)
			}
		}
	}
}

func TestTheStreamOfAKeyThatEndsEnds(t *testing.T) {
	t.Parallel()
	l := newListening(t, Config{})
	until := noon.Add(time.Hour)
	revoked := l.key(t, "revoked", []string{"live"})
	expires := l.keyUntil(t, "expires", &until, []string{"live"})
	l.key(t, "stays", []string{"live"})
	cookie := cookieHeader(signIn(t, l, l.key(t, "cookie", []string{"live"})))
	streams := map[string]*source{}
	for name, headers := range map[string][]string{"revoked": bearerOf(revoked), "expires": bearerOf(expires), "cookie": cookie} {
		streams[name] = new(source)
		streams[name].connect(t, l, "", headers...)
		streams[name].begun(t)
	}
	l.revoke(t, "revoked")
	l.revoke(t, "cookie")
	l.now.Store(&until)
	for name, s := range streams {
		if m, err := s.next(); !errors.Is(err, io.EOF) || !slices.Contains(s.comments, "the key is not valid any more") {
			t.Errorf("%s: %v, %v, %q", name, m, err, s.comments)
		}
	}
}

func TestWhatIsErasedIsNotStreamed(t *testing.T) {
	t.Parallel()
	l := newListening(t, Config{})
	l.deliver(t, said("A", "s1", "user", "erase me", 1), said("A", "s2", "user", "keep me", 2))
	s := &source{lastID: "0"} // which keeps the ring
	s.connect(t, l, "")
	for range 4 {
		s.mustNext(t)
	}
	plan, err := l.db.PlanErasure(t.Context(), store.ErasureRequest{Kind: store.EraseSession, SessionID: "s1", By: "cli:test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.db.Erase(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	l.fold(t)
	if m := s.mustNext(t); m.row(t)["event_type"] != store.ErasedEvent {
		t.Errorf("%+v", m)
	}
	if m := s.mustNext(t); m.name != "session" || m.id != "3" || m.row(t)["session_id"] != "s1" || m.row(t)["erased_at"] == nil {
		t.Errorf("the session that was erased: %+v", m)
	}
	again := &source{lastID: "0"}
	again.connect(t, l, "")
	for range 5 {
		if m := again.mustNext(t); strings.Contains(m.data, "erase me") {
			t.Errorf("told again: %s", m.data)
		}
	}
}

func TestStreamsHaveALimit(t *testing.T) {
	t.Parallel()
	l := newListening(t, Config{APIToken: "s3cret", Live: LiveLimits{Streams: 3, StreamsPerKey: 1}, Limits: Limits{Reads: 1}})
	one := bearerOf(l.key(t, "one", []string{"live"}))
	first := new(source)
	first.connect(t, l, "", one...)
	first.begun(t)
	if w := get(l, "/live", one...); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("a second one of the key: %d %s", w.Code, w.Body)
	}
	for range 2 { // though there is one seat for reads
		s := new(source)
		s.connect(t, l, "", bearerOf("s3cret")...)
		s.begun(t)
	}
	p := wantProblem(t, get(l, "/live", bearerOf("s3cret")...), http.StatusServiceUnavailable)
	if !strings.Contains(p["detail"].(string), "--max-live") {
		t.Error(p["detail"])
	}
	first.close()
	becomes(t, l, http.StatusOK, "/live", one...)
}

func TestStreamsEndWithTheServer(t *testing.T) {
	t.Parallel()
	draining := new(atomic.Bool)
	l := newListening(t, Config{Draining: draining})
	s := new(source)
	s.connect(t, l, "")
	s.begun(t)
	draining.Store(true)
	for range 2 { // the second one finds a server that is about to end
		if m, err := s.next(); !errors.Is(err, io.EOF) || !slices.Contains(s.comments, "the server is about to end: come back") || s.retry == "" {
			t.Errorf("%v, %v, %q", m, err, s.comments)
		}
		s = new(source)
		if r := s.connect(t, l, ""); r.StatusCode != http.StatusOK {
			t.Errorf("status %d, after which no browser comes back", r.StatusCode)
		}
	}
}

func TestStreamsOverHTTP2(t *testing.T) {
	t.Parallel()
	l := newListening(t, Config{Limits: Limits{Reads: 1}})
	l.Server.Close()
	l.Server = newHTTP2(t, l.Handler)
	var streams []*source
	for range 3 {
		s := new(source)
		if r := s.connect(t, l, "", "Accept-Encoding", "gzip"); r.ProtoMajor != 2 || r.Header.Get("Content-Encoding") != "" {
			t.Fatalf("%s, %v", r.Proto, r.Header)
		}
		streams = append(streams, s.begun(t))
	}
	l.deliver(t, said("A", "s1", "user", "Hi", 1))
	for _, s := range streams {
		if a, b := s.mustNext(t), s.mustNext(t); a.name != "event" || b.name != "session" {
			t.Errorf("%v, %v", a, b)
		}
		s.close()
	}
	becomesMetric(t, l, "rapport_live_streams 0")
}

// TestAnHTTP2ConnectionThatTakesNothingIsGivenUp: neither the streams on it nor what they
// hold stay for ever.
func TestAnHTTP2ConnectionThatTakesNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	l := newListening(t, Config{})
	l.Server.Close()
	server := httptest.NewUnstartedServer(l.Handler)
	server.Listener = smallListener{server.Listener}
	server.Config.HTTP2, server.Config.Protocols = HTTP2(), new(http.Protocols)
	server.Config.HTTP2.WriteByteTimeout /= 100
	server.Config.Protocols.SetUnencryptedHTTP2(true) // to close TLS takes time, too
	server.Start()
	t.Cleanup(server.Close)
	for i := range 5 {
		l.deliver(t, said("A", "s1", "user", strings.Repeat("long ", 10_000), float64(i)))
	}
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	_ = framer.WriteWindowUpdate(0, 1<<30)
	var head bytes.Buffer
	encoder := hpack.NewEncoder(&head)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "localhost"}, {":path", "/live?last_event_id=0"}} {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true})
	becomesMetric(t, l, "rapport_live_streams 1")
	becomesMetric(t, l, "rapport_live_streams 0")
}

// smallListener has connections that the system buffers little of.
type smallListener struct{ net.Listener }

func (l smallListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return conn, err
}

func TestWhoLeavesIsNoStreamAnyMore(t *testing.T) {
	t.Parallel()
	l := newListening(t, Config{})
	s := new(source)
	s.connect(t, l, "")
	s.begun(t).close()
	becomesMetric(t, l, "rapport_live_streams 0")
}

// becomesMetric polls the metrics until they have a line.
func becomesMetric(t *testing.T, h http.Handler, line string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !slices.Contains(metricLines(t, h, "rapport_live_"), line) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s does not come", line)
		}
	}
}
