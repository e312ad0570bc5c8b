package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
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

	// Shown has room for what a reader makes of the row, which others have too; nil if the
	// row is not kept.
	Shown *atomic.Pointer[[]byte]
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
	UserID         string
	RoomName       string
	MinMessages    int64
	Now            time.Time
	Sort           SessionSort
	Descending     bool
	After          *SessionPlace
	Limit          int

	// Keep keeps the rows of a page that is asked for again in memory.
	Keep bool `json:"-"` // it is the same list
}

// Sessions is a page of sessions, and the place behind its last one if there
// are more. Ties sort by (agent_id, session_id, started_at); nulls come last. Others may
// have the same rows: nobody changes them.
func (db *DB) Sessions(ctx context.Context, query SessionQuery) ([]*SessionRow, *SessionPlace, error) {
	sessions, err := db.sessionPage(ctx, &query)
	if err != nil {
		return nil, nil, fmt.Errorf("listing sessions: %w", err)
	}
	if len(sessions) <= query.Limit {
		return sessions, nil, nil
	}
	sessions = sessions[:query.Limit]
	last := sessions[len(sessions)-1]
	return sessions, &SessionPlace{Value: sortColumns[query.Sort].value(last), Key: KeyOf(&last.Session)}, nil
}

// sessionPage is a page, and a row more if there are more.
func (db *DB) sessionPage(ctx context.Context, query *SessionQuery) ([]*SessionRow, error) {
	from, args := query.from()
	if query.mayBeKept() && db.kept.isAskedAgain(from, args) {
		if page, err := db.keptPage(ctx, query, from, args); err != nil || page != nil {
			return page, err
		}
	}
	rows, err := db.pool.Query(ctx, "SELECT "+listedColumns+from, slices.Concat([]any{query.mode(), listedFormats}, args)...)
	if err != nil {
		return nil, err
	}
	sessions := make([]*SessionRow, 0, query.Limit+1)
	err = eachListed(rows, func(row *dbsqlc.Session, _ *rowValues) { sessions = append(sessions, new(sessionRowOf(row))) })
	return sessions, err
}

// listedColumns are what a list reads. What else a row has follows from these, or is
// the fold's alone; each column that is left out is some μs less.
const listedColumns = `agent_id, session_id, started_at, last_activity_at, closes_at, ended_at, erased_at,
	end_reason, room_name, user_id, rating, peak_participants, score_version, first_position, last_position,
	event_count, join_count, error_count, message_count, user_message_count, agent_message_count, user_char_count,
	agent_char_count, active_us, turn_count, answered_turn_count, quick_answer_count, response_ms_total,
	response_ms_max, first_response_ms, repeat_count, friction_count, sentiment_sum`

var listedFormats = formatsOf(listedColumns)

// eachListed reads rows that begin with listedColumns. take reads what else they have.
func eachListed(rows pgx.Rows, take func(row *dbsqlc.Session, more *rowValues)) error {
	defer rows.Close()
	var row dbsqlc.Session // for all rows, one after another
	for rows.Next() {
		values := rowValues{fields: rows.FieldDescriptions(), raw: rows.RawValues()}
		readListed(&values, &row)
		take(&row, &values)
		if err := values.done(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// readListed reads listedColumns, in their order.
func readListed(v *rowValues, row *dbsqlc.Session) {
	row.AgentID, row.SessionID = v.text(), v.text()
	row.StartedAt, row.LastActivityAt, row.ClosesAt, row.EndedAt, row.ErasedAt = v.time(), v.time(), v.time(), v.timeOrNil(), v.timeOrNil()
	row.EndReason, row.RoomName, row.UserID, row.Rating = v.text(), v.text(), v.text(), v.floatOrNil()
	row.PeakParticipants, row.ScoreVersion = int32(v.int()), int32(v.int()) // #nosec G115 -- integers of Postgres
	row.FirstPosition, row.LastPosition = v.int(), v.int()
	row.EventCount, row.JoinCount, row.ErrorCount = v.int(), v.int(), v.int()
	row.MessageCount, row.UserMessageCount, row.AgentMessageCount = v.int(), v.int(), v.int()
	row.UserCharCount, row.AgentCharCount, row.ActiveUs = v.int(), v.int(), v.int()
	row.TurnCount, row.AnsweredTurnCount, row.QuickAnswerCount = v.int(), v.int(), v.int()
	row.ResponseMsTotal, row.ResponseMsMax, row.FirstResponseMs = v.int(), v.int(), v.int()
	row.RepeatCount, row.FrictionCount, row.SentimentSum = v.int(), v.int(), v.int()
}

func sessionRowOf(row *dbsqlc.Session) SessionRow {
	return SessionRow{Session: sessionOf(*row), ClosesAt: row.ClosesAt}
}

func sessionRows(stored []dbsqlc.Session) []SessionRow {
	sessions := make([]SessionRow, len(stored))
	for i := range stored {
		sessions[i] = sessionRowOf(&stored[i])
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
	hidden  bool // the planner does not see the values, so that it plans once for all
}

// add takes a clause with a %s for each argument's place.
func (c *conditions) add(clause string, args ...any) {
	var b strings.Builder
	for _, arg := range args {
		before, behind, _ := strings.Cut(clause, "%s")
		b.WriteString(before)
		if place := c.place(arg); c.hidden {
			b.WriteString("(SELECT " + place + "::" + typeOf(arg) + ")")
		} else {
			b.WriteString(place)
		}
		clause = behind
	}
	b.WriteString(clause)
	c.clauses = append(c.clauses, b.String())
}

// place takes an argument, and is its place in the SQL.
func (c *conditions) place(arg any) string {
	c.args = append(c.args, arg)
	return "$" + strconv.Itoa(len(c.args))
}

// typeOf is Postgres's type of an argument.
func typeOf(arg any) string {
	switch arg.(type) {
	case time.Time:
		return "timestamptz"
	case string:
		return "text"
	case []string:
		return "text[]"
	}
	return "bigint"
}

// sql is the clause; empty without any condition.
func (c *conditions) sql() string {
	if len(c.clauses) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.clauses, " AND ")
}

// isOfUser says of the empty id, which an index leaves out, that it is none.
const isOfUser = "user_id = %s AND user_id <> ''"

// mode is how a query is planned: once for whatever values, which takes a third of the
// time of a short list; or each time for its values, where they decide which index
// leads to a page soon, and the wrong one through all of the table. (Of a statement
// that was planned each time, Postgres keeps no plan unless one for all values looks as
// good. One of hidden values does.)
func (query *SessionQuery) mode() pgx.QueryExecMode {
	if query.isIndexed() {
		return pgx.QueryExecModeCacheStatement
	}
	return pgx.QueryExecModeCacheDescribe
}

// isPlannedOnce reports whether one plan is the best for whatever values: where there
// are several filters, it depends on which of them is the rarer one.
func (query *SessionQuery) isPlannedOnce() bool {
	filters := 0
	for _, is := range []bool{query.AgentID != "", len(query.Agents) > 0, query.SessionID != "", query.UserID != ""} {
		if is {
			filters++
		}
	}
	return filters <= 1 && query.isIndexed()
}

// isIndexed reports whether there is an index for the filters and the order together.
func (query *SessionQuery) isIndexed() bool {
	if query.Status != "" || query.EngagementTier != "" || query.RoomName != "" || query.MinMessages > 0 {
		return false
	}
	switch query.Sort {
	case SortStartedAt:
		return len(query.Agents) <= 1 || query.isPerAgent()
	case SortLastActivityAt:
		return query.AgentID == "" && len(query.Agents) == 0 && query.SessionID == "" && query.UserID == "" &&
			query.From.IsZero() && query.To.IsZero()
	}
	return false
}

// maxPerAgent bounds how many rows are read to make a page of several agents' sessions.
const maxPerAgent = 5000

// isPerAgent reports whether a page is made of the agents' own pages, so that those
// of agents who have few sessions are not looked for among all.
func (query *SessionQuery) isPerAgent() bool {
	return len(query.Agents) > 1 && query.Sort == SortStartedAt && len(query.Agents)*(query.Limit+1) <= maxPerAgent
}

// from is what the page is selected from, in its order, whatever columns are.
func (query *SessionQuery) from() (string, []any) {
	where := conditions{hidden: query.isPlannedOnce()}
	query.conditions(&where)
	list := " FROM sessions" + where.sql() + query.order()
	if !query.isPerAgent() {
		return list, where.args
	}
	agents := fmt.Sprintf("(SELECT DISTINCT unnest($%d::text[]) AS agent) a", len(where.args)+1)
	return " FROM " + agents + " CROSS JOIN LATERAL (SELECT *" + list + ") s" + query.order(), append(where.args, query.Agents)
}

// order sorts and limits a list.
func (query *SessionQuery) order() string {
	direction := "ASC"
	if query.Descending {
		direction = "DESC"
	}
	nulls := ""
	if query.Sort == SortQualityScore { // said of another column, it would keep an index from being used
		nulls = " NULLS LAST"
	}
	// Where the column is the last of the ties' order too, naming it twice is harmless.
	return " ORDER BY " + sortColumns[query.Sort].column + " " + direction + nulls +
		", agent_id, session_id, started_at LIMIT " + strconv.Itoa(query.Limit+1)
}

func (query *SessionQuery) conditions(where *conditions) {
	if !query.From.IsZero() {
		where.add("started_at >= %s", query.From)
	}
	if !query.To.IsZero() {
		where.add("started_at < %s", query.To)
	}
	if query.AgentID != "" {
		where.add("agent_id = %s", query.AgentID)
	}
	switch {
	case query.isPerAgent():
		where.add("agent_id = a.agent")
	case len(query.Agents) == 1:
		where.add("agent_id = %s", query.Agents[0])
	case len(query.Agents) > 1:
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
	if query.UserID != "" {
		where.add(isOfUser, query.UserID)
	}
	if query.RoomName != "" {
		where.add("room_name = %s", query.RoomName)
	}
	if query.MinMessages > 0 {
		where.add("message_count >= %s", query.MinMessages)
	}
	if query.After != nil {
		query.after(where, sortColumns[query.Sort].column)
	}
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
	where.add(column+" "+beyond+"= %s AND ("+column+" "+beyond+" %s OR "+tie+")",
		value, value, key.AgentID, key.SessionID, key.StartedAt)
}
