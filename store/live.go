package store

import (
	"context"
	"fmt"
	"time"

	"rapport/store/internal/dbsqlc"
)

// LiveState is how far the log and its sessions are, at one moment.
type LiveState struct {
	Head       int64 // position of the last event of the log
	Followed   int64 // the sessions have every event up to here; at most Head
	Generation int64 // moves whenever events become stubs: what was read of them before is not to be shown any more
}

// LiveState reads it.
func (db *DB) LiveState(ctx context.Context) (LiveState, error) {
	row, err := db.q.LiveState(ctx)
	if err != nil {
		return LiveState{}, fmt.Errorf("reading how far the log is: %w", err)
	}
	return LiveState{Head: row.Head, Followed: row.Followed, Generation: row.Generation}, nil
}

// ChangeQuery asks for the sessions that the events of the positions (After, UpTo]
// have changed, of which all filters are true. An empty filter leaves nothing out.
type ChangeQuery struct {
	After     int64
	UpTo      int64 // a LiveState.Followed that was read before, or less
	AgentID   string
	SessionID string
	Agents    []string // of these alone
}

// ToldSession is a session that has changed, as it is now.
type ToldSession struct {
	SessionRow
	ToldAt int64 // the position of the event at which it is told: its last one, unless another has changed it

	// Other sessions of the conversation that began behind After and before Before are no
	// more: they are part of this one, or begin at another time. Zero: there is no such
	// bound.
	After, Before time.Time
}

// changeScan is how many events one query takes the changes of.
const changeScan = 1000

// ChangedSessions are the next sessions that have changed, in the order of ToldAt, and
// the position that was reached: all changes up to there are among them. A session that
// is changed again by an event behind UpTo may be missing: it is told there, once.
func (db *DB) ChangedSessions(ctx context.Context, query ChangeQuery) (changes []ToldSession, reached int64, err error) {
	if query.After >= query.UpTo {
		return nil, query.After, nil
	}
	upTo := query.UpTo
	if upTo-query.After > changeScan { // else there can be no more
		reach, err := db.q.EventReach(ctx, dbsqlc.EventReachParams{After: query.After, UpTo: upTo, Skipped: changeScan - 1})
		if err != nil {
			return nil, 0, fmt.Errorf("reading the log: %w", err)
		}
		if reach > 0 {
			upTo = reach
		}
	}
	rows, err := db.q.SessionChangeList(ctx, dbsqlc.SessionChangeListParams{
		After: query.After, UpTo: upTo, AgentID: query.AgentID, SessionID: query.SessionID, Agents: orNone(query.Agents),
	})
	if err != nil {
		return nil, 0, fmt.Errorf("reading which sessions have changed: %w", err)
	}
	changes = make([]ToldSession, len(rows))
	for i, row := range rows {
		changes[i] = ToldSession{
			SessionRow: SessionRow{Session: sessionOf(row.Session), ClosesAt: row.Session.ClosesAt}, ToldAt: row.ToldAt,
			After: orNoTime(row.ToldAfter), Before: orNoTime(row.ToldBefore),
		}
	}
	return changes, upTo, nil
}

// orNoTime is zero for the epoch.
func orNoTime(t time.Time) time.Time {
	if t.Unix() == 0 {
		return time.Time{}
	}
	return t
}
