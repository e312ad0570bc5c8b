package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
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
	plain.halt()
	ruled.halt()
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
	reacted  float64 // events/s that the rules had then seen
	behindBy int64   // events that the rollups were behind at the end of the deliveries
}

func rulesAtWork(ctx context.Context, plain, ruled *system, o options) error {
	var without, with []pace
	for round := range 1 + o.rounds {
		p, err := turn(ctx, plain, o)
		if err != nil {
			return fmt.Errorf("without rules: %w", err)
		}
		r, err := turn(ctx, ruled, o)
		if err != nil {
			return fmt.Errorf("with rules: %w", err)
		}
		if round > 0 { // the first one warms up
			without, with = append(without, p), append(with, r)
		}
	}
	taken := func(p pace) float64 { return p.taken }
	folded := func(p pace) float64 { return p.folded }
	fmt.Printf("%d connections, distinct signed deliveries, by turns (medians of %d runs of %v)\n", o.connections, o.rounds, o.duration)
	fmt.Printf("  taken without rules                             %8.0f deliveries/s\n", medianOf(without, taken))
	fmt.Printf("  taken with rules at work                        %8.0f deliveries/s\n", medianOf(with, taken))
	fmt.Printf("  ratio                                           %8.2f  (at least 0.90)\n", medianOf(with, taken)/medianOf(without, taken))
	fmt.Printf("  rollups behind at the end, without and with     %8.0f, %.0f events\n",
		medianOf(without, func(p pace) float64 { return float64(p.behindBy) }), medianOf(with, func(p pace) float64 { return float64(p.behindBy) }))
	fmt.Printf("  a backlog folded without rules                  %8.0f events/s\n", medianOf(without, folded))
	fmt.Printf("  a backlog folded with rules at work             %8.0f events/s\n", medianOf(with, folded))
	fmt.Printf("  ratio                                           %8.2f  (at least 0.90)\n", medianOf(with, folded)/medianOf(without, folded))
	fmt.Printf("  the rules themselves, with nothing else to do   %8.0f events/s\n", medianOf(with, func(p pace) float64 { return p.reacted }))
	return nil
}

func medianOf(paces []pace, of func(pace) float64) float64 {
	values := make([]float64, len(paces))
	for i, p := range paces {
		values[i] = of(p)
	}
	return median(values)
}

// turn has a server take deliveries while it follows them, and then others that it
// follows when all have come.
func turn(ctx context.Context, s *system, o options) (p pace, err error) {
	if err := s.follow(ctx); err != nil {
		return p, err
	}
	defer func() { s.halt() }()
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
	if err := s.follow(ctx); err != nil {
		return p, err
	}
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

// allFollowed waits until the rollups, and the rules if there are any, have the whole log.
func (s *system) allFollowed(ctx context.Context) error {
	if err := s.caughtUp(ctx); err != nil || s.rules == "" {
		return err
	}
	return s.followed(ctx, store.ReactionFollower)
}
