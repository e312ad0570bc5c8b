package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// TotalsFilter says whose sessions or events are meant.
type TotalsFilter struct {
	Agents  []string // one of these; any if empty
	AgentID string   // this one; any if empty

	// Percentiles asks for the histograms too, which are the larger part of a row.
	Percentiles bool
}

// agents are those that are meant: any if limited is false.
func (f *TotalsFilter) agents() (list []string, limited bool) {
	switch {
	case f.AgentID == "":
		return orNone(f.Agents), len(f.Agents) > 0
	case len(f.Agents) > 0 && !slices.Contains(f.Agents, f.AgentID):
		return []string{}, true
	default:
		return []string{f.AgentID}, true
	}
}

// EventCount is how many events are alike. Texts are cut after 100 characters.
type EventCount struct {
	AgentID   string // empty in EventCountsByBucket
	EventType string
	Role      string

	ErrorCode     string
	ErrorSeverity string
	ErrorCategory string

	Events int64
}

// SessionTotals are the totals of the sessions that started in each of the buckets
// [bounds[i], bounds[i+1]), for bounds in ascending order. They are exact for any
// bounds, and of one moment; but where sessions have gone for their age, bounds
// within a quarter hour miss these.
func (db *DB) SessionTotals(ctx context.Context, filter TotalsFilter, bounds []time.Time) ([]rapport.Totals, error) {
	totals := make([]rapport.Totals, max(0, len(bounds)-1))
	whole, ragged := piecesOf(bounds)
	err := db.readTotals(ctx, &totalsQuery{filter: filter, whole: whole, ragged: ragged,
		add: func(_ string, at time.Time, t *rapport.Totals) { totals[bucketOf(bounds, at)].Add(*t) }})
	if err != nil {
		return nil, fmt.Errorf("reading the totals of sessions: %w", err)
	}
	return totals, nil
}

// SessionTotalsByAgent are the totals of the sessions that started in [from, to), of
// each agent that has any: as exact as SessionTotals.
func (db *DB) SessionTotalsByAgent(ctx context.Context, filter TotalsFilter, from, to time.Time) (map[string]rapport.Totals, error) {
	byAgent := make(map[string]rapport.Totals)
	whole, ragged := piecesOf([]time.Time{from, to})
	err := db.readTotals(ctx, &totalsQuery{filter: filter, whole: whole, ragged: ragged, byAgent: true,
		add: func(agentID string, _ time.Time, t *rapport.Totals) {
			sum := byAgent[agentID]
			sum.Add(*t)
			byAgent[agentID] = sum
		}})
	if err != nil {
		return nil, fmt.Errorf("reading the totals of agents: %w", err)
	}
	return byAgent, nil
}

// totalsQuery is what is read, and who is told of each sum that is found.
type totalsQuery struct {
	filter        TotalsFilter
	whole, ragged []piece
	byAgent       bool // at is not told then
	add           func(agentID string, at time.Time, t *rapport.Totals)
}

// readTotals reads it in one round trip. Where sessions are read as well, both are of
// one moment; these come first, as everywhere, so that no two wait for each other.
func (db *DB) readTotals(ctx context.Context, query *totalsQuery) error {
	agents, limited := query.filter.agents()
	if limited && len(agents) == 0 || len(query.whole)+len(query.ragged) == 0 {
		return nil
	}
	sql, args := query.sql(agents, limited)
	if len(query.ragged) == 0 {
		rows, err := db.pool.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		return query.scan(rows)
	}
	batch := &pgx.Batch{}
	batch.Queue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	sessionsSQL, sessionsArgs := query.sessionsSQL(agents, limited)
	batch.Queue(sessionsSQL, sessionsArgs...).Query(query.scanSessions)
	if len(query.whole) > 0 {
		batch.Queue(sql, args...).Query(query.scan)
	}
	batch.Queue("COMMIT")
	return db.pool.SendBatch(ctx, batch).Close()
}

// totalColumns are the sums of a row of session_totals, by their columns.
var totalColumns = func() []string {
	var names []string
	for _, sum := range (&rapport.Totals{}).Sums() {
		names = append(names, sum.Column)
	}
	return names
}()

const histogramColumns = ", t.duration_bins, t.duration_counts, t.response_bins, t.response_counts"

// sql reads rows of the grains. Histograms can't be added by Postgres, so with them the
// rows come as they are, and else one for each place that they are added to.
func (query *totalsQuery) sql(agents []string, limited bool) (string, []any) {
	var where conditions
	grains, since, till := pieceColumns(query.whole)
	where.args = []any{grains, since, till}
	where.add("t.grain = r.grain AND t.starts_at >= r.since AND t.starts_at < r.till")
	switch {
	case limited:
		where.add("NOT t.of_all AND t.agent_id = ANY(%s)", agents)
	case query.byAgent:
		where.add("NOT t.of_all")
	default:
		where.add("t.of_all AND t.agent_id = ''")
	}
	place := "t.starts_at"
	if query.byAgent {
		place = "t.agent_id"
	}
	oneEach := !query.byAgent && (!limited || len(agents) == 1)
	columns, group := "t."+strings.Join(totalColumns, ", t."), ""
	switch {
	case query.filter.Percentiles:
		columns += histogramColumns
	case !oneEach:
		columns = "sum(t." + strings.Join(totalColumns, ")::bigint, sum(t.") + ")::bigint"
		group = " GROUP BY " + place
	}
	// OFFSET 0: each piece is looked up by itself, along the index.
	return "SELECT " + place + ", " + columns + ` FROM unnest($1::smallint[], $2::timestamptz[], $3::timestamptz[]) r (grain, since, till)
		CROSS JOIN LATERAL (SELECT * FROM session_totals t WHERE ` + strings.Join(where.clauses, " AND ") + " OFFSET 0) t" + group, where.args
}

// scan takes the rows that sql finds.
func (query *totalsQuery) scan(rows pgx.Rows) error {
	var agentID string
	var at time.Time
	var t rapport.Totals
	var read histogramReader
	into := []any{&at}
	if query.byAgent {
		into = []any{&agentID}
	}
	for _, sum := range t.Sums() {
		into = append(into, sum.Value)
	}
	columns := len(into)
	if query.filter.Percentiles {
		into = append(into, nil, nil, nil, nil) // read holds them
	}
	_, err := pgx.ForEachRow(rows, into, func() error {
		if err := read.into(&t, rows.RawValues()[columns:]); err != nil {
			return err
		}
		query.add(agentID, at, &t)
		return nil
	})
	return err
}

// sessionsSQL reads the sessions of what is less than a quarter hour.
func (query *totalsQuery) sessionsSQL(agents []string, limited bool) (string, []any) {
	_, since, till := pieceColumns(query.ragged)
	args, ofAgents := []any{since, till}, ""
	if limited {
		args, ofAgents = append(args, agents), " AND s.agent_id = ANY($3)"
	}
	return `SELECT s.* FROM unnest($1::timestamptz[], $2::timestamptz[]) r (since, till)
		CROSS JOIN LATERAL (SELECT * FROM sessions s WHERE s.started_at >= r.since AND s.started_at < r.till` + ofAgents + " OFFSET 0) s", args
}

func (query *totalsQuery) scanSessions(rows pgx.Rows) error {
	sessions, err := pgx.CollectRows(rows, pgx.RowToStructByName[dbsqlc.Session])
	for i := range sessions {
		t := totalsOfRow(&sessions[i])
		if !query.filter.Percentiles {
			t.Duration, t.Response = rapport.Histogram{}, rapport.Histogram{}
		}
		query.add(sessions[i].AgentID, sessions[i].StartedAt, &t)
	}
	return err
}

// EventCounts counts the events that occurred in [from, to), both cut down to quarter
// hours of UTC, by everything that EventCount has; in no particular order.
func (db *DB) EventCounts(ctx context.Context, filter TotalsFilter, from, to time.Time) ([]EventCount, error) {
	bounds := []time.Time{grainStart(quarterHour, from), grainStart(quarterHour, to)}
	var counts []EventCount
	err := db.readCounts(ctx, filter, bounds, "c.agent_id, NULL::timestamptz", func(c EventCount, _ *time.Time) { counts = append(counts, c) })
	return counts, err
}

// EventCountsByBucket counts the events of each of the buckets [bounds[i], bounds[i+1]),
// cut down to quarter hours of UTC; of all agents that the filter has together.
func (db *DB) EventCountsByBucket(ctx context.Context, filter TotalsFilter, bounds []time.Time) ([][]EventCount, error) {
	cut := make([]time.Time, len(bounds))
	for i, bound := range bounds {
		cut[i] = grainStart(quarterHour, bound)
	}
	found := make([]map[EventCount]int64, max(0, len(bounds)-1))
	err := db.readCounts(ctx, filter, cut, "'', c.starts_at", func(c EventCount, at *time.Time) {
		bucket, n := &found[bucketOf(cut, *at)], c.Events
		if *bucket == nil {
			*bucket = make(map[EventCount]int64)
		}
		c.Events = 0
		(*bucket)[c] += n
	})
	counts := make([][]EventCount, len(found))
	for i, bucket := range found {
		for c, n := range bucket {
			c.Events = n
			counts[i] = append(counts[i], c)
		}
	}
	return counts, err
}

func (db *DB) readCounts(ctx context.Context, filter TotalsFilter, bounds []time.Time, by string, add func(EventCount, *time.Time)) error {
	agents, limited := filter.agents()
	whole, _ := piecesOf(bounds)
	if limited && len(agents) == 0 || len(whole) == 0 {
		return nil
	}
	grains, since, till := pieceColumns(whole)
	args, ofAgents := []any{grains, since, till}, ""
	if limited {
		args, ofAgents = append(args, agents), " AND c.agent_id = ANY($4)"
	}
	rows, err := db.pool.Query(ctx, "SELECT "+by+`, c.event_type, c.role, c.error_code, c.error_severity, c.error_category, sum(c.events)::bigint
		FROM unnest($1::smallint[], $2::timestamptz[], $3::timestamptz[]) r (grain, since, till)
		CROSS JOIN LATERAL (SELECT * FROM event_counts c
			WHERE c.grain = r.grain AND c.starts_at >= r.since AND c.starts_at < r.till`+ofAgents+` OFFSET 0) c
		GROUP BY 1, 2, 3, 4, 5, 6, 7`, args...)
	if err == nil {
		var c EventCount
		var at *time.Time
		_, err = pgx.ForEachRow(rows, []any{&c.AgentID, &at, &c.EventType, &c.Role, &c.ErrorCode, &c.ErrorSeverity, &c.ErrorCategory, &c.Events},
			func() error {
				add(c, at)
				return nil
			})
	}
	if err != nil {
		return fmt.Errorf("reading the counts of events: %w", err)
	}
	return nil
}
