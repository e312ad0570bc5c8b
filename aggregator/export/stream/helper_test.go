package stream_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator/export/stream"
	"rapport/store"
	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var noon = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// say is what a session's user says.
func say(agent, session string, texts ...string) []*rapport.Event {
	events := make([]*rapport.Event, len(texts))
	for i, text := range texts {
		payload, _ := json.Marshal(map[string]string{"message": text})
		events[i] = &rapport.Event{
			Fingerprint: sha256.Sum256(fmt.Append(nil, agent, "/", session, "/", text)), OccurredAt: noon.Add(time.Duration(i) * time.Second),
			ReceivedAt: noon, Type: rapport.ChatPush, AgentID: agent, SessionID: session, Role: rapport.RoleUser,
			Text: text, Payload: payload,
		}
	}
	return events
}

// talk is a batch of so many messages, in several sessions of several agents.
func talk(name string, n int) []*rapport.Event {
	events := make([]*rapport.Event, n)
	for i := range events {
		events[i] = say(fmt.Sprintf("agent-%d", i%3), fmt.Sprintf("s%d", i%10), fmt.Sprintf("%s %d", name, i))[0]
	}
	return events
}

func put(t *testing.T, db *storetest.Database, events ...*rapport.Event) {
	t.Helper()
	appended, err := db.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range appended {
		events[i].Position = a.Position
	}
}

// follow sends a stream until it is stopped.
func follow(t *testing.T, db *storetest.Database, config string, sink stream.Sink) (stop func()) {
	t.Helper()
	c, err := stream.Parse(config)
	if err != nil {
		t.Fatal(err)
	}
	f := stream.NewFollower(stream.Options{
		DB: db.DB, Watch: db.Watch, Config: c, Sink: sink, Metrics: stream.NewMetrics(), Logger: storetest.Logger(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return stop
}

func infoOf(t *testing.T, db *storetest.Database) store.StreamInfo {
	t.Helper()
	infos, err := db.Streams(t.Context(), noon)
	if err != nil || len(infos) != 1 {
		t.Fatal(err, infos)
	}
	return infos[0]
}

// inbox is what has arrived, in the order in which it did.
type inbox struct {
	mu      sync.Mutex
	records []arrived
	changed chan struct{} // closed and replaced with each arrival
}

type arrived struct {
	position         int64
	agent, session   string
	eventType        string
	message, payload string
	erased           bool
	omitted          int
}

func newInbox() *inbox { return &inbox{changed: make(chan struct{})} }

// add takes an event as JSON.
func (in *inbox) add(data []byte) error {
	var e struct {
		Position     int64           `json:"position"`
		AgentID      string          `json:"agent_id"`
		SessionID    string          `json:"session_id"`
		EventType    string          `json:"event_type"`
		Message      string          `json:"message"`
		Payload      json.RawMessage `json:"payload"`
		Erased       bool            `json:"erased"`
		OmittedBytes int             `json:"omitted_bytes"`
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.records = append(in.records, arrived{
		e.Position, e.AgentID, e.SessionID, e.EventType, e.Message, string(e.Payload), e.Erased, e.OmittedBytes,
	})
	close(in.changed)
	in.changed = make(chan struct{})
	return nil
}

func (in *inbox) all() ([]arrived, <-chan struct{}) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.records), in.changed
}

// wait waits until so many different events are there, and returns each as it came first.
func (in *inbox) wait(t *testing.T, want int) []arrived {
	t.Helper()
	late := time.After(time.Minute)
	for {
		records, changed := in.all()
		if first := firsts(records); len(first) >= want {
			return first
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%d of %d events have arrived", len(firsts(records)), want)
		}
	}
}

// firsts are the events as they came first.
func firsts(records []arrived) []arrived {
	seen := make(map[int64]bool)
	var first []arrived
	for _, r := range records {
		if !seen[r.position] {
			seen[r.position] = true
			first = append(first, r)
		}
	}
	return first
}

// wantInOrder checks that the events from a position on are all there, those of each
// session in the order of the log.
func wantInOrder(t *testing.T, records []arrived, from, to int64) {
	t.Helper()
	last := make(map[string]int64)
	missing := make(map[int64]bool)
	for p := from; p <= to; p++ {
		missing[p] = true
	}
	for _, r := range records {
		session := r.agent + "/" + r.session
		if r.position < last[session] {
			t.Errorf("%s: %d came after %d", session, r.position, last[session])
		}
		last[session] = r.position
		if !missing[r.position] {
			t.Errorf("%d came, which was not asked for", r.position)
		}
		delete(missing, r.position)
	}
	if len(missing) > 0 {
		t.Errorf("%d events are missing", len(missing))
	}
}

// peer is an HTTP server that can be killed, and come back at the same address.
type peer struct {
	t       *testing.T
	handler http.Handler
	address string
	server  *httptest.Server
}

func newPeer(t *testing.T, handler http.Handler) *peer {
	p := &peer{t: t, handler: handler, address: "127.0.0.1:0"}
	p.start()
	t.Cleanup(func() { p.kill() })
	return p
}

func (p *peer) start() {
	p.t.Helper()
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.address = listener.Addr().String()
	p.server = httptest.NewUnstartedServer(p.handler)
	_ = p.server.Listener.Close()
	p.server.Listener = listener
	p.server.Start()
}

// kill cuts all connections, whatever is under way.
func (p *peer) kill() {
	p.server.CloseClientConnections()
	p.server.Close()
}

func (p *peer) url() string { return "http://" + p.address }
