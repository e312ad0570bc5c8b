package conformance_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"rapport"
	"rapport/internal/conformance"
	"rapport/internal/reference"
)

type row = map[string]any

// fake is a server that knows every delivery beforehand and shows what the
// reference computes. Its faults are what a test wants of it.
type fake struct {
	truths    map[string]rapport.Event // by body
	pageRows  int
	refuse    func(*http.Request, []byte) bool
	forget    func(rapport.Event) bool // answers, but does not keep
	dishonest bool                     // answers duplicates as if they were new
	spoil     func([]row) []row

	mu        sync.Mutex
	positions map[string]int64 // by body
	kept      []rapport.Event
}

func startFake(t *testing.T, deliveries []conformance.Delivery, change func(*fake)) string {
	t.Helper()
	f := &fake{
		truths:    map[string]rapport.Event{},
		pageRows:  20,
		refuse:    func(*http.Request, []byte) bool { return false },
		forget:    func(rapport.Event) bool { return false },
		spoil:     func(rows []row) []row { return rows },
		positions: map[string]int64{},
	}
	for _, d := range deliveries {
		f.truths[string(d.Body)] = d.Truth
	}
	if change != nil {
		change(f)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhook", f.accept)
	mux.HandleFunc("GET /sessions", f.sessions)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func (f *fake) accept(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || f.refuse(r, body) {
		http.Error(w, "refused", http.StatusUnauthorized)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := row{"status": "success"}
	if position, isKept := f.positions[string(body)]; isKept {
		answer["position"] = position
		if !f.dishonest {
			answer["duplicate"] = true
		}
	} else {
		answer["position"] = f.keep(body)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (f *fake) keep(body []byte) int64 {
	position := int64(len(f.positions) + 1)
	f.positions[string(body)] = position
	e := f.truths[string(body)]
	e.Position = position
	if !f.forget(e) {
		f.kept = append(f.kept, e)
	}
	return position
}

// sessions pages by an offset, which is enough for a log that is complete.
func (f *fake) sessions(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.FormValue("min_position") != strconv.Itoa(len(f.positions)) || r.FormValue("wait") == "" {
		http.Error(w, "not yet", http.StatusServiceUnavailable)
		return
	}
	rows := f.spoil(rowsOf(reference.Sessions(f.kept, rapport.DefaultSettings(), time.Now())))
	from, _ := strconv.Atoi(r.FormValue("cursor"))
	to := min(from+f.pageRows, len(rows))
	answer := row{"data": rows[from:to], "next_cursor": nil, "has_more": to < len(rows)}
	if to < len(rows) {
		answer["next_cursor"] = strconv.Itoa(to)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func rowsOf(all []reference.Row) []row {
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	rows := []row{}
	if err := json.Unmarshal(text, &rows); err != nil {
		panic(err)
	}
	return rows
}
