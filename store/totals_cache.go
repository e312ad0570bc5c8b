package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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
	rows  map[tuple]cachedTotals
	bytes int
}

type cachedTotals struct {
	*rapport.Totals      // never written to again
	isWhole         bool // the histograms were read, too
}

// get finds those of the tuples that are kept, and tells where the others are.
func (c *totalsCache) get(found []foundTotals, isWhole bool) (others []pgtype.TID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range found {
		if kept := c.rows[found[i].tuple]; kept.Totals != nil && (kept.isWhole || !isWhole) {
			found[i].totals = kept.Totals
		} else {
			others = append(others, found[i].place)
		}
	}
	return others
}

// put keeps totals. Some others, whichever they are, go when there are too many.
func (c *totalsCache) put(rows map[tuple]*rapport.Totals, isWhole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows == nil {
		c.rows = make(map[tuple]cachedTotals)
	}
	for at, t := range rows {
		if kept := c.rows[at]; kept.Totals == nil || isWhole && !kept.isWhole {
			c.bytes += memoryOf(t) - memoryOf(kept.Totals)
			c.rows[at] = cachedTotals{t, isWhole}
		}
	}
	for at, t := range c.rows {
		if c.bytes <= maxCachedBytes {
			return
		}
		delete(c.rows, at)
		c.bytes -= memoryOf(t.Totals)
	}
}

// memoryOf is about how many bytes totals take in memory.
func memoryOf(t *rapport.Totals) int {
	if t == nil {
		return 0
	}
	return 512 + 16*(t.Duration.Bins()+t.Response.Bins())
}

// foundTotals is a row that a query is about.
type foundTotals struct {
	tuple
	agentID string
	at      time.Time
	totals  *rapport.Totals
}

// readCached reads row by row, from memory what was read before. The sessions of what is less than
// a quarter hour come first, as everywhere, so that no two wait for each other.
func (db *DB) readCached(ctx context.Context, query *totalsQuery, agents []string, limited bool) error {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return pgx.BeginTxFunc(ctx, db.pool, options, func(tx pgx.Tx) error {
		parts := make(sumParts)
		if err := query.readSessions(ctx, tx, parts, agents, limited); err != nil {
			return err
		}
		parts.sum(query.filter.Percentiles)
		found, err := query.find(ctx, tx, agents, limited)
		if err != nil {
			return err
		}
		if len(found) > maxFound {
			return query.stream(ctx, tx, agents, limited)
		}
		for some := range slices.Chunk(found, filledAtOnce) {
			if err := db.cached.fill(ctx, tx, some, query.filter.Percentiles); err != nil {
				return err
			}
			parts := make(sumParts)
			for i := range some {
				parts.add(query.sum(some[i].agentID, some[i].at), some[i].totals)
			}
			parts.sum(query.filter.Percentiles)
		}
		return nil
	})
}

// Bounds of the memory of a question: of more rows than maxFound none is remembered, and
// totals are read for filledAtOnce of them at a time.
const (
	maxFound     = 20_000
	filledAtOnce = 1000
)

// stream reads and adds row after row.
func (query *totalsQuery) stream(ctx context.Context, tx pgx.Tx, agents []string, limited bool) error {
	name, columns := "starts_at", totalColumns
	if query.byAgent {
		name = "agent_id"
	}
	if query.filter.Percentiles {
		columns = slices.Concat(totalColumns, histogramColumns)
	}
	sql, args := query.from("SELECT t."+name+", t."+strings.Join(columns, ", t."), "*", agents, limited)
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	return query.scan(rows)
}

// readSessions reads the sessions of what is less than a quarter hour.
func (query *totalsQuery) readSessions(ctx context.Context, tx pgx.Tx, parts sumParts, agents []string, limited bool) error {
	if len(query.ragged) == 0 {
		return nil
	}
	sql, args := query.sessionsSQL(agents, limited)
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	return query.scanSessions(rows, parts)
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

// find tells which rows there are, each with its place among the sums, but no more than
// one above maxFound.
func (query *totalsQuery) find(ctx context.Context, tx pgx.Tx, agents []string, limited bool) ([]foundTotals, error) {
	if len(query.whole) == 0 {
		return nil, nil
	}
	var row foundTotals
	name, key := "starts_at", any(&row.at)
	if query.byAgent {
		name, key = "agent_id", &row.agentID
	}
	sql, args := query.from("SELECT "+fileOf("session_totals")+", t.place, t.since, t."+name,
		"ctid AS place, xmin AS since, "+name, agents, limited)
	var found []foundTotals
	batch := &pgx.Batch{}
	batch.Queue("SELECT pg_postmaster_start_time()").QueryRow(func(server pgx.Row) error {
		var started time.Time
		err := server.Scan(&started)
		row.server = started.UnixMicro()
		return err
	})
	batch.Queue(fmt.Sprintf("%s LIMIT %d", sql, maxFound+1), args...).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&row.file, &row.place, &row.since, key}, func() error {
			found = append(found, row)
			return nil
		})
		return err
	})
	return found, tx.SendBatch(ctx, batch).Close()
}

// fill finds the totals of rows, and reads those that nobody has read before: in the
// transaction that the rows were found in, for which they are where they were.
func (c *totalsCache) fill(ctx context.Context, tx pgx.Tx, found []foundTotals, isWhole bool) error {
	places := c.get(found, isWhole)
	if len(places) == 0 {
		return nil
	}
	columns := totalColumns
	if isWhole {
		columns = slices.Concat(totalColumns, histogramColumns)
	}
	rows, err := tx.Query(ctx, "SELECT "+fileOf("session_totals")+", ctid, xmin, "+strings.Join(columns, ", ")+" FROM session_totals WHERE ctid = ANY($1)", places)
	if err != nil {
		return err
	}
	fresh := make(map[tuple]*rapport.Totals, len(places))
	at := tuple{server: found[0].server}
	var t rapport.Totals
	err = scanTotals(rows, &t, isWhole, func() error {
		kept := t
		fresh[at] = &kept
		return nil
	}, &at.file, &at.place, &at.since)
	if err != nil {
		return err
	}
	for i := range found {
		if found[i].totals != nil {
			continue
		}
		if found[i].totals = fresh[found[i].tuple]; found[i].totals == nil {
			return errors.New("a row of session_totals was not where it is")
		}
	}
	c.put(fresh, isWhole)
	return nil
}
