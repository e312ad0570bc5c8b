package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"rapport/aggregator"
)

// untilFlushed is a recorder that leaves when something was sent to it, with which a
// stream without an end ends.
func untilFlushed(w *httptest.ResponseRecorder, r *http.Request) (http.ResponseWriter, *http.Request) {
	ctx, leave := context.WithCancel(r.Context())
	return &leavingRecorder{w, leave}, r.WithContext(ctx)
}

type leavingRecorder struct {
	*httptest.ResponseRecorder
	leave context.CancelFunc
}

func (l *leavingRecorder) Flush() {
	l.ResponseRecorder.Flush()
	l.leave()
}

// listening is a server with a database of its own that listens.
type listening struct {
	*live
	*httptest.Server
}

func newListening(t *testing.T, config Config) *listening {
	t.Helper()
	l := newLive(t, config)
	server := httptest.NewServer(l.Handler)
	t.Cleanup(server.Close)
	return &listening{l, server}
}

// follow runs the aggregator until the test ends.
func (l *listening) follow(t *testing.T) {
	t.Helper()
	settings, err := l.db.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := aggregator.NewSessions(settings)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = aggregator.NewFollower(l.db.DB, l.db.Watch, sessions, discard()).Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// streamed is a message of a stream.
type streamed struct {
	id, name string
	data     string
}

func (m *streamed) row(t *testing.T) row {
	t.Helper()
	var r row
	if err := json.Unmarshal([]byte(m.data), &r); err != nil {
		t.Fatalf("%v in %q", err, m.data)
	}
	return r
}

// source reads a stream as browsers do.
type source struct {
	lastID   string
	comments []string
	retry    string

	response *http.Response
	lines    *bufio.Reader
	leave    context.CancelFunc
}

// connect asks for a stream, behind the last id. It is over when the test takes more than
// half a minute with it.
func (s *source) connect(t *testing.T, l *listening, query string, headers ...string) *http.Response {
	t.Helper()
	ctx, leave := context.WithTimeout(t.Context(), 30*time.Second)
	s.leave = leave
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.URL+livePath+"?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	if s.lastID != "" {
		r.Header.Set("Last-Event-ID", s.lastID)
	}
	if s.response, err = l.Client().Do(r); err != nil {
		t.Fatal(err)
	}
	s.lines = bufio.NewReader(s.response.Body)
	t.Cleanup(s.close)
	return s.response
}

func (s *source) close() {
	s.leave()
	_ = s.response.Body.Close()
}

// begun reads up to the first id.
func (s *source) begun(t *testing.T) *source {
	t.Helper()
	if _, err := s.block(); err != nil {
		t.Fatal(err)
	}
	return s
}

// next is the next message. An error is the end of the stream.
func (s *source) next() (streamed, error) {
	for {
		m, err := s.block()
		if err != nil || m.data != "" {
			return m, err
		}
	}
}

// block reads up to an empty line.
func (s *source) block() (streamed, error) {
	var m streamed
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return streamed{}, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "\n":
			m.id = s.lastID
			return m, nil
		case name == "":
			s.comments = append(s.comments, value)
		case name == "id":
			s.lastID = value
		case name == "event":
			m.name = value
		case name == "data":
			m.data += value
		case name == "retry":
			s.retry = value
		}
	}
}

// mustNext is next, of a stream that goes on.
func (s *source) mustNext(t *testing.T) streamed {
	t.Helper()
	m, err := s.next()
	if err != nil {
		t.Fatalf("the stream ended: %v", err)
	}
	return m
}

// known is what a reader of sessions knows.
type known map[string]map[string]row // by conversation, and started_at

// learn takes a message of a session.
func (k known) learn(r row) {
	replaces := r["replaces"].(row)
	delete(r, "replaces")
	conversation := fmt.Sprintf("%v/%v", r["agent_id"], r["session_id"])
	if k[conversation] == nil {
		k[conversation] = map[string]row{}
	}
	for startedAt := range k[conversation] { // times in UTC of one form sort like texts
		after, isAfter := replaces["after"].(string)
		before, isBefore := replaces["before"].(string)
		if (!isAfter || startedAt > after) && (!isBefore || startedAt < before) {
			delete(k[conversation], startedAt)
		}
	}
	k[conversation][r["started_at"].(string)] = r
}

func newHTTP2(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = "localhost"
		h.ServeHTTP(w, r)
	}))
	server.EnableHTTP2 = true
	server.Config.WriteTimeout = time.Second
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}
