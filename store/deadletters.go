package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// DeadLetter is an event that a follower could not take. It was put aside so
// that the others go on, and is in the log all the same.
type DeadLetter struct {
	Follower  string
	Position  int64
	AgentID   string
	SessionID string
	EventType string
	Reason    string // of the last time, in one line
	Attempts  int
	FailedAt  time.Time // the last time, by the database's clock
	Retry     bool      // it is to be tried again
}

// RefusedError says that a projection could not take events, for a reason that
// may lie in them: it failed by itself, or the database refused what it wrote. A
// database that is away, slow, locked or read-only is no such reason.
type RefusedError struct {
	After  int64            // the checkpoint, which has not moved
	Events []*rapport.Event // at least one, in the order of the log
	Err    error
}

func (e *RefusedError) Error() string { return e.Err.Error() }

func (e *RefusedError) Unwrap() error { return e.Err }

// IsSuspect reports whether the reason is rather one of the statements or of the
// database than of an event: a missing right or table, say, or an error within
// Postgres.
func (e *RefusedError) IsSuspect() bool {
	switch stateClass(e.Err) {
	case "0A", "26", "28", "3D", "3F", "42", "F0", "XX":
		return true
	}
	return false
}

// PanicError is what a panic of a projection becomes.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprint("panic: ", e.Value) }

// give gives events to a projection, and writes what that does to the totals.
func (tx *Tx) give(ctx context.Context, events []*rapport.Event, apply Apply) error {
	err := applyCalmly(ctx, tx, events, apply)
	if err == nil {
		return tx.tally.write(ctx, tx.q)
	}
	if !tx.isOwnFault(ctx, err) {
		return err
	}
	return &RefusedError{Err: err}
}

// applyCalmly makes an error of a panic.
func applyCalmly(ctx context.Context, tx *Tx, events []*rapport.Event, apply Apply) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		}
	}()
	return apply(ctx, tx, events)
}

// isOwnFault reports whether a projection failed by itself: it panicked, or its
// error is none of the database's, which still answers.
func (tx *Tx) isOwnFault(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if _, panicked := errors.AsType[*PanicError](err); panicked {
		return true
	}
	if sqlState(err) != "" {
		return false // see refusal
	}
	alive := tx.q.KeepAlive(ctx)
	return alive == nil || sqlState(alive) == failedTransaction
}

// failedTransaction is in_failed_sql_transaction: a statement failed before.
const failedTransaction = "25P02"

// refusal makes a RefusedError of what a step ended with, where it is one: also of
// what Postgres refused, by the commit at the latest.
func refusal(err error, after int64, events []*rapport.Event) error {
	if err == nil || len(events) == 0 {
		return err
	}
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok {
		if IsUnavailable(err) {
			return err
		}
		refused = &RefusedError{Err: err}
	}
	refused.After, refused.Events = after, events
	return refused
}

// IsTooMuch reports whether a step failed for its size, so that smaller ones may
// do: it ran into statement_timeout, or out of memory.
func IsTooMuch(err error) bool {
	state := sqlState(err)
	return state == "57014" || state == "53200"
}

// stateClass is the class of an error's SQLSTATE, empty for any other error.
func stateClass(err error) string {
	if state := sqlState(err); len(state) == 5 {
		return state[:2]
	}
	return ""
}

// PutAside makes a dead letter of the one event that a follower could not take,
// in the transaction that moves the checkpoint past it. It reports false, having
// done nothing, if another process has the checkpoint or has moved it.
func (db *DB) PutAside(ctx context.Context, follower string, settings rapport.Settings, refused *RefusedError, attempts int) (bool, error) {
	event := refused.Events[0]
	var done bool
	_, err := db.asFollower(ctx, follower, settings, func(q *dbsqlc.Queries, at dbsqlc.FollowerLockRow) error {
		if at.Position != refused.After {
			return nil
		}
		if err := q.DeadLetterInsert(ctx, dbsqlc.DeadLetterInsertParams{
			Follower: follower, Position: event.Position, AgentID: event.AgentID, SessionID: event.SessionID,
			EventType: event.Type, Reason: reasonOf(refused.Err), Attempts: int32(attempts),
		}); err != nil {
			return err
		}
		done = true
		return q.FollowerMove(ctx, dbsqlc.FollowerMoveParams{Name: follower, Position: event.Position})
	})
	if err != nil {
		return false, fmt.Errorf("putting event %d aside: %w", event.Position, err)
	}
	if done {
		db.announceRollups(ctx)
	}
	return done, nil
}

// maxReasonBytes bounds a reason: a panic's value can be anything.
const maxReasonBytes = 500

// reasonOf is an error in one line that Postgres can hold.
func reasonOf(err error) string {
	reason := strings.Join(strings.Fields(rapport.CleanText(err.Error())), " ")
	if len(reason) <= maxReasonBytes {
		return reason
	}
	cut := maxReasonBytes
	for !utf8.RuneStart(reason[cut]) {
		cut--
	}
	return reason[:cut] + "…"
}

// FollowAgain takes at most limit of the dead letters that are to be tried again
// out of them, and gives them to apply as late events, in one transaction. It
// tells how many; none if another process follows. The errors are those of
// Follow.
func (db *DB) FollowAgain(ctx context.Context, follower string, settings rapport.Settings, limit int, apply Apply) (int, error) {
	var taken []int64
	var events []*rapport.Event
	_, err := db.asFollower(ctx, follower, settings, func(q *dbsqlc.Queries, at dbsqlc.FollowerLockRow) (err error) {
		taken, err = q.DeadLetterTake(ctx, dbsqlc.DeadLetterTakeParams{
			Follower: follower, UpTo: at.Position, MaxRows: int32(limit),
		})
		if err != nil || len(taken) == 0 {
			return err
		}
		rows, err := q.EventListAt(ctx, taken)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, row := range rows {
			events = append(events, foldedEvent(dbsqlc.EventListOfSpanRow(row)))
		}
		tx := &Tx{q: q, follower: follower, upTo: at.Position} // so far the others are in it
		if follower == SessionsFollower {
			if err := tx.tally.countPositions(ctx, q, positionsIn(events), 1); err != nil {
				return err
			}
		}
		return tx.give(ctx, events, apply)
	})
	if err != nil {
		return 0, fmt.Errorf("trying dead letters of %q again: %w", follower, refusal(err, 0, events))
	}
	if len(taken) > 0 {
		db.announceRollups(ctx)
	}
	return len(taken), nil
}

// PutBack notes that the one dead letter that was tried again failed again.
func (db *DB) PutBack(ctx context.Context, follower string, refused *RefusedError) error {
	err := db.q.DeadLetterPutBack(ctx, dbsqlc.DeadLetterPutBackParams{
		Follower: follower, Position: refused.Events[0].Position, Reason: reasonOf(refused.Err),
	})
	if err != nil {
		return fmt.Errorf("putting event %d back: %w", refused.Events[0].Position, err)
	}
	return nil
}

// errTaken rolls a trial back.
var errTaken = errors.New("it could be taken")

// How far a trial looks ahead, and how many events it tries.
const (
	trialSpan   = 10_000
	trialEvents = 10
)

// TakesOthers tries whether a projection can take anything at all: an event of a
// conversation without a dead letter, from further on in the log. Nothing of the
// trial stays. It is also true if another process follows, which may know better.
func (db *DB) TakesOthers(ctx context.Context, follower string, settings rapport.Settings, after int64, apply Apply) (bool, error) {
	rows, err := db.q.EventListAhead(ctx, dbsqlc.EventListAheadParams{
		Follower: follower, After: after, MaxEvents: trialSpan, MaxRows: trialEvents,
	})
	if err != nil {
		return false, fmt.Errorf("looking ahead in the log: %w", err)
	}
	for _, row := range rows {
		event := foldedEvent(dbsqlc.EventListOfSpanRow(row))
		busy, err := db.asFollower(ctx, follower, settings, func(q *dbsqlc.Queries, _ dbsqlc.FollowerLockRow) error {
			tx := &Tx{q: q, follower: follower, upTo: event.Position}
			if err := tx.give(ctx, []*rapport.Event{event}, apply); err != nil {
				return err
			}
			return errTaken
		})
		if busy || errors.Is(err, errTaken) {
			return true, nil
		}
		err = refusal(err, after, []*rapport.Event{event})
		if _, refused := errors.AsType[*RefusedError](err); !refused {
			return false, fmt.Errorf("looking ahead in the log: %w", err)
		}
	}
	return false, nil
}

// DeadLettersAfter counts a follower's dead letters behind a position.
func (db *DB) DeadLettersAfter(ctx context.Context, follower string, position int64) (int64, error) {
	n, err := db.q.DeadLetterCountAfter(ctx, dbsqlc.DeadLetterCountAfterParams{Follower: follower, Position: position})
	if err != nil {
		return 0, fmt.Errorf("counting the dead letters: %w", err)
	}
	return n, nil
}

// DeadLetterTally is how many dead letters each follower has.
func (db *DB) DeadLetterTally(ctx context.Context) (map[string]int64, error) {
	rows, err := db.q.DeadLetterTally(ctx)
	if err != nil {
		return nil, fmt.Errorf("counting the dead letters: %w", err)
	}
	tally := make(map[string]int64, len(rows))
	for _, row := range rows {
		tally[row.Follower] = row.Letters
	}
	return tally, nil
}

// DeadLetterList is a page of dead letters, the newest events first, behind that
// of a position and follower; position 0 begins. Where agents are named, it is of
// theirs.
func (db *DB) DeadLetterList(ctx context.Context, behind int64, follower string, limit int, agents ...string) ([]DeadLetter, error) {
	rows, err := db.q.DeadLetterList(ctx, dbsqlc.DeadLetterListParams{
		BeforePosition: behind, BeforeFollower: follower, MaxRows: int32(limit), Agents: orNone(agents),
	})
	if err != nil {
		return nil, fmt.Errorf("reading the dead letters: %w", err)
	}
	letters := make([]DeadLetter, len(rows))
	for i, row := range rows {
		letters[i] = DeadLetter{
			Follower: row.Follower, Position: row.Position, AgentID: row.AgentID, SessionID: row.SessionID,
			EventType: row.EventType, Reason: row.Reason, Attempts: int(row.Attempts), FailedAt: row.FailedAt,
			Retry: row.Retry,
		}
	}
	return letters, nil
}

// RetryDeadLetters has the dead letters at the positions tried again, soon, by
// whoever follows, and records who wanted it. It tells which of them there are.
func (db *DB) RetryDeadLetters(ctx context.Context, positions []int64, actor string) (found []int64, err error) {
	err = db.inTx(ctx, func(q *dbsqlc.Queries) error {
		if found, err = q.DeadLetterRetryMany(ctx, positions); err != nil || len(found) == 0 {
			return err
		}
		return audit(ctx, q, AuditEntry{
			Actor: actor, Action: "dead_letter.retry", Subject: listed(found), Details: map[string]any{"retrying": len(found)},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("marking dead letters: %w", err)
	}
	db.wakeFollowers(ctx)
	return found, nil
}

// RetryAllDeadLetters has all of them tried again, and records who wanted it. It
// tells how many were not about to be anyway.
func (db *DB) RetryAllDeadLetters(ctx context.Context, actor string) (n int64, err error) {
	err = db.inTx(ctx, func(q *dbsqlc.Queries) error {
		if n, err = q.DeadLetterRetryAll(ctx); err != nil {
			return err
		}
		return audit(ctx, q, AuditEntry{
			Actor: actor, Action: "dead_letter.retry", Subject: "all", Details: map[string]any{"retrying": n},
		})
	})
	if err != nil {
		return 0, fmt.Errorf("marking dead letters: %w", err)
	}
	db.wakeFollowers(ctx)
	return n, nil
}

// wakeFollowers is only a wake-up: whoever misses it polls.
func (db *DB) wakeFollowers(ctx context.Context) { _ = db.q.LogNotify(ctx) }
