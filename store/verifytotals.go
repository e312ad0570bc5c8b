package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// TotalsKey tells which row of session_totals is meant.
type TotalsKey struct {
	Minutes  int // 15, 60 or 1440
	OfAll    bool
	AgentID  string
	StartsAt time.Time
}

// StoredTotals is a row of session_totals as it stands there.
type StoredTotals struct{ row dbsqlc.SessionTotal }

// Key identifies the row.
func (s *StoredTotals) Key() TotalsKey {
	return TotalsKey{int(s.row.Grain), s.row.OfAll, s.row.AgentID, s.row.StartsAt.UTC()}
}

// Differences are the columns whose values are not those that are written for totals.
func (s *StoredTotals) Differences(totals *rapport.Totals) []ColumnDifference {
	should := totalsRow(totalsKey{s.row.Grain, s.row.OfAll, s.row.AgentID, s.row.StartsAt}, totals)
	return rowDifferences(&s.row, &should)
}

// AllTotals are all rows of session_totals, by their days.
func (s *Snapshot) AllTotals(ctx context.Context) (*Stream[*StoredTotals], error) {
	return newStream(ctx, s, "SELECT * FROM session_totals ORDER BY starts_at, grain, of_all, agent_id",
		func(rows pgx.Rows) (*StoredTotals, error) {
			row, err := pgx.RowToStructByName[dbsqlc.SessionTotal](rows)
			if err != nil {
				return nil, fmt.Errorf("reading totals: %w", err)
			}
			return &StoredTotals{row: row}, nil
		})
}

// SessionsByStart are all rows of the rollups, by their started_at.
func (s *Snapshot) SessionsByStart(ctx context.Context) (*Stream[*StoredSession], error) {
	return newStream(ctx, s, "SELECT * FROM sessions ORDER BY started_at",
		func(rows pgx.Rows) (*StoredSession, error) {
			row, err := pgx.RowToStructByName[dbsqlc.Session](rows)
			if err != nil {
				return nil, fmt.Errorf("reading a session: %w", err)
			}
			return &StoredSession{row: row}, nil
		})
}

// TotalsSum sums sessions up to what the rows of session_totals should be.
type TotalsSum struct{ quarters totalsByKey }

// Add adds a session as it is stored.
func (t *TotalsSum) Add(s *StoredSession) {
	t.quarters.ofQuarter(s.row.AgentID, s.row.StartedAt).Add(totalsOfRow(&s.row))
}

// Rows are the rows of all grains.
func (t *TotalsSum) Rows() map[TotalsKey]*rapport.Totals {
	rows := make(map[TotalsKey]*rapport.Totals)
	for key, totals := range t.quarters.allRows() {
		rows[TotalsKey{int(key.grain), key.ofAll, key.agentID, key.startsAt}] = totals
	}
	return rows
}

// CountDifference is a row of event_counts that is not what the log says.
type CountDifference struct {
	Minutes  int
	StartsAt time.Time
	EventCount
	Stored, Should *int64 // nil if there is no such row
}

// The months of events from a time on, of the log and of their counts.
const countMonths = `SELECT DISTINCT date_trunc('month', c.starts_at, 'UTC') FROM event_counts c
	WHERE c.starts_at >= $1 AND isfinite(c.starts_at)
UNION
SELECT to_timestamp(substr(p.relname, 8), 'YYYY_MM')
FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhrelid
WHERE i.inhparent = 'events'::regclass AND p.relname ~ '^events_[0-9]{4}_[0-9]{2}$'
  AND to_timestamp(substr(p.relname, 8), 'YYYY_MM') >= $1
ORDER BY 1`

const countDifferences = `WITH quarters AS MATERIALIZED (
	SELECT date_bin('15 minutes', e.occurred_at, '2015-01-01 00:00:00+00') AS starts_at, e.agent_id, left(e.event_type, 100) AS event_type,
	       left(e.role, 100) AS role, left(e.error_code, 100) AS error_code, left(e.error_severity, 100) AS error_severity,
	       left(e.error_category, 100) AS error_category, count(*) AS events
	FROM events e
	WHERE e.occurred_at >= $1 AND e.occurred_at < $2 AND e.position <= $3
	  AND NOT EXISTS (SELECT FROM superseded x WHERE x.session_id = e.session_id AND x.agent_id = e.agent_id AND x.position = e.position)
	  AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.follower = 'sessions' AND d.position = e.position)
	GROUP BY 1, 2, 3, 4, 5, 6, 7
), should AS (
	SELECT g.grain, date_bin(g.grain * interval '1 minute', q.starts_at, '2015-01-01 00:00:00+00') AS starts_at, q.agent_id, q.event_type,
	       q.role, q.error_code, q.error_severity, q.error_category, sum(q.events)::bigint AS events
	FROM quarters q CROSS JOIN (VALUES (15::smallint), (60), (1440)) g (grain)
	GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
)
SELECT grain::integer, starts_at, agent_id, event_type, role, error_code, error_severity, error_category, c.events, s.events
FROM (SELECT * FROM event_counts WHERE starts_at >= $1 AND starts_at < $2) c
FULL JOIN should s USING (grain, starts_at, agent_id, event_type, role, error_code, error_severity, error_category)
WHERE c.events IS DISTINCT FROM s.events
ORDER BY 1, 2, 3, 4, 5, 6, 7, 8`

// Counts compares event_counts with the log up to a position, from a time on, and
// tells of each row that differs. It is done in Postgres, a month after the other.
type Counts struct{ conn *pgx.Conn }

// Counts begins the comparison. Close it after use.
func (s *Snapshot) Counts(ctx context.Context) (*Counts, error) {
	conn, err := s.join(ctx)
	if err != nil {
		return nil, err
	}
	for _, method := range []string{"sort", "seqscan", "bitmapscan"} { // unlike the streams, it reads all of a month
		if _, err := conn.Exec(ctx, "SET LOCAL enable_"+method+" = on"); err != nil {
			closeConn(conn)
			return nil, fmt.Errorf("reading the snapshot of the database: %w", err)
		}
	}
	return &Counts{conn}, nil
}

// Close ends it. Nil has ended.
func (c *Counts) Close() {
	if c != nil {
		closeConn(c.conn)
	}
}

// Compare tells of what differs.
func (c *Counts) Compare(ctx context.Context, since time.Time, position int64, tell func(CountDifference)) error {
	rows, err := c.conn.Query(ctx, countMonths, since)
	if err != nil {
		return fmt.Errorf("reading the months of events: %w", err)
	}
	months, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	if err != nil {
		return fmt.Errorf("reading the months of events: %w", err)
	}
	for _, month := range months {
		rows, err := c.conn.Query(ctx, countDifferences, month, month.AddDate(0, 1, 0), position)
		if err != nil {
			return fmt.Errorf("counting the events of a month: %w", err)
		}
		var d CountDifference
		_, err = pgx.ForEachRow(rows, []any{
			&d.Minutes, &d.StartsAt, &d.AgentID, &d.EventType, &d.Role, &d.ErrorCode, &d.ErrorSeverity, &d.ErrorCategory, &d.Stored, &d.Should,
		}, func() error {
			tell(d)
			return nil
		})
		if err != nil {
			return fmt.Errorf("counting the events of a month: %w", err)
		}
	}
	return nil
}
