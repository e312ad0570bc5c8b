package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// measureAll asks every question, and prints what the answers took.
func measureAll(ctx context.Context, l *logs, only *regexp.Regexp, each time.Duration) error {
	var subjects [2]*subject
	var questions [2][]question
	for i, d := range l.of {
		s, err := d.serve(ctx)
		if err != nil {
			return err
		}
		defer s.stop()
		if questions[i], err = s.questions(ctx); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		subjects[i] = s
	}
	fmt.Printf("%d and %d events; p50, and how often as long as SELECT 1 and as on the shorter log\n",
		l.manifest.Made[0].Events, l.manifest.Made[1].Events)
	fmt.Printf("%-52s %10s %8s %6s %8s %6s\n", "question", "p50", "ratio", "goal", "growth", "goal")
	failed := 0
	for n, q := range questions[0] {
		if !only.MatchString(q.name) {
			continue
		}
		r, err := measure(ctx, subjects, [2]question{q, questions[1][n]}, each)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed++
			fmt.Printf("%-52s failed: %v\n", q.name, err)
			continue
		}
		r.print(&q)
	}
	if failed > 0 {
		return fmt.Errorf("%d questions were not answered", failed)
	}
	return nil
}

// result is what a question took, at the median.
type result struct {
	bare time.Duration
	took [2]time.Duration // on the longer and on the shorter log
}

// Bounds of how often a question is asked, whatever it takes.
const (
	leastRounds = 7
	mostRounds  = 10_000
	warmRounds  = 5
)

// measure asks by turns: SELECT 1, then both logs.
func measure(ctx context.Context, subjects [2]*subject, questions [2]question, each time.Duration) (*result, error) {
	var bare []time.Duration
	var took [2][]time.Duration
	end := time.Now().Add(each)
	for round := -warmRounds; round < mostRounds && (round < leastRounds || time.Now().Before(end)); round++ {
		b, err := timed(func() error { return subjects[0].read(ctx, subjects[0].bare, io.Discard) })
		if err != nil {
			return nil, fmt.Errorf("SELECT 1: %w", err)
		}
		if round >= 0 {
			bare = append(bare, b)
		}
		for i, s := range subjects {
			t, err := timed(func() error { return s.ask(ctx, &questions[i]) })
			if err != nil {
				return nil, err
			}
			if round >= 0 {
				took[i] = append(took[i], t)
			}
		}
	}
	return &result{median(bare), [2]time.Duration{median(took[0]), median(took[1])}}, nil
}

// ask asks, and waits for all answers. Several requests are sent at once, as a page
// that needs them does.
func (s *subject) ask(ctx context.Context, q *question) error {
	if q.sql != "" {
		return s.query(ctx, q.sql)
	}
	if len(q.paths) == 1 {
		return s.read(ctx, s.base+q.paths[0], io.Discard)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, path := range q.paths {
		group.Go(func() error { return s.read(ctx, s.base+path, io.Discard) })
	}
	return group.Wait()
}

// query sends a statement as Grafana does.
func (s *subject) query(ctx context.Context, sql string) error {
	rows, err := s.reader.Query(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return rows.Err()
}

func timed(do func() error) (time.Duration, error) {
	began := time.Now()
	err := do()
	return time.Since(began), err
}

func median(values []time.Duration) time.Duration {
	slices.Sort(values)
	return values[len(values)/2]
}

func (r *result) print(q *question) {
	ratio := float64(r.took[0]) / float64(r.bare)
	growth := float64(r.took[0]) / float64(r.took[1])
	goal := verdict(q.atMost, ratio)
	if q.within > 0 {
		goal = verdict(float64(q.within), float64(r.took[0]))
	}
	fmt.Fprintf(os.Stdout, "%-52s %10v %8.2f %6s %8.2f %6s\n", q.name, r.took[0].Round(time.Microsecond), ratio, goal, growth,
		verdict(q.grows, growth))
}

// verdict compares a figure with its goal; 0 is none.
func verdict(goal, figure float64) string {
	switch {
	case goal == 0:
		return ""
	case figure <= goal:
		return "ok"
	}
	return "missed"
}
