package store

import (
	"context"
	"fmt"
	"time"
)

// SeenAgent is an agent that had a session once.
type SeenAgent struct {
	AgentID     string
	FirstSeenAt time.Time // start of its first session; zero if none is left
	LastSeenAt  time.Time // last activity of the session that began last; zero if none is left
}

// SeenAgents are all agents that ever had a session, of those that are named if any
// are, by their ids.
func (db *DB) SeenAgents(ctx context.Context, agents []string) ([]SeenAgent, error) {
	rows, err := db.q.AgentListSeen(ctx, orNone(agents))
	if err != nil {
		return nil, fmt.Errorf("listing agents: %w", err)
	}
	seen := make([]SeenAgent, len(rows))
	for i, row := range rows {
		seen[i] = SeenAgent{AgentID: row.AgentID}
		if row.FirstSeenAt.Unix() != 0 {
			seen[i].FirstSeenAt, seen[i].LastSeenAt = row.FirstSeenAt, row.LastSeenAt
		}
	}
	return seen, nil
}

// SessionsStarted is from when to when sessions started: those of any earlier or later
// time are none. It is 1970 if there is none at all.
func (db *DB) SessionsStarted(ctx context.Context) (first, last time.Time, err error) {
	row, err := db.q.SessionStartRange(ctx)
	if err != nil {
		return first, last, fmt.Errorf("looking for the first and the last session: %w", err)
	}
	return row.First, row.Last, nil
}
