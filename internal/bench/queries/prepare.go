package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/aggregator"
	"rapport/internal/bench/history"
	"rapport/store"
)

// database has one of the logs.
type database struct {
	name string
	logs *logs
	plan history.Plan
	made *made
}

func (d *database) url(role string) string { return d.logs.url(role, d.name) }

// prepare makes what is missing: the log, what is folded from it, and what the
// planner knows of both.
func (d *database) prepare(ctx context.Context) error {
	migrated, err := store.Migrate(ctx, d.url("rapport_owner"))
	if err != nil {
		return err
	}
	if d.made.Events == 0 {
		if err := d.load(ctx); err != nil {
			return err
		}
	}
	if d.made.Folded == migrated.Version {
		return nil
	}
	for _, step := range []func(context.Context) error{d.fold, d.makeSearchable, d.settle} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	d.made.Folded = migrated.Version
	return d.logs.writeManifest()
}

func (d *database) load(ctx context.Context) error {
	p := newProgress(d.name + ": loading")
	events, err := d.plan.Load(ctx, d.url("rapport_owner"), func(events int64, upTo time.Time) {
		p.show(events, " events, up to "+upTo.Format("2006-01-02"))
	})
	if err != nil {
		return err
	}
	p.end(events, " events")
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "ANALYZE events"); err != nil { // else nobody knows how long it is
		return err
	}
	d.made.Events = events
	return d.logs.writeManifest()
}

// fold makes the sessions and all that is counted with them.
func (d *database) fold(ctx context.Context) error {
	db, err := store.Open(ctx, d.url("rapport_server"))
	if err != nil {
		return err
	}
	defer db.Close()
	settings, err := db.Settings(ctx)
	if err != nil {
		return err
	}
	r, err := store.BeginRebuild(ctx, d.url("rapport_owner"))
	if err != nil {
		return err
	}
	defer r.Close()
	p := newProgress(d.name + ": folding")
	rebuilt, err := aggregator.Rebuild(ctx, r, settings, func(at aggregator.RebuildProgress) {
		p.show(at.Done, fmt.Sprintf(" events of %d, %s", at.Total, at.Phase))
	})
	if err != nil {
		return err
	}
	p.end(rebuilt.Events, fmt.Sprintf(" events, %d sessions", rebuilt.Sessions))
	return nil
}

// settle does what autovacuum would do in the hours after.
func (d *database) settle(ctx context.Context) error {
	p := newProgress(d.name + ": cleaning up")
	conn, err := pgx.Connect(ctx, d.url("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, statement := range []string{"VACUUM (ANALYZE)", "CHECKPOINT"} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	p.end(d.made.Events, " events")
	return nil
}

// progress prints how far a step is, now and then.
type progress struct {
	what  string
	began time.Time
	shown time.Time
}

// showEvery is how often.
const showEvery = 10 * time.Second

func newProgress(what string) *progress {
	now := time.Now()
	return &progress{what: what, began: now, shown: now}
}

func (p *progress) show(n int64, text string) {
	if now := time.Now(); now.Sub(p.shown) >= showEvery {
		p.shown = now
		p.print(n, text)
	}
}

func (p *progress) end(n int64, text string) { p.print(n, text+", done") }

func (p *progress) print(n int64, text string) {
	took := time.Since(p.began)
	fmt.Fprintf(os.Stderr, "%s: %d%s, in %v (%.0f/s)\n", p.what, n, text, took.Round(time.Second), float64(n)/took.Seconds())
}
