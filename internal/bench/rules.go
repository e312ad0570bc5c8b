package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"rapport/store"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// measureRules compares a server with rules with one that has none, by turns. While one
// of them is measured the other rests.
func measureRules(ctx context.Context, o options) error {
	var told atomic.Int64
	others := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "ok") // as Slack says
	}))
	defer others.Close()
	if err := nameOthers(others.URL); err != nil {
		return err
	}
	plain, err := start(ctx, 0, "")
	if err != nil {
		return err
	}
	defer plain.stop()
	ruled, err := start(ctx, 0, o.rules)
	if err != nil {
		return err
	}
	defer ruled.stop()
	plain.rest()
	ruled.rest()
	if err := rulesAtWork(ctx, plain, ruled, o); err != nil {
		return err
	}
	head, err := ruled.db.Head(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("  of 1,000 events the rules tell                  %8.0f\n", 1000*float64(told.Load())/float64(head))
	return besideOneThatHangs(ctx, plain, o)
}

// nameOthers sets the environment that the shipped rules ask for.
func nameOthers(url string) error {
	for name, value := range map[string]string{
		"SLACK_WEBHOOK_URL": url, "SUPPORT_URL": url, "OPERATIONS_URL": url, "HELP_URL": url, "WELCOME_URL": url,
		"CRM_URL": url, "CRM_TOKEN": "token", "HOOK_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// pace is what a server did in one turn.
type pace struct {
	taken    float64 // deliveries/s that it took, while it followed
	folded   float64 // events/s that it folded, of what had come while it rested
	reacted  float64 // events/s that the rules were asked of, and that were told
	behindBy int64   // events that the rollups were behind at the end of the deliveries
}

func rulesAtWork(ctx context.Context, plain, ruled *system, o options) error {
	o.duration *= 2 // so that how a load and a fold begin counts for little
	paces := map[*system][]pace{}
	order := []*system{plain, ruled}
	runs := o.rounds + o.rounds%2
	for round := range 1 + runs {
		for _, s := range order {
			p, err := turn(ctx, s, o)
			if err != nil {
				return fmt.Errorf("rules %q: %w", s.rules, err)
			}
			if round > 0 { // the first one warms up
				paces[s] = append(paces[s], p)
			}
		}
		slices.Reverse(order) // who comes second is slower by some per cent, rules or none
	}
	without, with := paces[plain], paces[ruled]
	taken := func(p pace) float64 { return p.taken }
	folded := func(p pace) float64 { return p.folded }
	fmt.Printf("%d connections, distinct signed deliveries, by turns (medians of %d runs of %v)\n", o.connections, runs, o.duration)
	fmt.Printf("  taken without rules                             %8.0f deliveries/s\n", medianOf(without, taken))
	fmt.Printf("  taken with rules at work                        %8.0f deliveries/s\n", medianOf(with, taken))
	fmt.Printf("  ratio                                           %8.2f  (at least 0.90)\n", medianOf(with, taken)/medianOf(without, taken))
	fmt.Printf("  rollups behind at the end, without and with     %8.0f, %.0f events\n",
		medianOf(without, func(p pace) float64 { return float64(p.behindBy) }), medianOf(with, func(p pace) float64 { return float64(p.behindBy) }))
	fmt.Printf("  a backlog folded without rules                  %8.0f events/s\n", medianOf(without, folded))
	fmt.Printf("  a backlog folded with rules at work             %8.0f events/s\n", medianOf(with, folded))
	fmt.Printf("  ratio                                           %8.2f  (at least 0.90)\n", medianOf(with, folded)/medianOf(without, folded))
	fmt.Printf("  rules asked and all told, with nothing else to do %8.0f events/s\n", medianOf(with, func(p pace) float64 { return p.reacted }))
	return nil
}

func medianOf(paces []pace, of func(pace) float64) float64 {
	values := make([]float64, len(paces))
	for i, p := range paces {
		values[i] = of(p)
	}
	return median(values)
}

// rest stops what follows the log.
func (s *system) rest() {
	s.halt()
	s.calm()
}

// turn has a server take deliveries while it follows them, and then others that it
// follows when all have come. The rules are at work all the time.
func turn(ctx context.Context, s *system, o options) (p pace, err error) {
	s.follow()
	if err := s.react(); err != nil {
		return p, err
	}
	defer s.rest()
	if p.taken, err = load(ctx, s.addr, o); err != nil {
		return p, err
	}
	if p.behindBy, err = s.lag(ctx); err != nil {
		return p, err
	}
	if err := s.allFollowed(ctx); err != nil {
		return p, err
	}
	s.halt()
	before, err := s.db.Head(ctx)
	if err != nil {
		return p, err
	}
	if _, err := load(ctx, s.addr, o); err != nil {
		return p, err
	}
	head, err := s.db.Head(ctx)
	if err != nil {
		return p, err
	}
	began := time.Now()
	s.follow()
	if err := s.caughtUp(ctx); err != nil {
		return p, err
	}
	p.folded = float64(head-before) / time.Since(began).Seconds()
	if err := s.allFollowed(ctx); err != nil {
		return p, err
	}
	p.reacted = float64(head-before) / time.Since(began).Seconds()
	return p, nil
}

// allFollowed waits until the rollups, and the rules if there are any, have the whole log,
// and what the rules tell is told.
func (s *system) allFollowed(ctx context.Context) error {
	if err := s.caughtUp(ctx); err != nil || s.rules == "" {
		return err
	}
	if err := s.followed(ctx, store.ReactionFollower); err != nil {
		return err
	}
	for {
		waiting, err := s.waiting(ctx)
		if err != nil || waiting == 0 {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waiting is how many deliveries wait, or are under way.
func (s *system) waiting(ctx context.Context) (n int64, err error) {
	tally, err := s.db.DeliveryTally(ctx)
	for _, count := range tally {
		n += count.Waiting
	}
	return n, err
}
