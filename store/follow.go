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
	Position int64 // everything up to here has been applied
	Head     int64 // of the log, when the step began
}

// Tx is the transaction of one step: what is written in it is kept together
// with the follower's new position, or not at all.
type Tx struct {
	q    *dbsqlc.Queries
	upTo int64 // the position that the step moves to
}

// KeepAlive tells the others that the transaction is at work, while something is
// computed between its statements: whoever is silent for frozenAfter is taken for
// frozen.
func (tx *Tx) KeepAlive(ctx context.Context) error { return tx.q.KeepAlive(ctx) }

// Follow takes the follower's row, gives at most limit events behind its
// position to apply, and moves the position past them: all in one transaction.
// Any number of processes may call it; one at a time gets the row, the others
// are told Busy at once.
func (db *DB) Follow(ctx context.Context, follower string, limit int, apply func(context.Context, *Tx, []*rapport.Event) error) (Step, error) {
	var step Step
	err := db.inTx(ctx, func(q *dbsqlc.Queries) error {
		position, err := q.FollowerLock(ctx, follower)
		if errors.Is(err, pgx.ErrNoRows) {
			step.Busy = true
			return nil
		}
		if err != nil {
			return err
		}
		head, err := q.LogHeadGet(ctx)
		if err != nil {
			return err
		}
		step.Position, step.Head = position, head.Position
		events, err := eventsAfter(ctx, q, position, head.Position, limit)
		if err != nil || position == head.Position {
			return err
		}
		step.Events, step.Position = len(events), head.Position
		if len(events) > 0 { // else the rows up to the head are lost, which is not ours to heal
			step.Position = events[len(events)-1].Position
			if err := apply(ctx, &Tx{q: q, upTo: step.Position}, events); err != nil {
				return err
			}
		}
		return q.FollowerMove(ctx, dbsqlc.FollowerMoveParams{Name: follower, Position: step.Position})
	})
	if err != nil {
		return Step{}, fmt.Errorf("following the log as %q: %w", follower, err)
	}
	if step.Events > 0 {
		// After the commit, and only a wake-up: whoever misses it polls.
		_, _ = db.pool.Exec(ctx, "SELECT pg_notify('rapport_rollups', '')")
	}
	return step, nil
}

func eventsAfter(ctx context.Context, q *dbsqlc.Queries, after, head int64, limit int) ([]*rapport.Event, error) {
	if after >= head {
		return nil, nil
	}
	rows, err := q.EventListAfter(ctx, dbsqlc.EventListAfterParams{
		After: after, UpTo: head, MaxEvents: int32(limit), MaxBytes: maxStepBytes,
	})
	if err != nil {
		return nil, err
	}
	events := make([]*rapport.Event, len(rows))
	for i, row := range rows {
		events[i] = foldedEvent(dbsqlc.EventListOfSpanRow(row))
	}
	return events, nil
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
var ErrSettingsChanged = errors.New("the settings in the database are not those that the sessions were made with: change them back")

// MakeWith binds what a follower writes to the settings that it is made with.
// It is ErrSettingsChanged if something was made with others before.
func (db *DB) MakeWith(ctx context.Context, follower string, settings rapport.Settings) error {
	text, err := json.Marshal(settings)
	if err != nil {
		return fmt.Errorf("writing the settings down: %w", err)
	}
	n, err := db.q.FollowerMakeWith(ctx, dbsqlc.FollowerMakeWithParams{Name: follower, Settings: string(text)})
	if err != nil {
		return fmt.Errorf("binding %q to its settings: %w", follower, err)
	}
	if n == 0 {
		return ErrSettingsChanged
	}
	return nil
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
