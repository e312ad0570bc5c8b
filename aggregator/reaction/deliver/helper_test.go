package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store"
	"rapport/store/storetest"
)

// fast has nobody wait.
var fast = tempo{
	firstRetry: 10 * time.Millisecond, longestRetry: 50 * time.Millisecond, breakerDelay: 50 * time.Millisecond,
	limitWait: 10 * time.Millisecond, hold: 5 * time.Millisecond, jobTimeout: 5 * time.Second, rescueAfter: 5 * time.Second,
	poll: 50 * time.Millisecond, softStop: 20 * time.Millisecond, testOnly: true,
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// call is what a peer was told.
type call struct {
	id     string
	method string
	header http.Header
	body   []byte
}

// peer is somebody's endpoint.
type peer struct {
	*httptest.Server
	told chan call // each call, before it is answered

	mu     sync.Mutex
	answer http.HandlerFunc
}

// newPeer answers 200 until it is told otherwise.
func newPeer(t *testing.T) *peer {
	p := &peer{told: make(chan call, 10_000), answer: func(http.ResponseWriter, *http.Request) {}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	answer := p.answer
	p.mu.Unlock()
	p.told <- call{r.Header.Get("webhook-id"), r.Method, r.Header, body}
	answer(w, r)
}

func (p *peer) answers(with http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = with
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// hangs until the client has gone.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// patience is for what must happen at last.
const patience = 20 * time.Second

func (p *peer) next(t *testing.T) call {
	t.Helper()
	select {
	case c := <-p.told:
		return c
	case <-time.After(patience):
		t.Fatal("nobody was told")
		panic("unreachable")
	}
}

// ids are those of the next n calls, in order.
func (p *peer) ids(t *testing.T, n int) []string {
	t.Helper()
	var ids []string
	for range n {
		ids = append(ids, p.next(t).id)
	}
	slices.Sort(ids)
	return ids
}

func (p *peer) destination(name string) Destination {
	return Destination{Name: name, Kind: HTTP, URL: p.URL + "/hook"}
}

func settings(destinations ...Destination) Settings {
	return Settings{Destinations: destinations, Allow: loopback}
}

// begin delivers until the test ends, or stop is called.
func begin(t *testing.T, db *storetest.Database, s Settings, at tempo) (d *Deliverer, stop func()) {
	t.Helper()
	return beginLogged(t, db, s, at, storetest.Logger())
}

func beginLogged(t *testing.T, db *storetest.Database, s Settings, at tempo, logger *slog.Logger) (d *Deliverer, stop func()) {
	t.Helper()
	d, err := newDeliverer(db.DB, s, NewMetrics(), logger, at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return d, stop
}

func enqueue(t *testing.T, db *storetest.Database, deliveries ...Delivery) int {
	t.Helper()
	n, err := db.Enqueue(t.Context(), deliveries...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// some are deliveries to a destination, d1 to dn.
func some(destination string, n int) []Delivery {
	deliveries := make([]Delivery, n)
	for i := range deliveries {
		deliveries[i] = Delivery{
			ID: fmt.Sprint("d", i+1), Rule: "rule", Destination: destination, Position: int64(i + 1),
			Subject: store.Conversation{AgentID: "A", SessionID: fmt.Sprint("s", i+1)},
			Body:    json.RawMessage(fmt.Sprintf(`{"n":%d}`, i+1)),
		}
	}
	return deliveries
}

func eventually(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !isSo(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

// jobs are states and attempts, by delivery.
func jobs(t *testing.T, db *storetest.Database) map[string]string {
	t.Helper()
	states := make(map[string]string)
	for _, row := range storetest.Query(t, db, "rapport_server", pgx.RowTo[[]string],
		`SELECT ARRAY[args ->> 'id', state::text || ' ' || attempt] FROM river_job`) {
		states[row[0]] = row[1]
	}
	return states
}

func awaitJobs(t *testing.T, db *storetest.Database, want map[string]string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := jobs(t, db)
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the jobs are %v, want %v", got, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func deadOnes(t *testing.T, db *storetest.Database) []store.DeadDelivery {
	t.Helper()
	dead, err := db.DeadDeliveryList(t.Context(), store.DeadDeliveryPlace{Position: -1}, 100)
	if err != nil {
		t.Fatal(err)
	}
	return dead
}

// notes is a log that can be read.
type notes struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.String()
}

// errorsTo is a logger of errors alone.
func errorsTo(n *notes) *slog.Logger {
	return slog.New(slog.NewTextHandler(n, &slog.HandlerOptions{Level: slog.LevelError}))
}
