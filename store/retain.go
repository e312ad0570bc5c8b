package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rapport/store/internal/dbsqlc"
)

// Retention tells for how long things are kept; zero is for ever. What is older goes
// by the UTC month of its occurred_at, when all of the month is older.
type Retention struct {
	Messages time.Duration // texts, payloads and what else was said: events become stubs
	Events   time.Duration // events: their months are dropped
	Sessions time.Duration // the rollups, by the end of a session
}

// MinRetention is the shortest: what has just come must have been folded, and may
// still wait in a spool.
const MinRetention = 24 * time.Hour

// Check is a clear error unless the times make sense together: what is said goes
// before the event that it was said in, and that before its session.
func (r Retention) Check() error {
	for _, d := range []time.Duration{r.Messages, r.Events, r.Sessions} {
		if d != 0 && d < MinRetention {
			return errors.New("--retain-messages, --retain-events and --retain-sessions must be 1d at least")
		}
	}
	switch {
	case r.Messages > 0 && r.Events > 0 && r.Messages > r.Events:
		return errors.New("--retain-messages must be no longer than --retain-events: without an event, nothing has its text")
	case r.Sessions > 0 && r.Events == 0:
		return errors.New("--retain-sessions needs --retain-events: from its events, a rebuild would fold a session again")
	case r.Sessions > 0 && r.Sessions < r.Events:
		return errors.New("--retain-sessions must be no shorter than --retain-events: from its events, a rebuild would fold a session again")
	}
	return nil
}

// QuarantineAge is for how long the quarantine keeps a body, which is a message too.
func (r Retention) QuarantineAge(maxAge time.Duration) time.Duration {
	if r.Messages > 0 {
		return min(maxAge, r.Messages)
	}
	return maxAge
}

// IsForEver reports whether nothing is ever too old.
func (r Retention) IsForEver() bool { return r == Retention{} }

// Horizon is where what is kept begins, in UTC months. It never moves back, whatever
// is asked for later. 2015 is before everything.
type Horizon struct{ Events, Messages, Sessions time.Time }

// Frozen is the time below which the log takes no event any more, and sessions that
// began are not folded again.
func (h Horizon) Frozen() time.Time { return later(h.Events, h.Messages) }

// earliest is before every event of the log.
var earliest = time.Date(2015, time.January, 1, 0, 0, 0, 0, time.UTC)

// beginning is the horizon of a log that keeps everything.
var beginning = Horizon{earliest, earliest, earliest}

// horizon is what the retention asks for at a time.
func (r Retention) horizon(now time.Time) Horizon {
	at := func(d time.Duration) time.Time {
		if d == 0 {
			return earliest
		}
		return later(earliest, monthOf(now.Add(-d)).firstDay())
	}
	return Horizon{Events: at(r.Events), Messages: at(r.Messages), Sessions: at(r.Sessions)}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// later is the later one of each.
func (h Horizon) later(other Horizon) Horizon {
	return Horizon{later(h.Events, other.Events), later(h.Messages, other.Messages), later(h.Sessions, other.Sessions)}
}

// Retained tells what a run of Retain did, or would do.
type Retained struct {
	Horizon      Horizon
	Months       []MonthRetained // in order
	Sessions     int64           // deleted
	DeadLetters  int64           // that went, since their events are below the horizon
	Postponed    bool            // a rebuild is under way, or events are not folded yet: the rest is for the next time
	HorizonMoved bool
}

// MonthRetained is what became of a month of events.
type MonthRetained struct {
	Month   time.Time // its first day
	Dropped bool      // else its events have become stubs
	Events  int64     // that were dropped, or became stubs
}

// Horizon is the horizon as the database has it.
func (db *DB) Horizon(ctx context.Context) (Horizon, error) {
	row, err := db.q.RetentionGet(ctx)
	if err != nil {
		return Horizon{}, fmt.Errorf("reading the horizon: %w", err)
	}
	return horizonOf(row), nil
}

func horizonOf(row dbsqlc.RetentionGetRow) Horizon {
	return Horizon{Events: row.EventsBefore, Messages: row.MessagesBefore, Sessions: row.SessionsBefore}
}

// Retain lets go of what is too old, and records that actor did. It may be called at
// any time, by several processes, beside everything else; what it can't do now, since
// somebody is in the way, it does the next time. What counts is the earlier of the two
// clocks, ours and the database's: one that is ahead must not empty the log.
func (db *DB) Retain(ctx context.Context, r Retention, actor string, now time.Time) (Retained, error) {
	run, err := db.beginRetaining(ctx, r, actor, now)
	if err != nil || run.wanted == beginning {
		return Retained{Horizon: beginning}, err
	}
	// The totals outlive what they are of, so all of them are made first.
	if whole, err := db.q.FollowerToCount(ctx, SessionsFollower); err != nil || !whole {
		run.done.Postponed = true
		return run.done, err
	}
	for _, do := range []func(context.Context) error{run.moveHorizon, run.months, run.dropTexts, run.dropSessions} {
		if err := do(ctx); err != nil {
			return run.done, fmt.Errorf("letting go of what is too old: %w", err)
		}
	}
	return run.done, nil
}

// RetainPreview tells what Retain would do, and does nothing.
func (db *DB) RetainPreview(ctx context.Context, r Retention, now time.Time) (Retained, error) {
	run, err := db.beginRetaining(ctx, r, "", now)
	if err != nil {
		return Retained{}, err
	}
	run.done.HorizonMoved = run.wanted != run.had
	run.done.Horizon = run.wanted
	todo, err := run.todo(ctx)
	if err != nil {
		return Retained{}, fmt.Errorf("looking for what is too old: %w", err)
	}
	for _, m := range todo {
		count, err := db.countMonth(ctx, m.month)
		if err != nil {
			return Retained{}, fmt.Errorf("counting what is too old: %w", err)
		}
		events := count.Events
		if !m.drop {
			events = count.Whole
		}
		run.done.Months = append(run.done.Months, MonthRetained{Month: m.month.firstDay(), Dropped: m.drop, Events: events})
	}
	if run.done.Sessions, err = db.q.SessionDropCount(ctx, run.wanted.Sessions); err != nil {
		return Retained{}, fmt.Errorf("counting what is too old: %w", err)
	}
	return run.done, nil
}

// retaining is one run.
type retaining struct {
	db     *DB
	actor  string
	had    Horizon
	wanted Horizon // never below what we had
	texts  time.Time
	done   Retained
}

func (db *DB) beginRetaining(ctx context.Context, r Retention, actor string, now time.Time) (*retaining, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	row, err := db.q.RetentionGet(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the horizon: %w", err)
	}
	if row.Now.Before(now) {
		now = row.Now
	}
	had := horizonOf(row)
	return &retaining{
		db: db, actor: actor, had: had, wanted: had.later(r.horizon(now)), texts: row.TextsBefore, done: Retained{Horizon: had},
	}, nil
}

// retainLockTimeout is for how long a run waits for a lock, while deliveries wait for
// it; there is a next time.
const retainLockTimeout = 300 * time.Millisecond

// retainTries and retainPause are how often a lock is tried to get, and how long
// deliveries and readers have their way between.
const (
	retainTries = 3
	retainPause = 500 * time.Millisecond
)

// step runs a function of the owner's in a transaction, and records what it did. It
// reports false if somebody is in the way.
func (run *retaining) step(ctx context.Context, call func(*dbsqlc.Queries) ([]byte, error), result any, record func() *AuditEntry) (bool, error) {
	for try := 1; ; try++ {
		free, err := run.try(ctx, call, result, record)
		if sqlState(err) == lockNotAvailable {
			free, err = false, nil
			if try < retainTries {
				if err := sleep(ctx, retainPause); err != nil {
					return false, err
				}
				continue
			}
		}
		if err == nil && !free {
			run.done.Postponed = true
		}
		return free, err
	}
}

func (run *retaining) try(ctx context.Context, call func(*dbsqlc.Queries) ([]byte, error), result any, record func() *AuditEntry) (free bool, err error) {
	err = pgx.BeginFunc(ctx, run.db.pool, func(tx pgx.Tx) error {
		for _, sql := range []string{fmt.Sprintf("SET LOCAL lock_timeout = %d", retainLockTimeout.Milliseconds()), patient} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		q := run.db.q.WithTx(tx)
		answer, err := call(q)
		if err != nil {
			return err
		}
		var obstacle struct {
			Busy   bool
			Behind int64
		}
		if err := errors.Join(json.Unmarshal(answer, &obstacle), json.Unmarshal(answer, result)); err != nil {
			return err
		}
		if free = !obstacle.Busy && obstacle.Behind == 0; !free {
			return nil
		}
		if entry := record(); entry != nil {
			entry.Actor = run.actor
			return audit(ctx, q, *entry)
		}
		return nil
	})
	return free, err
}

func (run *retaining) moveHorizon(ctx context.Context) error {
	if run.wanted == run.had {
		return nil
	}
	var moved struct {
		DeadLetters int64 `json:"dead_letters"`
		Across      int64
	}
	var deliveries int64
	free, err := run.step(ctx, func(q *dbsqlc.Queries) ([]byte, error) {
		answer, err := q.HorizonMove(ctx, dbsqlc.HorizonMoveParams{
			EventsBefore: run.wanted.Events, MessagesBefore: run.wanted.Messages, SessionsBefore: run.wanted.Sessions,
		})
		if err == nil {
			deliveries, err = q.DeliveryDropFrozen(ctx)
		}
		if err == nil {
			err = q.ReactionDropFrozen(ctx)
		}
		return answer, err
	}, &moved, func() *AuditEntry {
		return &AuditEntry{Action: "retention.move", Subject: "horizon", Details: map[string]any{
			"events_before": run.wanted.Events, "messages_before": run.wanted.Messages, "sessions_before": run.wanted.Sessions,
			"dead_letters": moved.DeadLetters, "deliveries": deliveries,
		}}
	})
	if err != nil || !free {
		run.wanted = run.had // what is below that can go all the same
		return err
	}
	run.done.Horizon, run.done.HorizonMoved, run.done.DeadLetters = run.wanted, true, moved.DeadLetters
	return nil
}

// monthTodo is a month that is to be dropped, or else to become stubs.
type monthTodo struct {
	month month
	drop  bool
}

// todo are the months below the horizon that have something left to go, in order.
func (run *retaining) todo(ctx context.Context) ([]monthTodo, error) {
	rows, err := run.db.q.EventsMonthList(ctx)
	if err != nil {
		return nil, err
	}
	var todo []monthTodo
	for _, row := range rows {
		first, err := time.Parse("events_2006_01", row.Name)
		if err != nil {
			continue // somebody else's
		}
		m := monthOf(first)
		end := (m + 1).firstDay()
		switch {
		case !end.After(run.wanted.Events):
			todo = append(todo, monthTodo{m, true})
		case !end.After(run.wanted.Messages) && !row.Stubbed:
			todo = append(todo, monthTodo{m, false})
		}
	}
	return todo, nil
}

func (run *retaining) months(ctx context.Context) error {
	todo, err := run.todo(ctx)
	if err != nil {
		return err
	}
	for _, m := range todo {
		switch {
		case m.drop && run.done.Postponed: // who is in the way of one is in the way of all
		case m.drop:
			err = run.dropMonth(ctx, m.month)
		default:
			err = run.stubMonth(ctx, m.month)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m month) date() pgtype.Date { return pgtype.Date{Time: m.firstDay(), Valid: true} }

func (run *retaining) dropMonth(ctx context.Context, m month) error {
	if err := run.dropWords(ctx, m); err != nil {
		return err
	}
	var gone struct {
		Events *int64 // nil if another process was faster
		First  int64  `json:"first_position"`
		Last   int64  `json:"last_position"`
	}
	free, err := run.step(ctx, func(q *dbsqlc.Queries) ([]byte, error) { return q.EventsMonthDrop(ctx, m.date()) },
		&gone, func() *AuditEntry {
			if gone.Events == nil {
				return nil
			}
			return &AuditEntry{Action: "retention.drop", Subject: "events of " + m.String(), Details: map[string]any{
				"events": *gone.Events, "first_position": gone.First, "last_position": gone.Last,
			}}
		})
	if err != nil || !free || gone.Events == nil {
		return err
	}
	run.db.forgetMonths()
	run.done.Months = append(run.done.Months, MonthRetained{Month: m.firstDay(), Dropped: true, Events: *gone.Events})
	return nil
}

// dropWords deletes what a month's messages are found by. The search takes nothing from
// below the horizon, so it doesn't come again.
func (run *retaining) dropWords(ctx context.Context, m month) error {
	for after := int64(0); ; {
		last, err := run.db.q.SearchDropMonth(ctx, dbsqlc.SearchDropMonthParams{
			Since: m.firstDay(), Until: (m + 1).firstDay(), After: after, MaxRows: dropRows,
		})
		if err != nil || last == 0 {
			return err
		}
		after = last
	}
}

// stubRows become stubs in one transaction.
const stubRows = 5000

// stubMonth goes on where another run was interrupted: stubs stay stubs.
func (run *retaining) stubMonth(ctx context.Context, m month) error {
	whole, err := run.db.countMonth(ctx, m)
	if err != nil {
		return err
	}
	done := MonthRetained{Month: m.firstDay()}
	for after, isFirst := int64(0), true; ; isFirst = false {
		var stubbed struct{ Stubs, Position int64 }
		free, err := run.step(ctx, func(q *dbsqlc.Queries) ([]byte, error) {
			return q.EventsStub(ctx, dbsqlc.EventsStubParams{Month: m.date(), After: after, MaxRows: stubRows})
		}, &stubbed, func() *AuditEntry {
			if stubbed.Stubs == 0 || !isFirst {
				return nil
			}
			return &AuditEntry{Action: "retention.stub", Subject: "events of " + m.String(), Details: map[string]any{"events": whole.Whole}}
		})
		if err != nil || !free {
			return err
		}
		done.Events += stubbed.Stubs
		switch {
		case stubbed.Stubs > 0:
			after = stubbed.Position
		case after > 0: // look once more from the beginning: only then it is done
			after = 0
		case done.Events == 0:
			return nil
		default:
			run.done.Months = append(run.done.Months, done)
			return run.db.analyzeMonth(ctx, m)
		}
	}
}

// analyzeMonth has the planner forget texts that it knows of a month.
func (db *DB) analyzeMonth(ctx context.Context, m month) error {
	return db.patiently(ctx, func(q *dbsqlc.Queries) error { return q.EventsMonthAnalyze(ctx, m.date()) })
}

func (db *DB) countMonth(ctx context.Context, m month) (count dbsqlc.EventsMonthCountRow, err error) {
	err = db.patiently(ctx, func(q *dbsqlc.Queries) error {
		count, err = q.EventsMonthCount(ctx, dbsqlc.EventsMonthCountParams{Since: m.firstDay(), Until: (m + 1).firstDay()})
		return err
	})
	return count, err
}

// patient is for reading a large month.
const patient = "SET LOCAL statement_timeout = '10min'"

func (db *DB) patiently(ctx context.Context, do func(*dbsqlc.Queries) error) error {
	return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, patient); err != nil {
			return err
		}
		return do(db.q.WithTx(tx))
	})
}

// dropRows are deleted in one transaction, or have their texts deleted.
const dropRows = 5000

// dropTexts deletes what was said in frozen sessions.
func (run *retaining) dropTexts(ctx context.Context) error {
	if !run.texts.Before(run.done.Horizon.Frozen()) {
		return nil
	}
	for {
		n, err := run.db.q.SessionTextDrop(ctx, dropRows)
		if err != nil || n < dropRows {
			return err
		}
	}
}

func (run *retaining) dropSessions(ctx context.Context) error {
	if n, err := run.db.q.SessionDropCount(ctx, run.done.Horizon.Sessions); err != nil || n == 0 {
		return err
	}
	for {
		var gone struct{ Sessions int64 }
		free, err := run.step(ctx, func(q *dbsqlc.Queries) ([]byte, error) { return q.SessionDrop(ctx, dropRows) },
			&gone, func() *AuditEntry {
				if gone.Sessions == 0 {
					return nil
				}
				return &AuditEntry{
					Action: "retention.drop", Subject: "sessions before " + run.done.Horizon.Sessions.Format(time.DateOnly),
					Details: map[string]any{"sessions": gone.Sessions},
				}
			})
		run.done.Sessions += gone.Sessions
		if err != nil || !free || gone.Sessions < dropRows {
			return err
		}
	}
}

func (m month) String() string { return m.firstDay().Format("2006-01") }
