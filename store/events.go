package store

import (
	"context"
	"fmt"

	"rapport/store/internal/dbsqlc"
)

// MaxScan is how many events one query looks at that a filter may leave out.
const MaxScan = 5_000

// EventQuery asks for events in the order of the log: those of the positions
// (After, UpTo], of which all filters are true. An empty filter leaves nothing out.
type EventQuery struct {
	After     int64
	UpTo      int64 // a head that was read before: who has read it finds every event up to it
	AgentID   string
	SessionID string
	EventType string
	Agents    []string // of these alone
	Limit     int
}

func (query *EventQuery) isFiltered() bool {
	return query.AgentID != "" || query.SessionID != "" || query.EventType != "" || len(query.Agents) > 0
}

// EventsBehind are the next events behind a position, stubs included, and the position
// that was reached: what the query asks for up to there is among them. It may be short
// of UpTo with fewer events than the limit, or none, for it looks at so many at most.
// What retention has dropped is not there any more.
func (db *DB) EventsBehind(ctx context.Context, query EventQuery) (events []StoredEvent, reached int64, err error) {
	if query.After >= query.UpTo {
		return nil, query.After, nil
	}
	upTo := query.UpTo
	if query.isFiltered() {
		reach, err := db.q.EventReach(ctx, dbsqlc.EventReachParams{After: query.After, UpTo: upTo, Skipped: MaxScan - 1})
		if err != nil {
			return nil, 0, fmt.Errorf("reading the log: %w", err)
		}
		if reach > 0 {
			upTo = reach
		}
	}
	rows, err := db.q.EventListBehind(ctx, dbsqlc.EventListBehindParams{
		After: query.After, UpTo: upTo, AgentID: query.AgentID, Agents: orNone(query.Agents),
		SessionID: query.SessionID, EventType: query.EventType, MaxRows: int32(query.Limit),
	})
	if err != nil {
		return nil, 0, fmt.Errorf("reading the log: %w", err)
	}
	events = make([]StoredEvent, len(rows))
	for i, row := range rows {
		events[i] = StoredEvent{
			Event:   storedEvent(dbsqlc.EventListOfSessionRow(row)),
			Payload: row.Payload, PayloadRaw: row.PayloadRaw, Erasure: row.Erasure,
		}
	}
	if len(rows) == query.Limit {
		upTo = rows[len(rows)-1].Position
	}
	return events, upTo, nil
}
