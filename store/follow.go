package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// SessionsFollower is the follower whose projection are the session rollups.
const SessionsFollower = "sessions"

// frozenAfter is for how long a transaction of ours may wait for its client.
// idle_in_transaction_session_timeout ends most of them; the rest is frozen in
// the middle of a message, which no timeout of Postgres sees.
const frozenAfter = 6 * time.Second

// maxStepBytes bounds the texts of a step. One event is always taken.
const maxStepBytes = 4 << 20

// Step tells what a follower's step did.
type Step struct {
	Busy     bool  // another process follows: nothing was done
	Events   int   // events of this step
	Counted  bool  // it has made totals of a month that was there before: see followers.to_count
	Position int64 // everything up to here has been applied, or is a dead letter
	Head     int64 // of the log, when the step began
	Retry    bool  // dead letters wait to be tried again: see FollowAgain
}

// Apply derives something from events, in the transaction of their step.
type Apply func(context.Context, *Tx, []*rapport.Event) error

// Tx is the transaction of one step: what is written in it is kept together
// with the follower's new position, or not at all.
type Tx struct {
	q        *dbsqlc.Queries
	follower string
	upTo     int64                  // the position that the step moves to
	refused  map[int64]refusedEvent // left out, as dead letters are, which a rebuild makes of them at its end
	tally    tally                  // what it does to the totals
}

// KeepAlive tells the others that the transaction is at work, while something is
// computed between its statements: whoever is silent for frozenAfter is taken for
// frozen.
func (tx *Tx) KeepAlive(ctx context.Context) error { return tx.q.KeepAlive(ctx) }

// Follow takes the follower's row, gives at most limit events behind its
// position to apply, and moves the position past them: all in one transaction.
// Any number of processes may call it; one at a time gets the row, the others
// are told Busy at once.
//
// It is ErrSettingsChanged if what the follower writes is made with other
// settings, and a *RefusedError if apply fails for a reason that may lie in the
// events.
func (db *DB) Follow(ctx context.Context, follower string, settings rapport.Settings, limit int, apply Apply) (Step, error) {
	var step Step
	var events, stubs []*rapport.Event
	var after int64
	busy, err := db.asFollower(ctx, follower, settings, func(q *dbsqlc.Queries, at dbsqlc.FollowerLockRow) error {
		head, err := q.LogHeadGet(ctx)
		if err != nil {
			return err
		}
		after = at.Position
		if at.ToCount.Valid {
			step = Step{Position: after, Head: head.Position, Counted: true}
			return countMonth(ctx, q, follower, at.ToCount.Time, after)
		}
		step = Step{Position: after, Head: head.Position, Retry: at.Retry}
		if after == head.Position {
			return nil
		}
		if db.tail.since(head.Generation) {
			db.kept.forget()
		}
		if !at.Ahead {
			events = db.tail.after(after, head.Position, limit)
		}
		if len(events) == 0 {
			if events, stubs, err = eventsAfter(ctx, q, follower, after, head.Position, limit); err != nil {
				return err
			}
		}
		step.Events, step.Position = len(events), head.Position
		if len(events)+len(stubs) > 0 { // else the rows up to the head are lost, which is not ours to heal
			step.Position = lastPosition(events, stubs)
			tx := &Tx{q: q, follower: follower, upTo: step.Position}
			if follower == SessionsFollower {
				tx.tally.add(1, events...)
				tx.tally.add(1, stubs...)
			}
			if err := tx.give(ctx, events, apply); err != nil {
				return err
			}
		}
		return q.FollowerMove(ctx, dbsqlc.FollowerMoveParams{Name: follower, Position: step.Position})
	})
	if err != nil || busy {
		db.tail.forget()
	}
	if err != nil {
		return Step{}, fmt.Errorf("following the log as %q: %w", follower, refusal(err, after, events))
	}
	step.Busy = busy
	db.tail.followed(step.Position)
	if step.Events > 0 {
		db.announceRollups(ctx)
	}
	return step, nil
}

// asFollower runs do in a transaction that holds the follower's row, unless
// another process has it.
func (db *DB) asFollower(ctx context.Context, follower string, settings rapport.Settings, do func(*dbsqlc.Queries, dbsqlc.FollowerLockRow) error) (busy bool, err error) {
	text, err := settingsText(settings)
	if err != nil {
		return false, err
	}
	err = db.inTx(ctx, func(q *dbsqlc.Queries) error {
		at, err := q.FollowerLock(ctx, follower)
		if errors.Is(err, pgx.ErrNoRows) {
			busy = true
			return nil
		}
		if err != nil {
			return err
		}
		switch at.MadeWith {
		case text:
		case "": // nothing is made yet
			if err := q.FollowerBind(ctx, dbsqlc.FollowerBindParams{Name: follower, Settings: text}); err != nil {
				return err
			}
		default:
			return ErrSettingsChanged
		}
		return do(q, at)
	})
	return busy, err
}

// announceRollups comes after the commit, and is only a wake-up: whoever misses
// it polls.
func (db *DB) announceRollups(ctx context.Context) {
	_, _ = db.pool.Exec(ctx, "SELECT pg_notify('rapport_rollups', '')")
}

// eventsAfter are the next events of the log, and the stubs among them, which only
// count.
func eventsAfter(ctx context.Context, q *dbsqlc.Queries, follower string, after, head int64, limit int) (events, stubs []*rapport.Event, err error) {
	if after >= head {
		return nil, nil, nil
	}
	rows, err := q.EventListAfter(ctx, dbsqlc.EventListAfterParams{
		Follower: follower, After: after, UpTo: head, MaxEvents: int32(limit), MaxBytes: maxStepBytes,
	})
	if err != nil {
		return nil, nil, err
	}
	events = make([]*rapport.Event, 0, len(rows))
	for _, row := range rows {
		if event := followedEvent(row); row.Erasure == nil || row.EventType == ErasedEvent {
			events = append(events, event)
		} else {
			stubs = append(stubs, event)
		}
	}
	return events, stubs, nil
}

// lastPosition is the greatest position of events in the order of the log.
func lastPosition(lists ...[]*rapport.Event) int64 {
	var last int64
	for _, events := range lists {
		if n := len(events); n > 0 {
			last = max(last, events[n-1].Position)
		}
	}
	return last
}

func positionsIn(events []*rapport.Event) []int64 {
	positions := make([]int64, len(events))
	for i, e := range events {
		positions[i] = e.Position
	}
	return positions
}

// followedEvent has what a fold looks at, and what an event is counted by.
func followedEvent(row dbsqlc.EventListAfterRow) *rapport.Event {
	event := foldedEvent(dbsqlc.EventListOfSpanRow{
		Position: row.Position, OccurredAt: row.OccurredAt, ReceivedAt: row.ReceivedAt, Participants: row.Participants,
		EventType: row.EventType, AgentID: row.AgentID, SessionID: row.SessionID, UserID: row.UserID, Role: row.Role,
		Message: row.Message, RoomName: row.RoomName, EndReason: row.EndReason, Rating: row.Rating,
		Fingerprint: row.Fingerprint, HealedFrom: row.HealedFrom,
	})
	event.ErrorCode, event.ErrorSeverity, event.ErrorCategory = row.ErrorCode, row.ErrorSeverity, row.ErrorCategory
	return event
}

// foldedEvent has of an event what a fold looks at; not its payload.
func foldedEvent(row dbsqlc.EventListOfSpanRow) *rapport.Event {
	return &rapport.Event{
		Position:     row.Position,
		Fingerprint:  rapport.Fingerprint(row.Fingerprint),
		OccurredAt:   row.OccurredAt,
		ReceivedAt:   row.ReceivedAt,
		Type:         row.EventType,
		AgentID:      row.AgentID,
		SessionID:    row.SessionID,
		UserID:       row.UserID,
		Role:         row.Role,
		Text:         row.Message,
		Participants: row.Participants,
		RoomName:     row.RoomName,
		EndReason:    row.EndReason,
		Rating:       row.Rating,
		HealedFrom:   row.HealedFrom,
	}
}

// Lag is how far a follower is behind the log.
type Lag struct {
	Position int64
	Head     int64
	Events   int64         // not yet followed
	Age      time.Duration // since the oldest of them was received; 0 if there is none
}

// FollowerLag tells how far a follower is behind, by the clock given.
func (db *DB) FollowerLag(ctx context.Context, follower string, now time.Time) (Lag, error) {
	row, err := db.q.FollowerLag(ctx, follower)
	if err != nil {
		return Lag{}, fmt.Errorf("reading how far %q has followed: %w", follower, err)
	}
	lag := Lag{Position: row.Position, Head: row.Head, Events: row.Head - row.Position}
	if lag.Events > 0 {
		lag.Age = max(0, now.Sub(row.WaitsSince))
	}
	return lag, nil
}

// FollowerPosition is the position up to which a follower has come.
func (db *DB) FollowerPosition(ctx context.Context, follower string) (int64, error) {
	position, err := db.q.FollowerPosition(ctx, follower)
	if err != nil {
		return 0, fmt.Errorf("reading how far %q has followed: %w", follower, err)
	}
	return position, nil
}

// ErrSettingsChanged says that the settings are not those that the rollups were
// made with: old and new numbers could not be compared.
var ErrSettingsChanged = errors.New("the settings in the database are not those that the sessions were made with: " +
	"change them back, or run `rapport rebuild`")

// MakeWith binds what a follower writes to the settings that it is made with.
// It is ErrSettingsChanged if something was made with others before, and
// ErrRestoreUnfinished if the log is only a part of one.
func (db *DB) MakeWith(ctx context.Context, follower string, settings rapport.Settings) error {
	text, err := settingsText(settings)
	if err != nil {
		return err
	}
	n, err := db.q.FollowerMakeWith(ctx, dbsqlc.FollowerMakeWithParams{Name: follower, Settings: text})
	if err != nil {
		return fmt.Errorf("binding %q to its settings: %w", follower, err)
	}
	if err := requireRestoring(ctx, db.q, ""); err != nil || n > 0 {
		return err
	}
	return ErrSettingsChanged
}

// MadeWith are the settings that what a follower writes is made with. Those of
// another version of Rapport, which has other rules, are an error.
func (db *DB) MadeWith(ctx context.Context, follower string) (rapport.Settings, error) {
	text, err := db.q.FollowerMadeWith(ctx, follower)
	if err != nil {
		return rapport.Settings{}, fmt.Errorf("reading the settings of %q: %w", follower, err)
	}
	var with madeWith
	if err := json.Unmarshal([]byte(text), &with); err != nil {
		return rapport.Settings{}, fmt.Errorf("reading the settings of %q: %w", follower, err)
	}
	if again, err := settingsText(with.Settings); err != nil || again != text {
		return rapport.Settings{}, fmt.Errorf("%q is made with rules that this rapport does not know: run the newer rapport", follower)
	}
	return with.Settings, nil
}

// madeWith is what followers.made_with tells. A server that does not know all of it
// stands still: one that is older than a table would not keep it, while others do.
type madeWith struct {
	rapport.Settings
	Totals bool // session_totals and event_counts are kept as well: see 00010_totals.sql
}

// settingsText is how followers.made_with tells settings.
func settingsText(settings rapport.Settings) (string, error) {
	text, err := json.Marshal(madeWith{Settings: settings, Totals: true})
	if err != nil {
		return "", fmt.Errorf("writing the settings down: %w", err)
	}
	return string(text), nil
}

// EndFrozen ends transactions of frozen or vanished peers, which hold locks
// that others wait for, and tells how many.
func (db *DB) EndFrozen(ctx context.Context) (int, error) {
	ended, err := db.q.FrozenTerminate(ctx, pgtype.Interval{Microseconds: frozenAfter.Microseconds(), Valid: true})
	if err != nil {
		return 0, fmt.Errorf("looking for frozen peers: %w", err)
	}
	return len(ended), nil
}

// strangerIdle is for how long a stranger may idle in a transaction that we wait
// for.
const strangerIdle = 10 * time.Second

// Blocker is a connection of somebody else's that keeps the followers from
// working.
type Blocker struct {
	PID         int
	Role        string
	Application string
	State       string        // as pg_stat_activity tells it; empty where that is hidden from us
	Idle        time.Duration // in this state
	Ended       bool          // it was of our own role, and has been idle in its transaction for too long
}

// EndBlockers finds the strangers that keep the followers from working, and ends
// those that it may and should: of our own role, and idle in their transaction
// for more than 10 s. What the others do is not ours to judge.
func (db *DB) EndBlockers(ctx context.Context) ([]Blocker, error) {
	rows, err := db.q.BlockerList(ctx, int32(strangerIdle/time.Second))
	if err != nil {
		return nil, fmt.Errorf("looking for who holds our locks: %w", err)
	}
	blockers := make([]Blocker, len(rows))
	for i, row := range rows {
		blockers[i] = Blocker{
			PID: int(row.Pid), Role: row.Usename, Application: row.ApplicationName, State: row.State,
			Idle: time.Duration(row.IdleS) * time.Second, Ended: row.Ended,
		}
	}
	return blockers, nil
}
