package store

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// RetainedRecord is what the database says of what has gone for its age.
type RetainedRecord struct {
	Missing     bool // the table retention has no row
	Horizon     Horizon
	TextsBefore time.Time // sessions that began earlier have no texts any more
	Months      []DroppedMonth
	Sessions    int64 // dropped
	Counts      int64 // sum of their event_count

	frozen  map[Conversation]time.Time // up to when, of sessions that end behind the horizon
	dropped map[month]bool
	stubbed map[month]bool
}

// DroppedMonth is what a month of events was before it was dropped.
type DroppedMonth struct {
	Month         time.Time // its first day
	Events        int64
	NoSession     int64 // those of them that belonged to no session
	Superseded    int64 // those of them that were superseded
	Healed        int64 // those of them that were healed
	Announced     int64 // those of them that announced an erasure
	FirstPosition int64 // 0 if it had none
	LastPosition  int64
	PositionSum   *big.Int
	Newest        time.Time // receipt; zero if it had none
}

func (s *Snapshot) recordedRetention(ctx context.Context, r *Recorded) error {
	t := &r.Retained
	row, err := s.q.RetentionGet(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		t.Missing, t.Horizon = true, beginning
		return nil
	}
	if err != nil {
		return err
	}
	t.Horizon, t.TextsBefore = horizonOf(row), row.TextsBefore
	t.Sessions, t.Counts = row.DroppedSessions, row.DroppedCounts
	for _, read := range []func(context.Context, *RetainedRecord) error{s.droppedMonths, s.stubbedMonths, s.frozenSpans} {
		if err := read(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (s *Snapshot) droppedMonths(ctx context.Context, t *RetainedRecord) error {
	rows, err := s.q.DroppedMonthList(ctx)
	t.dropped = make(map[month]bool, len(rows))
	for _, row := range rows {
		sum, ok := new(big.Int).SetString(row.PositionSum, 10)
		if !ok {
			return fmt.Errorf("dropped_months has the position_sum %q", row.PositionSum)
		}
		t.dropped[monthOf(row.Month.Time)] = true
		t.Months = append(t.Months, DroppedMonth{
			Month: row.Month.Time, Events: row.Events, NoSession: row.NoSession, Superseded: row.Superseded, Healed: row.Healed,
			Announced: row.Announced, FirstPosition: row.FirstPosition, LastPosition: row.LastPosition, PositionSum: sum,
			Newest: orZero(row.NewestReceivedAt),
		})
	}
	return err
}

func (s *Snapshot) stubbedMonths(ctx context.Context, t *RetainedRecord) error {
	rows, err := s.q.StubbedMonthList(ctx)
	t.stubbed = monthSet(rows)
	return err
}

func monthSet(dates []pgtype.Date) map[month]bool {
	set := make(map[month]bool, len(dates))
	for _, date := range dates {
		set[monthOf(date.Time)] = true
	}
	return set
}

func (s *Snapshot) frozenSpans(ctx context.Context, t *RetainedRecord) error {
	rows, err := s.q.FrozenSpanList(ctx)
	t.frozen = make(map[Conversation]time.Time, len(rows))
	for _, row := range rows {
		t.frozen[Conversation{row.AgentID, row.SessionID}] = row.FrozenUntil
	}
	return err
}

// IsFrozen reports whether an event of a conversation is below the horizon, or in a
// session that began there: its numbers can't be proved any more.
func (t *RetainedRecord) IsFrozen(of Conversation, occurredAt time.Time) bool {
	return occurredAt.Before(t.Horizon.Frozen()) || !occurredAt.After(t.frozen[of])
}

// IsDropped reports whether the log must have no event of this time.
func (t *RetainedRecord) IsDropped(occurredAt time.Time) bool { return t.dropped[monthOf(occurredAt)] }

// IsStubbed reports whether the log must have no whole event of this time.
func (t *RetainedRecord) IsStubbed(occurredAt time.Time) bool { return t.stubbed[monthOf(occurredAt)] }
