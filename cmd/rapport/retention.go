package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"rapport/store"
)

// period is a time as Go writes it, or whole days as 400d.
type period time.Duration

// maxPeriod is more than a log can hold, and less than a time.Duration.
const maxPeriod = 36_500 * 24 * time.Hour

// UnmarshalText reads a period.
func (p *period) UnmarshalText(text []byte) error {
	var d time.Duration
	var err error
	if days, isDays := strings.CutSuffix(string(text), "d"); isDays {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 32)
		d = min(time.Duration(n)*24*time.Hour, maxPeriod+1)
	} else {
		d, err = time.ParseDuration(string(text))
	}
	if err != nil || d <= 0 || d > maxPeriod {
		return fmt.Errorf("%q is no time such as 400d or 36h", text)
	}
	*p = period(d)
	return nil
}

// retainFlags tell for how long what is kept.
type retainFlags struct {
	RetainMessages period `placeholder:"400d" help:"For how long texts, payloads and names are kept; then stubs of the events remain. Default: for ever."`
	RetainEvents   period `placeholder:"400d" help:"For how long events are kept. Default: for ever."`
	RetainSessions period `placeholder:"800d" help:"For how long sessions and their numbers are kept. Needs --retain-events. Default: for ever."`
}

// retention is what they say, if that makes sense.
func (f *retainFlags) retention() (store.Retention, error) {
	r := store.Retention{
		Messages: time.Duration(f.RetainMessages), Events: time.Duration(f.RetainEvents), Sessions: time.Duration(f.RetainSessions),
	}
	return r, r.Check()
}

type retainCmd struct {
	databaseFlags
	logFlags
	retainFlags
	DryRun bool `help:"Tell what would go, and let nothing go."`
}

// Help is what --help says besides the flags.
func (*retainCmd) Help() string {
	return `Does once what "rapport serve" does with the same flags: lets go of what is too old, by the month (UTC) in
which it happened, when all of the month is older. It runs beside a server or without one.

Events go with their partition, sessions with their rows; the messages of older months become stubs, which
keep positions and counts true. The horizon moves to the begin of a month, and never back: with longer times,
or none, what has gone stays gone. Below it the numbers stay as they are: nothing is folded again there, and a
delivery of an earlier time is answered 200, counted ("expired" in rapport verify) and let go. A session that
goes on across the horizon keeps its numbers; what comes after its last event begins another one.`
}

// Run retains once.
func (c *retainCmd) Run(ctx context.Context, io streams) error {
	retention, err := c.retention()
	if err != nil {
		return err
	}
	if retention.IsForEver() {
		return errors.New("say for how long: --retain-messages, --retain-events or --retain-sessions")
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		do, tense := db.RetainPreview, "would be"
		if !c.DryRun {
			do = func(ctx context.Context, r store.Retention, now time.Time) (store.Retained, error) {
				return db.Retain(ctx, r, cliActor(), now)
			}
			tense = "were"
		}
		done, err := do(ctx, retention, time.Now())
		printRetained(io, &done, tense)
		if err == nil && done.Postponed {
			err = errors.New("not all is done: a rebuild is under way, events are not folded yet, or somebody reads the log without end; try again")
		}
		return err
	})
}

func printRetained(io streams, r *store.Retained, tense string) {
	for _, m := range r.Months {
		deed := "made stubs"
		if m.Dropped {
			deed = "dropped"
		}
		_, _ = fmt.Fprintf(io.Out, "%s: %d events %s %s\n", m.Month.Format("2006-01"), m.Events, tense, deed)
	}
	_, _ = fmt.Fprintf(io.Out, "%d months of events and %d sessions %s let go\n", len(r.Months), r.Sessions, tense)
}
