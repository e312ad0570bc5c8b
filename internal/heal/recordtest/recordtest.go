// Package recordtest is a small fake of the sender's record, written from what
// docs/webhooks.md says of it ("Reading the sender back").
package recordtest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// User and Secret are what the fake knows.
const (
	User   = "user-1"
	Secret = "s3cret-of-the-record"
)

// Session is a session of the record, and what was said in it.
type Session struct {
	ID            string    `json:"id"`
	AgentCode     string    `json:"agent_code"`
	RoomName      string    `json:"room_name"`
	Started       time.Time `json:"started"`
	LastSeen      time.Time `json:"last_seen"`
	Status        string    `json:"status"`
	HasTranscript bool      `json:"has_transcript"`
	Messages      []Message `json:"-"`
}

// Message is a line of a transcript. Its time is shown in whole seconds.
type Message struct {
	At   time.Time
	Role string
	Text string
}

// MarshalJSON writes it as the record does.
func (m Message) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{
		"timestamp": m.At.UTC().Format("2006-01-02T15:04:05Z"), "role": m.Role, "message": m.Text,
	})
}

// Server is the record, until the test ends. Set its fields before it is asked.
type Server struct {
	URL      string
	Sessions []Session

	mu       sync.Mutex
	requests []string                                      // guarded by mu
	instead  func(http.ResponseWriter, *http.Request) bool // guarded by mu; may be nil
}

// Instead sets what may answer a request in place of the record; it reports whether
// it did.
func (s *Server) Instead(answer func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = answer
}

func (s *Server) answered(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	instead := s.instead
	s.mu.Unlock()
	return instead != nil && instead(w, r)
}

// New starts a record.
func New(t testing.TB, sessions ...Session) *Server {
	t.Helper()
	s := &Server{Sessions: sessions}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{user}/runtime-sessions", s.list)
	mux.HandleFunc("GET /v2/{user}/runtime-sessions/{id}/messages", s.transcript)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.note(r)
		switch {
		case s.answered(w, r):
		case r.Header.Get("api-secret") != Secret:
			answer(w, http.StatusUnauthorized, map[string]string{"error": "unauthorized"})
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Requests are the URIs that were asked for.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *Server) note(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.URL.RequestURI())
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	limit, err := strconv.Atoi(r.FormValue("limit"))
	if r.PathValue("user") != User || err != nil || r.FormValue("window") != "all" {
		answer(w, http.StatusNotFound, map[string]string{"error": "not found"})
		return
	}
	newest := slices.SortedStableFunc(slices.Values(s.Sessions), func(a, b Session) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), cmp.Compare(a.ID, b.ID))
	})
	answer(w, http.StatusOK, map[string]any{"sessions": newest[:min(limit, len(newest))]})
}

func (s *Server) transcript(w http.ResponseWriter, r *http.Request) {
	i := slices.IndexFunc(s.Sessions, func(o Session) bool { return o.ID == r.PathValue("id") && o.HasTranscript })
	if r.PathValue("user") != User || i < 0 {
		answer(w, http.StatusNotFound, map[string]string{"error": "not found"})
		return
	}
	answer(w, http.StatusOK, map[string]any{"messages": s.Sessions[i].Messages})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
