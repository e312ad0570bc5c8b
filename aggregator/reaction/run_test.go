package reaction_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"rapport/aggregator"
	"rapport/aggregator/reaction"
	"rapport/store"
	"rapport/store/storetest"
)

// peer is an endpoint that tells what it is told.
func peer(t *testing.T) (url string, told chan string) {
	told = make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told <- r.Header.Get("Webhook-Id") + " " + string(body)
	}))
	t.Cleanup(server.Close)
	return server.URL, told
}

// running runs something until the test ends, or it is stopped.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil
	}
	t.Cleanup(stop)
	return stop
}

func TestWhatHappensIsToldToThePeer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.now = time.Now().UTC().Truncate(time.Microsecond)
	url, told := peer(t)
	name := h.file("")
	text := strings.TrimSpace(hello) + "\ndestinations:\n  peer: {http: {url: \"" + url + "\"}}\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *reaction.Reaction {
		r, err := reaction.Open(h.DB, h.Watch, reaction.Options{
			File: name, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Logger: slog.New(slog.NewTextHandler(h, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	h.step(open())
	running(t, aggregator.NewFollower(h.DB, h.Watch, h.sessions, storetest.Logger()).Run)
	stop := running(t, open().Run)
	running(t, open().Run)
	for i := range 3 {
		h.append(says("s", "hello"))
		if got := <-told; !strings.HasPrefix(got, fmt.Sprintf("hello:peer:%d {", i+1)) {
			t.Errorf("told %s", got)
		}
		if i == 1 {
			stop() // the other process goes on
		}
	}
	if len(told) > 0 {
		t.Errorf("told more: %s", <-told)
	}
}

func TestADatabaseThatIsNotMadeForDeliveriesEndsTheRules(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(hello)
	h.Exec(t, "rapport_owner", "DELETE FROM river_migration WHERE version > 5")
	if err := r.Run(t.Context()); !errors.Is(err, store.ErrRiverSchema) {
		t.Error(err)
	}
}
