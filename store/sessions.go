package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// SessionSort is a column that sessions can be listed by.
type SessionSort string

// The columns of SessionSort.
const (
	SortStartedAt       SessionSort = "started_at"
	SortLastActivityAt  SessionSort = "last_activity_at"
	SortMessageCount    SessionSort = "message_count"
	SortEngagementScore SessionSort = "engagement_score"
	SortQualityScore    SessionSort = "quality_score"
	SortDuration        SessionSort = "duration_s"
)

// sortColumns are the columns of the table behind them. All sort as integers
// do, times in microseconds, so that a cursor needs one kind of value.
var sortColumns = map[SessionSort]struct {
	column string
	isTime bool
	value  func(*SessionRow) *int64
}{
	SortStartedAt:       {"started_at", true, func(r *SessionRow) *int64 { return micros(r.StartedAt) }},
	SortLastActivityAt:  {"last_activity_at", true, func(r *SessionRow) *int64 { return micros(r.LastActivityAt) }},
	SortMessageCount:    {"message_count", false, func(r *SessionRow) *int64 { return &r.MessageCount }},
	SortEngagementScore: {"engagement_tenths", false, func(r *SessionRow) *int64 { n := r.EngagementScore(); return &n }},
	SortQualityScore: {"quality_tenths", false, func(r *SessionRow) *int64 {
		if n, ok := r.QualityScore(); ok {
			return &n
		}
		return nil
	}},
	SortDuration: {"duration_ms", false, func(r *SessionRow) *int64 { n := r.DurationMs(); return &n }},
}

func micros(t time.Time) *int64 {
	us := t.UnixMicro()
	return &us
}

// SessionRow is a session as it is stored.
type SessionRow struct {
	rapport.Session
	ClosesAt time.Time
}

// SessionPlace is a place in a sorted list of sessions: behind a session.
type SessionPlace struct {
	Value *int64 // of the sort column; microseconds if that is a time; nil if null
	Key   SessionKey
}

// SessionQuery asks for a page of sessions. Zero values filter nothing.
type SessionQuery struct {
	From, To       time.Time // [From, To) on started_at
	AgentID        string
	Agents         []string // of these alone
	SessionID      string
	Status         string // open or closed, at Now
	EngagementTier string
	MinMessages    int64
	Now            time.Time
	Sort           SessionSort
	Descending     bool
	After          *SessionPlace
	Limit          int
}

// Sessions is a page of sessions, and the place behind its last one if there
// are more. Ties sort by (agent_id, session_id, started_at); nulls come last.
func (db *DB) Sessions(ctx context.Context, query SessionQuery) ([]SessionRow, *SessionPlace, error) {
	sql, args := query.sql()
	rows, err := db.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, nil, fmt.Errorf("listing sessions: %w", err)
	}
	stored, err := pgx.CollectRows(rows, pgx.RowToStructByPos[dbsqlc.Session])
	if err != nil {
		return nil, nil, fmt.Errorf("listing sessions: %w", err)
	}
	more := len(stored) > query.Limit
	stored = stored[:min(len(stored), query.Limit)]
	sessions := sessionRows(stored)
	if !more {
		return sessions, nil, nil
	}
	last := &sessions[len(sessions)-1]
	return sessions, &SessionPlace{Value: sortColumns[query.Sort].value(last), Key: KeyOf(&last.Session)}, nil
}

func sessionRows(stored []dbsqlc.Session) []SessionRow {
	sessions := make([]SessionRow, len(stored))
	for i, row := range stored {
		sessions[i] = SessionRow{Session: sessionOf(row), ClosesAt: row.ClosesAt}
	}
	return sessions
}

// SessionsOfID are all sessions of a session_id, in the order of time; of any
// agent if agentID is empty, and of any of the agents if some are named.
func (db *DB) SessionsOfID(ctx context.Context, sessionID, agentID string, agents ...string) ([]SessionRow, error) {
	rows, err := db.q.SessionListOfID(ctx, dbsqlc.SessionListOfIDParams{SessionID: sessionID, AgentID: agentID, Agents: orNone(agents)})
	if err != nil {
		return nil, fmt.Errorf("reading sessions: %w", err)
	}
	return sessionRows(rows), nil
}

// OpenSessions counts the sessions that are open at a time.
func (db *DB) OpenSessions(ctx context.Context, now time.Time) (int64, error) {
	n, err := db.q.SessionCountOpen(ctx, now)
	if err != nil {
		return 0, fmt.Errorf("counting open sessions: %w", err)
	}
	return n, nil
}

// conditions gathers a WHERE clause and its arguments.
type conditions struct {
	clauses []string
	args    []any
}

// add takes a clause with a %s for each argument's place.
func (c *conditions) add(clause string, args ...any) {
	places := make([]any, len(args))
	for i, arg := range args {
		c.args = append(c.args, arg)
		places[i] = fmt.Sprintf("$%d", len(c.args))
	}
	c.clauses = append(c.clauses, fmt.Sprintf(clause, places...))
}

func (query *SessionQuery) sql() (string, []any) {
	var where conditions
	if !query.From.IsZero() {
		where.add("started_at >= %s", query.From)
	}
	if !query.To.IsZero() {
		where.add("started_at < %s", query.To)
	}
	if query.AgentID != "" {
		where.add("agent_id = %s", query.AgentID)
	}
	if len(query.Agents) > 0 {
		where.add("agent_id = ANY(%s)", query.Agents)
	}
	if query.SessionID != "" {
		where.add("session_id = %s", query.SessionID)
	}
	switch query.Status {
	case "open":
		where.add("closes_at > %s", query.Now)
	case "closed":
		where.add("closes_at <= %s", query.Now)
	}
	if query.EngagementTier != "" {
		where.add("engagement_tier = %s", query.EngagementTier)
	}
	if query.MinMessages > 0 {
		where.add("message_count >= %s", query.MinMessages)
	}
	column := sortColumns[query.Sort].column
	if query.After != nil {
		query.after(&where, column)
	}
	direction := "ASC"
	if query.Descending {
		direction = "DESC"
	}
	sql := "SELECT * FROM sessions"
	if len(where.clauses) > 0 {
		sql += " WHERE " + strings.Join(where.clauses, " AND ")
	}
	nulls := ""
	if query.Sort == SortQualityScore { // said of another column, it would keep an index from being used
		nulls = " NULLS LAST"
	}
	// Where the column is the last of the ties' order too, naming it twice is harmless.
	sql += fmt.Sprintf(" ORDER BY %s %s%s, agent_id, session_id, started_at LIMIT %d",
		column, direction, nulls, query.Limit+1)
	return sql, where.args
}

// after adds the condition of a page that follows another: keyset, never OFFSET.
func (query *SessionQuery) after(where *conditions, column string) {
	key := query.After.Key
	const tie = "(agent_id, session_id, started_at) > (%s, %s, %s)"
	if query.After.Value == nil {
		where.add(column+" IS NULL AND "+tie, key.AgentID, key.SessionID, key.StartedAt)
		return
	}
	var value any = *query.After.Value
	if sortColumns[query.Sort].isTime {
		value = time.UnixMicro(*query.After.Value).UTC()
	}
	beyond := ">"
	if query.Descending {
		beyond = "<"
	}
	if query.Sort == SortQualityScore {
		where.add(fmt.Sprintf("(%[1]s %[2]s %%s OR (%[1]s = %%s AND %[3]s) OR %[1]s IS NULL)", column, beyond, tie),
			value, value, key.AgentID, key.SessionID, key.StartedAt)
		return
	}
	// The first condition follows from the second, and is what an index can be entered by.
	where.add(fmt.Sprintf("%[1]s %[2]s= %%s AND (%[1]s %[2]s %%s OR %[3]s)", column, beyond, tie),
		value, value, key.AgentID, key.SessionID, key.StartedAt)
}
