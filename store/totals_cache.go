package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"rapport"
)

// maxCachedBytes is about how much memory the totals that are kept take.
const maxCachedBytes = 48 << 20

// totalsCache keeps totals that were read: of the days that are over they are the same
// each time, and reading them is most of the work of a question, above all their
// histograms. Which tuples there are is asked anew each time, so that an answer is of one
// moment, with a cache or without. The zero value is empty.
type totalsCache struct {
	mu    sync.Mutex
	rows  map[tuple]*keptTotals
	bytes int
}

// keptTotals is a row of session_totals, which is never written to again.
type keptTotals struct {
	rapport.Totals
	agentID  string
	startsAt time.Time
	isWhole  bool // the histograms were read, too
}

func (c *totalsCache) get(found []tuple, isWhole bool) (rows []*keptTotals, others []pgtype.TID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return known(found, func(at tuple) *keptTotals {
		if kept := c.rows[at]; kept != nil && (kept.isWhole || !isWhole) {
			return kept
		}
		return nil
	})
}

// put keeps rows. Some others, whichever they are, go when there are too many.
func (c *totalsCache) put(rows map[tuple]*keptTotals) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows == nil {
		c.rows = make(map[tuple]*keptTotals)
	}
	for at, row := range rows {
		if kept := c.rows[at]; kept == nil || row.isWhole && !kept.isWhole {
			c.bytes += memoryOf(row) - memoryOf(kept)
			c.rows[at] = row
		}
	}
	for at, row := range c.rows {
		if c.bytes <= maxCachedBytes {
			return
		}
		delete(c.rows, at)
		c.bytes -= memoryOf(row)
	}
}

// memoryOf is about how many bytes a row takes in memory.
func memoryOf(t *keptTotals) int {
	if t == nil {
		return 0
	}
	return 512 + 16*(t.Duration.Bins()+t.Response.Bins())
}

// readCached reads row by row, from memory what was read before.
func (db *DB) readCached(ctx context.Context, query *totalsQuery, agents []string, limited bool) (err error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	defer func() {
		end := "COMMIT"
		if err != nil {
			end = "ROLLBACK"
		}
		_, endErr := conn.Exec(ctx, end) // a connection that it fails on is not used again
		err = cmp.Or(err, endErr)
	}()
	found, err := query.find(ctx, conn, agents, limited)
	if err != nil {
		return err
	}
	if len(found) > maxFound {
		return query.stream(ctx, conn, agents, limited)
	}
	for some := range slices.Chunk(found, filledAtOnce) {
		rows, err := db.cached.fill(ctx, conn, some, query.filter.Percentiles)
		if err != nil {
			return err
		}
		parts := make(sumParts)
		for _, row := range rows {
			parts.add(query.sum(row.agentID, row.startsAt), &row.Totals)
		}
		parts.sum(query.filter.Percentiles)
	}
	return nil
}

// Bounds of the memory of a question: of more rows than maxFound none is remembered, and
// totals are read for filledAtOnce of them at a time.
const (
	maxFound     = 20_000
	filledAtOnce = 1000
)

// stream reads and adds row after row.
func (query *totalsQuery) stream(ctx context.Context, conn *pgxpool.Conn, agents []string, limited bool) error {
	name, columns := "starts_at", totalColumns
	if query.byAgent {
		name = "agent_id"
	}
	if query.filter.Percentiles {
		columns = slices.Concat(totalColumns, histogramColumns)
	}
	sql, args := query.from("SELECT t."+name+", t."+strings.Join(columns, ", t."), "*", agents, limited)
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	return query.scan(rows)
}

// sumParts are what is to be added to each sum: all at once, since a histogram that many
// others are added to would be made anew for each of them.
type sumParts map[*rapport.Totals][]*rapport.Totals

func (p sumParts) add(sum, part *rapport.Totals) { p[sum] = append(p[sum], part) }

// sum adds them, of histograms only where they are asked for.
func (p sumParts) sum(withHistograms bool) {
	for sum, parts := range p {
		if withHistograms {
			sum.AddAll(parts)
			continue
		}
		for _, part := range parts {
			t := *part
			t.Duration, t.Response = rapport.Histogram{}, rapport.Histogram{}
			sum.Add(t)
		}
	}
}

// find begins a transaction, adds the sessions of what is less than a quarter hour, and
// tells which rows there are of the rest, but no more than one above maxFound. The sessions
// come first, as everywhere, so that no two wait for each other; and all in one batch, whose
// statements pgx prepares, for which it locks the tables, before the transaction begins.
func (query *totalsQuery) find(ctx context.Context, conn *pgxpool.Conn, agents []string, limited bool) ([]tuple, error) {
	var found []tuple
	batch, parts := &pgx.Batch{}, make(sumParts)
	batch.Queue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	if len(query.ragged) > 0 {
		sql, args := query.sessionsSQL(agents, limited)
		batch.Queue(sql, args...).Query(func(rows pgx.Rows) error { return query.scanSessions(rows, parts) })
	}
	if len(query.whole) > 0 {
		sql, args := query.from("SELECT t.ctid, t.xmin", "ctid, xmin", agents, limited)
		batch.Queue(fmt.Sprintf("SELECT %s FROM (%s LIMIT %d) found", tuplesOf("session_totals"), sql, maxFound+1), args...).
			QueryRow(func(row pgx.Row) error { return row.Scan((*tuples)(&found)) })
	}
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return nil, err
	}
	parts.sum(query.filter.Percentiles)
	return found, nil
}

// fill finds the totals of tuples, and reads those that nobody has read before: in the
// transaction that the tuples were found in, for which they are where they were.
func (c *totalsCache) fill(ctx context.Context, conn *pgxpool.Conn, found []tuple, isWhole bool) ([]*keptTotals, error) {
	rows, others := c.get(found, isWhole)
	if len(others) == 0 {
		return rows, nil
	}
	fresh, err := readKept(ctx, conn, found[0].server, others, isWhole)
	if err != nil {
		return nil, err
	}
	for i, at := range found {
		if rows[i] != nil {
			continue
		}
		if rows[i] = fresh[at]; rows[i] == nil {
			return nil, errors.New("a row of session_totals was not where it is")
		}
	}
	c.put(fresh)
	return rows, nil
}

// readKept reads the rows at some places, to be kept.
func readKept(ctx context.Context, conn *pgxpool.Conn, server int64, places []pgtype.TID, isWhole bool) (map[tuple]*keptTotals, error) {
	columns := totalColumns
	if isWhole {
		columns = slices.Concat(totalColumns, histogramColumns)
	}
	rows, err := conn.Query(ctx, "SELECT "+fileOf("session_totals")+", ctid, xmin, agent_id, starts_at, "+strings.Join(columns, ", ")+
		" FROM session_totals WHERE ctid = ANY($1)", places)
	if err != nil {
		return nil, err
	}
	fresh, at := make(map[tuple]*keptTotals, len(places)), tuple{server: server}
	row := keptTotals{isWhole: isWhole}
	err = scanTotals(rows, &row.Totals, isWhole, func() error {
		fresh[at] = new(row)
		return nil
	}, &at.file, &at.place, &at.since, &row.agentID, &row.startsAt)
	return fresh, err
}
