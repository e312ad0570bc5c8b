package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"rapport/aggregator/reaction/deliver"
	"rapport/store"
)

// listeners are two endpoints: one notes when it is told what, the other one hangs.
type listeners struct {
	*httptest.Server

	mu   sync.Mutex
	told map[string]time.Time // by id; guarded by mu
}

func (l *listeners) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if r.URL.Path == "/hangs" {
		<-r.Context().Done()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told[r.Header.Get("Webhook-Id")] = time.Now()
	w.WriteHeader(http.StatusNoContent)
}

// hanging is how many deliveries wait for the endpoint that hangs.
const hanging = 200

// besideOneThatHangs compares how long deliveries to one destination take, by themselves
// and beside another that answers nobody.
func besideOneThatHangs(ctx context.Context, s *system, o options) error {
	l := &listeners{told: make(map[string]time.Time)}
	l.Server = httptest.NewServer(l)
	defer l.Close()
	var alone, beside []float64
	for round := range o.rounds {
		for _, hangs := range []bool{false, true} {
			took, err := deliveries(ctx, s, l, fmt.Sprintf("%d-%t", round, hangs), hangs, o)
			if err != nil {
				return fmt.Errorf("delivering: %w", err)
			}
			if hangs {
				beside = append(beside, took...)
			} else {
				alone = append(alone, took...)
			}
		}
	}
	slices.Sort(alone)
	slices.Sort(beside)
	last := len(alone) * 99 / 100
	fmt.Printf("\n%d deliveries a second to one destination, from the commit to its door (%d runs of %v, by turns)\n", deliveredPerSecond, o.rounds, o.duration)
	fmt.Printf("  by itself                                       %8.1f ms, p99 %.1f ms\n", median(alone), alone[last])
	fmt.Printf("  beside one that hangs, with %d waiting for it  %8.1f ms, p99 %.1f ms\n", hanging, median(beside), beside[last])
	fmt.Printf("  ratio                                           %8.2f  (at most 1.10)\n", median(beside)/median(alone))
	return nil
}

const deliveredPerSecond = 50

// deliveries makes some at an even pace, and tells how many ms each took.
func deliveries(ctx context.Context, s *system, l *listeners, run string, hangs bool, o options) ([]float64, error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError + 1})) // the one that hangs fails
	destinations := []deliver.Destination{{Name: "quick", Kind: deliver.HTTP, URL: l.URL + "/quick"}}
	if hangs { // else what waits for it from the turn before is left alone
		destinations = append(destinations, deliver.Destination{Name: "hangs", Kind: deliver.HTTP, URL: l.URL + "/hangs"})
	}
	deliverer, err := deliver.New(s.db, deliver.Settings{Destinations: destinations, Allow: loopback}, deliver.NewMetrics(), logger)
	if err != nil {
		return nil, err
	}
	defer begin(ctx, deliverer.Run)()
	if err := warmUp(ctx, s, l, run); err != nil {
		return nil, err
	}
	if hangs {
		if err := s.enqueue(ctx, "hangs", run, hanging); err != nil {
			return nil, err
		}
	}
	n := int(o.duration.Seconds() * deliveredPerSecond)
	committed := make([]time.Time, n)
	tick := time.NewTicker(time.Second / deliveredPerSecond)
	defer tick.Stop()
	for i := range n {
		if err := s.enqueue(ctx, "quick", fmt.Sprint(run, "-", i), 1); err != nil {
			return nil, err
		}
		committed[i] = time.Now()
		<-tick.C
	}
	var took []float64
	for i := range n {
		at, err := l.await(ctx, fmt.Sprint(run, "-", i, "-0"))
		if err != nil {
			return nil, err
		}
		took = append(took, max(0, at.Sub(committed[i]).Seconds()*1000))
	}
	return took, nil
}

// warmUp waits until there is somebody who delivers.
func warmUp(ctx context.Context, s *system, l *listeners, run string) error {
	if err := s.enqueue(ctx, "quick", "warm-"+run, 1); err != nil {
		return err
	}
	_, err := l.await(ctx, "warm-"+run+"-0")
	return err
}

func (s *system) enqueue(ctx context.Context, to, run string, n int) error {
	deliveries := make([]store.Delivery, n)
	for i := range deliveries {
		deliveries[i] = store.Delivery{
			ID: fmt.Sprint(run, "-", i), Rule: "bench", Destination: to,
			Body: json.RawMessage(`{"text": "` + strings.Repeat("x", 1000) + `"}`),
		}
	}
	_, err := s.db.Enqueue(ctx, deliveries...)
	return err
}

// await waits until an id was told.
func (l *listeners) await(ctx context.Context, id string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		l.mu.Lock()
		at, ok := l.told[id]
		l.mu.Unlock()
		if ok {
			return at, nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%s was not delivered: %w", id, ctx.Err())
		}
	}
}
