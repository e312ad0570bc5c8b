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
		sum: func(_ string, at time.Time) *rapport.Totals { return &totals[bucketOf(bounds, at)] }})
	if err != nil {
		return nil, fmt.Errorf("reading the totals of sessions: %w", err)
	}
	return totals, nil
}

// SessionTotalsByAgent are the totals of the sessions that started in [from, to), of
// each agent that has any: as exact as SessionTotals.
func (db *DB) SessionTotalsByAgent(ctx context.Context, filter TotalsFilter, from, to time.Time) (map[string]*rapport.Totals, error) {
	byAgent := make(map[string]*rapport.Totals)
	whole, ragged := piecesOf([]time.Time{from, to})
	err := db.readTotals(ctx, &totalsQuery{filter: filter, whole: whole, ragged: ragged, byAgent: true,
		sum: func(agentID string, _ time.Time) *rapport.Totals {
			if byAgent[agentID] == nil {
				byAgent[agentID] = new(rapport.Totals)
			}
			return byAgent[agentID]
		}})
	if err != nil {
		return nil, fmt.Errorf("reading the totals of agents: %w", err)
	}
	return byAgent, nil
}

// totalsQuery is what is read, and to which sum each row is added.
type totalsQuery struct {
	filter        TotalsFilter
	whole, ragged []piece
	byAgent       bool // at is not told then
	sum           func(agentID string, at time.Time) *rapport.Totals
}

// readTotals reads it: in one round trip where Postgres can add the rows up, which it
// can't do with histograms. Where sessions are read as well, both are of one moment; these
// come first, as everywhere, so that no two wait for each other.
func (db *DB) readTotals(ctx context.Context, query *totalsQuery) error {
	agents, limited := query.filter.agents()
	if limited && len(agents) == 0 || len(query.whole)+len(query.ragged) == 0 {
		return nil
	}
	if query.filter.Percentiles || query.isOneEach(agents, limited) {
		return db.readCached(ctx, query, agents, limited)
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
	parts := make(sumParts)
	batch.Queue(sessionsSQL, sessionsArgs...).Query(func(rows pgx.Rows) error { return query.scanSessions(rows, parts) })
	if len(query.whole) > 0 {
		batch.Queue(sql, args...).Query(query.scan)
	}
	batch.Queue("COMMIT")
	if err := db.pool.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	parts.sum(false)
	return nil
}

// totalColumns are the sums of a row of session_totals, by their columns.
var totalColumns = func() []string {
	var names []string
	for _, sum := range (&rapport.Totals{}).Sums() {
		names = append(names, sum.Column)
	}
	return names
}()

// histogramColumns are those of the histograms, which Totals.Sums has not.
var histogramColumns = []string{"duration_bins", "duration_counts", "response_bins", "response_counts"}

// sql reads a sum for each place that rows of the grains are added to.
func (query *totalsQuery) sql(agents []string, limited bool) (string, []any) {
	place := "t.starts_at"
	if query.byAgent {
		place = "t.agent_id"
	}
	columns := "sum(t." + strings.Join(totalColumns, ")::bigint, sum(t.") + ")::bigint"
	sql, args := query.from("SELECT "+place+", "+columns, "*", agents, limited)
	return sql + " GROUP BY " + place, args
}

// isOneEach reports whether there is a row for each place, so that nothing is added up.
func (query *totalsQuery) isOneEach(agents []string, limited bool) bool {
	return !query.byAgent && (!limited || len(agents) == 1)
}

// from is a SELECT from t, which are columns of the rows that make up the pieces.
func (query *totalsQuery) from(selected, columns string, agents []string, limited bool) (string, []any) {
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
	// OFFSET 0: each piece is looked up by itself, along the index.
	return selected + ` FROM unnest($1::smallint[], $2::timestamptz[], $3::timestamptz[]) r (grain, since, till)
		CROSS JOIN LATERAL (SELECT ` + columns + " FROM session_totals t WHERE " + strings.Join(where.clauses, " AND ") + " OFFSET 0) t", where.args
}

// scan takes the rows that sql finds.
func (query *totalsQuery) scan(rows pgx.Rows) error {
	var agentID string
	var at time.Time
	var t rapport.Totals
	var key any = &at
	if query.byAgent {
		key = &agentID
	}
	return scanTotals(rows, &t, query.filter.Percentiles, func() error {
		query.sum(agentID, at).Add(t)
		return nil
	}, key)
}

// scanTotals reads rows of a key, the sums and, maybe, the columns of the histograms,
// one after the other into t.
func scanTotals(rows pgx.Rows, t *rapport.Totals, withHistograms bool, each func() error, key ...any) error {
	into := key
	for _, sum := range t.Sums() {
		into = append(into, sum.Value)
	}
	columns := len(into)
	if withHistograms {
		into = append(into, nil, nil, nil, nil) // read holds them
	}
	var read histogramReader
	_, err := pgx.ForEachRow(rows, into, func() error {
		if err := read.into(t, rows.RawValues()[columns:]); err != nil {
			return err
		}
		return each()
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
	return "SELECT " + listedColumns + `, engagement_tenths, quality_tenths FROM unnest($1::timestamptz[], $2::timestamptz[]) r (since, till)
		CROSS JOIN LATERAL (SELECT * FROM sessions s WHERE s.started_at >= r.since AND s.started_at < r.till` + ofAgents + " OFFSET 0) s", args
}

func (query *totalsQuery) scanSessions(rows pgx.Rows, parts sumParts) error {
	return eachListed(rows, func(row *dbsqlc.Session, more *rowValues) {
		row.EngagementTenths, row.QualityTenths = more.int(), more.intOrNil()
		t := totalsOfRow(row)
		parts.add(query.sum(row.AgentID, row.StartedAt), &t)
	})
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
