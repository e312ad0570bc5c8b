package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rapport/store/internal/dbsqlc"
)

// forEver is later than everything: what the database says where there is nothing.
var forEver = time.Date(9999, time.January, 1, 0, 0, 0, 0, time.UTC)

// countMonth makes the totals of the first month, from a time on, that has sessions or
// events from before there were totals, and notes that it did: a month is whole, or
// it is made again.
func countMonth(ctx context.Context, q *dbsqlc.Queries, follower string, from time.Time, position int64) error {
	if err := q.LongStatements(ctx); err != nil {
		return err
	}
	first, err := nextMonth(ctx, q, from)
	if err != nil {
		return err
	}
	if !first.Before(forEver) {
		return q.FollowerCounted(ctx, dbsqlc.FollowerCountedParams{Name: follower})
	}
	m := monthOf(first)
	since, until := m.firstDay(), (m + 1).firstDay()
	if err := q.SessionTotalsDeleteSince(ctx, dbsqlc.SessionTotalsDeleteSinceParams{Since: since, Until: until}); err != nil {
		return err
	}
	for day := since; day.Before(until); {
		if day, err = totalsOfNextDay(ctx, q, day, until); err != nil {
			return err
		}
	}
	aside, err := asideUpTo(ctx, q, position)
	if err != nil {
		return err
	}
	at := reached{aside: aside}
	if err := countEvents(ctx, q, m, position, at.leftOut()); err != nil {
		return err
	}
	return q.FollowerCounted(ctx, dbsqlc.FollowerCountedParams{
		Name: follower, ToCount: pgtype.Date{Time: until, Valid: true},
	})
}

// nextMonth is a time in the first month, from a time on, that has sessions or events.
func nextMonth(ctx context.Context, q *dbsqlc.Queries, from time.Time) (time.Time, error) {
	ofEvents, err := q.EventMonthNext(ctx, from)
	if err != nil {
		return time.Time{}, err
	}
	ofSessions, err := q.SessionNextStart(ctx, from)
	if ofSessions.Before(ofEvents) {
		return ofSessions, err
	}
	return ofEvents, err
}

// totalsOfNextDay writes the totals of the next UTC day with sessions, if that is before
// a time, and returns the day after it.
func totalsOfNextDay(ctx context.Context, q *dbsqlc.Queries, since, until time.Time) (time.Time, error) {
	first, err := q.SessionNextStart(ctx, since)
	if err != nil || !first.Before(until) {
		return until, err
	}
	day := grainStart(wholeDay, first)
	var t tally
	for hour := range 24 { // so much is in memory
		since := day.Add(time.Duration(hour) * time.Hour)
		rows, err := q.SessionListStarted(ctx, dbsqlc.SessionListStartedParams{Since: since, Until: since.Add(time.Hour)})
		if err != nil {
			return until, err
		}
		t.addSessions(rows)
	}
	all := t.totals.allRows()
	rows := make([]dbsqlc.SessionTotalsInsertManyParams, 0, len(all))
	for key, totals := range all {
		rows = append(rows, dbsqlc.SessionTotalsInsertManyParams(totalsRow(key, totals)))
	}
	_, err = q.SessionTotalsInsertMany(ctx, rows)
	return day.AddDate(0, 0, 1), err
}

// countEvents counts the events of a month up to a position, but for those put aside.
func countEvents(ctx context.Context, q *dbsqlc.Queries, m month, upTo int64, aside []int64) error {
	since, until := m.firstDay(), (m + 1).firstDay()
	if err := q.EventCountDeleteSince(ctx, dbsqlc.EventCountDeleteSinceParams{Since: since, Until: until}); err != nil {
		return err
	}
	err := q.EventCountQuarters(ctx, dbsqlc.EventCountQuartersParams{Since: since, Until: until, UpTo: upTo, Aside: aside})
	if err != nil {
		return err
	}
	for _, sum := range [][2]int16{{wholeHour, quarterHour}, {wholeDay, wholeHour}} {
		if err := q.EventCountSumUp(ctx, dbsqlc.EventCountSumUpParams{
			Grain: sum[0], OfGrain: sum[1], Since: since, Until: until,
		}); err != nil {
			return err
		}
	}
	return nil
}

// Totals makes the totals of the loaded sessions, and counts the events of the log that
// they were folded from. What is of sessions and events that have gone for their age is
// carried over. progress is told how many months of how many are counted.
func (r *Rebuild) Totals(ctx context.Context, progress func(done, total int)) error {
	if err := r.sumUp(ctx); err != nil {
		return fmt.Errorf("summing the sessions up: %w", err)
	}
	if err := r.countLog(ctx, progress); err != nil {
		return fmt.Errorf("counting the events: %w", err)
	}
	for _, table := range []string{"session_totals", "event_counts"} {
		if _, err := r.conn.Exec(ctx, "VACUUM (ANALYZE) "+fresh(table)); err != nil {
			return fmt.Errorf("analyzing the fresh tables: %w", err)
		}
	}
	return nil
}

// kept is from when on sessions and events are all there. What is earlier is known from
// the old totals alone, if these were ever made.
func (r *Rebuild) kept(ctx context.Context, q *dbsqlc.Queries) (sessions, events time.Time, err error) {
	horizon, err := q.RetentionGet(ctx)
	if err != nil {
		return earliest, earliest, err
	}
	whole, err := q.FollowerToCount(ctx, SessionsFollower)
	if err != nil || !whole {
		return earliest, earliest, err
	}
	return horizon.SessionsBefore, horizon.EventsBefore, nil
}

func (r *Rebuild) sumUp(ctx context.Context) error {
	day, _, err := r.kept(ctx, dbsqlc.New(r.conn))
	if err != nil {
		return err
	}
	err = r.inFresh(ctx, pgx.TxOptions{}, func(tx pgx.Tx) error { return dbsqlc.New(tx).SessionTotalsCarryOver(ctx, day) })
	for err == nil && day.Before(forEver) {
		err = r.inFresh(ctx, pgx.TxOptions{}, func(tx pgx.Tx) (err error) {
			day, err = totalsOfNextDay(ctx, dbsqlc.New(tx), day, forEver)
			return err
		})
	}
	return err
}

func (r *Rebuild) countLog(ctx context.Context, progress func(done, total int)) error {
	q := dbsqlc.New(r.conn)
	_, kept, err := r.kept(ctx, q)
	if err != nil {
		return err
	}
	err = r.inFresh(ctx, pgx.TxOptions{}, func(tx pgx.Tx) error {
		return dbsqlc.New(tx).EventCountCarryOver(ctx, dbsqlc.EventCountCarryOverParams{Since: earliest, Until: kept})
	})
	if err != nil {
		return err
	}
	var months []month
	for since := kept; ; {
		next, err := q.EventMonthNext(ctx, since)
		if err != nil {
			return err
		}
		if !next.Before(forEver) {
			break
		}
		months = append(months, monthOf(next))
		since = (monthOf(next) + 1).firstDay()
	}
	for i, m := range months {
		progress(i, len(months))
		if err := r.countMonth(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// countMonth counts the events of a month in a transaction of its own: one for all
// would keep Postgres from cleaning up for too long.
func (r *Rebuild) countMonth(ctx context.Context, m month) error {
	var moved map[month]int64
	err := r.inFresh(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) (err error) {
		q := dbsqlc.New(tx)
		if moved, err = movedCounts(ctx, q); err != nil {
			return err
		}
		return countEvents(ctx, q, m, r.at.position, r.at.leftOut())
	})
	if err == nil {
		r.counted[m] = moved[m]
	}
	return err
}

// leftOut are the positions of the events that the fresh sessions are without.
func (at *reached) leftOut() []int64 {
	positions := slices.AppendSeq([]int64{}, maps.Keys(at.aside))
	return slices.AppendSeq(positions, maps.Keys(at.refused))
}

// movedCounts is what moved_counts has.
func movedCounts(ctx context.Context, q *dbsqlc.Queries) (map[month]int64, error) {
	rows, err := q.MovedCountList(ctx)
	moved := make(map[month]int64, len(rows))
	for _, row := range rows {
		moved[monthOf(row.Month.Time)] = row.Transaction
	}
	return moved, err
}

// movedMonths are the months in which events became stubs since they were counted.
func (r *Rebuild) movedMonths(ctx context.Context, q *dbsqlc.Queries) (map[month]int64, error) {
	moved, err := movedCounts(ctx, q)
	maps.DeleteFunc(moved, func(m month, transaction int64) bool { return r.counted[m] == transaction })
	return moved, err
}

// countMoved counts those months again, as far as the fresh tables have the log, and
// tells what moved_counts said of them.
func (r *Rebuild) countMoved(ctx context.Context, q *dbsqlc.Queries, at reached) (map[month]int64, error) {
	moved, err := r.movedMonths(ctx, q)
	if err != nil || len(moved) == 0 {
		return nil, err
	}
	_, kept, err := r.kept(ctx, q)
	if err != nil {
		return nil, err
	}
	for m := range moved {
		if since := m.firstDay(); since.Before(kept) {
			span := dbsqlc.EventCountDeleteSinceParams{Since: since, Until: (m + 1).firstDay()}
			if err := q.EventCountDeleteSince(ctx, span); err != nil {
				return nil, err
			}
			err = q.EventCountCarryOver(ctx, dbsqlc.EventCountCarryOverParams(span))
		} else {
			err = countEvents(ctx, q, m, at.position, at.leftOut())
		}
		if err != nil {
			return nil, err
		}
	}
	return moved, nil
}
