package browser

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator"
	"rapport/api"
	"rapport/internal/demo"
	"rapport/store"
	"rapport/store/ingest"
	"rapport/store/storetest"
)

// site is a server with a database of its own.
type site struct {
	url string // without a slash at its end
	db  *storetest.Database

	ingest   *ingest.Ingest
	server   *http.Server
	draining *atomic.Bool
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{db: storetest.New(t)}
	s.ingest = ingest.New(s.db.DB, ingest.Options{Logger: storetest.Logger()})
	run(t, s.ingest.Run)
	sessions, err := aggregator.NewSessions(rapport.DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	run(t, aggregator.NewFollower(s.db.DB, s.db.Watch, sessions, storetest.Logger()).Run)
	run(t, aggregator.NewSearch(s.db.DB, s.db.Watch, storetest.Logger()).Run)
	s.begin(t, "127.0.0.1:0")
	t.Cleanup(s.end)
	return s
}

// run runs a service until the test ends.
func run(t *testing.T, service func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// begin serves at an address.
func (s *site) begin(t *testing.T, address string) {
	t.Helper()
	sources, err := api.NewSources(nil, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	s.draining = new(atomic.Bool)
	handler, err := api.New(api.Config{
		DB: s.db.DB, Watch: s.db.Watch, Ingest: s.ingest, Sources: sources, Draining: s.draining, Version: "v1.2.3",
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + listener.Addr().String()
	s.server = &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.server.Serve(listener) }() // it ends with the server
}

// end ends the server; its live streams end soon after.
func (s *site) end() {
	s.draining.Store(true)
	_ = s.server.Close() // nothing is to be told to anybody
}

// deliver sends webhooks.
func (s *site) deliver(t *testing.T, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if status, answer := s.post(t, body); status != http.StatusOK {
			t.Fatalf("%.200s: %d %s", body, status, answer)
		}
	}
}

func (s *site) post(t *testing.T, body string) (status int, answer string) {
	t.Helper()
	response, err := http.Post(s.url+"/webhook", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// live sends the conversations of a day.
func (s *site) live(t *testing.T, sessions int) {
	t.Helper()
	o := demo.Options{URL: s.url, Sessions: sessions, Concurrency: 8, Seed: new(uint64(7))}
	if err := demo.Run(t.Context(), o, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	s.folded(t)
}

// folded waits until the sessions contain what the log has.
func (s *site) folded(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		moved := s.db.Watch.Moved()
		lag, err := s.db.FollowerLag(ctx, store.SessionsFollower, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if lag.Events == 0 {
			return
		}
		select {
		case <-moved:
		case <-time.After(20 * time.Millisecond): // folding moves nothing that Watch tells of
		case <-ctx.Done():
			t.Fatal("the sessions never came to the end of the log")
		}
	}
}

// said is the delivery of a message.
func said(agent, session, role, text string, at time.Time) string {
	body, err := json.Marshal(map[string]any{
		"event_type": "chat.push", "agent_id": agent, "timestamp": float64(at.UnixMicro()) / 1e6,
		"data": map[string]any{"role": role, "message": text, "session_id": session},
	})
	if err != nil {
		panic(err) // only texts and numbers
	}
	return string(body)
}
