package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"rapport"
	"rapport/aggregator/reaction/rules"
	"rapport/store"
)

type rulesTestCmd struct {
	databaseFlags
	logFlags
	File string `arg:"" type:"path" help:"The file, such as rules.yaml."`
	From string `placeholder:"POSITION|TIME" help:"From this position of the log on, or from this receipt on: RFC 3339, or a day (2026-09-01) or month (2026-09) in UTC. Default: the begin of the log."`
	To   string `placeholder:"POSITION|TIME" help:"Up to, and with, this position; or up to, and without, this receipt. Default: the end of the log, and now."`
	Send bool   `help:"Have it sent, by the servers that run with --rules and have destinations of these names: what waits, is dead, or was sent within a day is not sent again."`
	JSON bool   `name:"json" help:"One JSON object a line, with what the destination would have been told."`
}

// Help is what --help says besides the flags.
func (*rulesTestCmd) Help() string {
	return `Reads the log beside a running server or without one, in its order, and changes nothing. Time is that of
the log's own receipts: sessions open and close, and metrics are looked at every minute, as they would have been.
What rules look back at (windows, throttles, what was said before, open sessions) is read from before the stretch.
Where receipts are not in the order of the log, since a spool came late, a time is found as well as that allows.
What was erased, or has gone for its age, fires nothing. The environment variables that the file names must be
set, though nothing is sent but with --send: then what would have fired does fire, under the ids that it would
have had.`
}

// Run replays.
func (c *rulesTestCmd) Run(ctx context.Context, io streams) error {
	set, err := loadRules(c.File, io)
	if err != nil {
		return err
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		settings, err := db.Settings(ctx)
		if err != nil {
			return err
		}
		s, err := c.stretch(ctx, db, set.Lookback(settings.IdleTimeout), time.Now().UTC())
		if err != nil {
			return err
		}
		replay := &rulesReplay{
			db: db, stretch: s, out: bufio.NewWriter(io.Out), asJSON: c.JSON, withPayload: set.Needs().Payload,
			fired: make(map[string]int), asked: make(map[store.Conversation]bool),
		}
		if c.Send {
			state, err := db.LiveState(ctx)
			if err != nil {
				return err
			}
			replay.send = &sending{db: db, generation: state.Generation}
		}
		replay.rehearsal = rules.NewRehearsal(set, rapport.NewFold(settings), replay.history)
		if err := replay.run(ctx); err != nil {
			return err
		}
		if err := errors.Join(replay.send.flush(ctx), replay.out.Flush()); err != nil { // before the sum, where both go to a terminal
			return err
		}
		replay.sum(set, io.Err)
		return nil
	})
}

// stretch is a part of the log.
type stretch struct {
	begin    int64 // the position to begin to read at: early enough for what rules look back at
	from, to int64 // positions, both included, of what is told
	since    time.Time
	until    time.Time // time goes on up to here
}

func (c *rulesTestCmd) stretch(ctx context.Context, db *store.DB, lookback time.Duration, now time.Time) (stretch, error) {
	head, err := db.Head(ctx)
	if err != nil {
		return stretch{}, err
	}
	l := logTimes{db, head}
	s := stretch{begin: 1, from: 1, to: head, until: now}
	if c.From != "" {
		if s.from, s.since, err = l.place(ctx, "--from", c.From); err != nil {
			return s, err
		}
		if s.begin, err = l.positionAt(ctx, s.since.Add(-lookback)); err != nil {
			return s, err
		}
		s.begin = min(s.begin, s.from)
	}
	if c.To != "" {
		if s.to, s.until, err = l.place(ctx, "--to", c.To); err != nil {
			return s, err
		}
		if _, isPosition := position(c.To); !isPosition {
			s.to--
		}
		if s.until.After(now) {
			s.until = now
		}
	}
	if c.To != "" && s.from > s.to && !s.since.Before(s.until) {
		return s, errors.New("--from must be before --to")
	}
	return s, nil
}

// logTimes finds places of the log.
type logTimes struct {
	db   *store.DB
	head int64
}

func position(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// place is a position and its receipt, whichever of them a flag names.
func (l logTimes) place(ctx context.Context, flag, text string) (int64, time.Time, error) {
	if n, ok := position(text); ok {
		if n < 1 || n > l.head {
			return 0, time.Time{}, fmt.Errorf("%s %d: the log has the positions 1 to %d", flag, n, l.head)
		}
		e, err := l.behind(ctx, n-1)
		if err != nil || e == nil {
			return n, time.Time{}, err
		}
		return n, e.ReceivedAt, nil
	}
	at, err := parseMoment(flag, text)
	if err != nil {
		return 0, at, fmt.Errorf("%w, or a position of the log", err)
	}
	n, err := l.positionAt(ctx, at)
	return n, at, err
}

// positionAt is the first position of a receipt at a time or later, or one behind the
// head; by halving, as if receipts were in the order of the log.
func (l logTimes) positionAt(ctx context.Context, at time.Time) (int64, error) {
	low, high := int64(1), l.head+1
	for low < high {
		middle := low + (high-low)/2
		e, err := l.behind(ctx, middle-1)
		if err != nil {
			return 0, err
		}
		if e == nil || !e.ReceivedAt.Before(at) {
			high = middle
		} else {
			low = e.Position + 1
		}
	}
	return low, nil
}

// behind is the first event behind a position; nil if there is none.
func (l logTimes) behind(ctx context.Context, after int64) (*store.StoredEvent, error) {
	events, _, err := l.db.EventsBehind(ctx, store.EventQuery{After: after, UpTo: l.head, Limit: 1})
	if err != nil || len(events) == 0 {
		return nil, err
	}
	return &events[0], nil
}

// rulesReplay plays a stretch of the log.
type rulesReplay struct {
	db *store.DB
	stretch
	rehearsal   *rules.Rehearsal
	out         *bufio.Writer
	asJSON      bool
	withPayload bool
	send        *sending // nil: nothing is sent

	events int
	fired  map[string]int
	asked  map[store.Conversation]bool
}

// replayPage is how many events are read at once.
const replayPage = 1000

func (r *rulesReplay) run(ctx context.Context) error {
	for after := r.begin - 1; after < r.to; {
		events, reached, err := r.db.EventsBehind(ctx, store.EventQuery{After: after, UpTo: r.to, Limit: replayPage})
		if err != nil {
			return err
		}
		for i := range events {
			if err := r.play(ctx, &events[i]); err != nil {
				return err
			}
		}
		after = reached
	}
	firings, err := r.rehearsal.Advance(ctx, r.until)
	if err != nil {
		return err
	}
	return r.show(ctx, firings)
}

func (r *rulesReplay) play(ctx context.Context, e *store.StoredEvent) error {
	if e.Position >= r.from {
		r.events++
	}
	if e.IsStub() {
		return nil
	}
	event := e.Event
	if r.withPayload {
		event.Payload = e.Payload
	}
	firings, err := r.rehearsal.Add(ctx, &event)
	if err != nil {
		return err
	}
	return r.show(ctx, firings)
}

// history reads what came of a conversation before. What the replay itself has seen
// from the begin of the log on has none, at first.
func (r *rulesReplay) history(ctx context.Context, agentID, sessionID string, before int64) ([]*rapport.Event, error) {
	of := store.Conversation{AgentID: agentID, SessionID: sessionID}
	if r.begin == 1 && !r.asked[of] {
		r.asked[of] = true
		return nil, nil
	}
	var found []*rapport.Event
	query := store.TranscriptQuery{SessionID: sessionID, AgentID: agentID, Limit: replayPage}
	for {
		events, behind, err := r.db.Events(ctx, query)
		if err != nil {
			return nil, err
		}
		for i := range events {
			if e := &events[i]; e.Position < before && e.AgentID == agentID && !e.IsStub() && e.InSession() {
				found = append(found, &e.Event)
			}
		}
		if behind == nil {
			return found, nil
		}
		query.After = behind
	}
}

// isTold reports whether a firing is of the stretch.
func (r *rulesReplay) isTold(f *rules.Firing) bool {
	switch f.On {
	case rules.SessionOpened, rules.SessionClosed, rules.SessionChanged, rules.OnMetric:
		return !f.At.Before(r.since)
	}
	return f.Position >= r.from
}

// firedLine is a firing in JSON.
type firedLine struct {
	Destination string          `json:"destination"`
	Data        json.RawMessage `json:"data"`
}

func (r *rulesReplay) show(ctx context.Context, firings []rules.Firing) error {
	for i := range firings {
		f := &firings[i]
		if !r.isTold(f) {
			continue
		}
		r.fired[f.Rule]++
		if err := errors.Join(r.line(f), r.send.add(ctx, f)); err != nil {
			return err
		}
	}
	return nil
}

func (r *rulesReplay) line(f *rules.Firing) error {
	if r.asJSON {
		return json.NewEncoder(r.out).Encode(firedLine{f.Destination, f.Data})
	}
	on := f.On
	if f.Resolved {
		on += " (resolved)"
	}
	_, err := fmt.Fprintf(r.out, "%s  %10d  %-8s  %s -> %s  on %s  %s %s\n", f.At.UTC().Format(time.RFC3339), f.Position, f.Severity,
		f.Rule, f.Destination, inCell(on), inCell(f.AgentID), inCell(f.SessionID))
	return err
}

// sum tells how often each rule fired, and which could not be evaluated.
func (r *rulesReplay) sum(set *rules.Set, out io.Writer) {
	_, _ = fmt.Fprintf(out, "%s, positions %d to %d:\n", plural(r.events, "event"), r.from, r.to)
	for _, rule := range set.Rules() {
		_, _ = fmt.Fprintf(out, "%8d  %s\n", r.fired[rule.Name], rule.Name)
	}
	if r.send != nil {
		_, _ = fmt.Fprintf(out, "enqueued for the servers with --rules: %d new\n", r.send.added)
	}
	failed := r.rehearsal.Failed()
	for _, rule := range slices.Sorted(maps.Keys(failed)) {
		_, _ = fmt.Fprintf(out, "rule %s could not always be evaluated: %v\n", rule, failed[rule])
	}
}
