package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// tally is what a step changes in session_totals and event_counts. It is gathered in
// memory, so that each row is written once, whatever a step has: under load thousands
// of events, of few agents and few quarter hours.
type tally struct {
	totals totalsByKey        // of quarter hours; may be negative
	counts map[countKey]int64 // of quarter hours; may be negative
}

// countKey is the key of a row of event_counts.
type countKey struct {
	grain     int16
	startsAt  time.Time // UTC
	agentID   string
	eventType string
	role      string
	code      string
	severity  string
	category  string
}

// maxCountText is after how many characters event_counts cuts a text: an index entry
// has its limit. It is that of the function count_text.
const maxCountText = 100

func countText(s string) string {
	if len(s) <= maxCountText {
		return s
	}
	n := 0
	for i := range s {
		if n == maxCountText {
			return s[:i]
		}
		n++
	}
	return s
}

func countKeyOf(e *rapport.Event) countKey {
	return countKey{
		grain: quarterHour, startsAt: grainStart(quarterHour, e.OccurredAt), agentID: e.AgentID,
		eventType: countText(e.Type), role: countText(e.Role), code: countText(e.ErrorCode),
		severity: countText(e.ErrorSeverity), category: countText(e.ErrorCategory),
	}
}

// add counts events, or takes them away again where times is -1.
func (t *tally) add(times int64, events ...*rapport.Event) {
	if t.counts == nil {
		t.counts = make(map[countKey]int64)
	}
	for _, e := range events {
		t.counts[countKeyOf(e)] += times
	}
}

func (t *tally) addSession(row *dbsqlc.Session) {
	t.totals.ofQuarter(row.AgentID, row.StartedAt).Add(totalsOfRow(row))
}

func (t *tally) subSessions(rows []dbsqlc.Session) {
	for i := range rows {
		t.totals.ofQuarter(rows[i].AgentID, rows[i].StartedAt).Sub(totalsOfRow(&rows[i]))
	}
}

func (t *tally) addSessions(rows []dbsqlc.Session) {
	for i := range rows {
		t.addSession(&rows[i])
	}
}

// countPositions counts events at positions, or takes them away again.
func (t *tally) countPositions(ctx context.Context, q *dbsqlc.Queries, positions []int64, times int64) error {
	if len(positions) == 0 {
		return nil
	}
	rows, err := q.EventListCounted(ctx, positions)
	for _, row := range rows {
		t.add(times, &rapport.Event{
			OccurredAt: row.OccurredAt, AgentID: row.AgentID, Type: row.EventType, Role: row.Role,
			ErrorCode: row.ErrorCode, ErrorSeverity: row.ErrorSeverity, ErrorCategory: row.ErrorCategory,
		})
	}
	return err
}

// write brings it to the tables, and begins anew. Who calls it holds the follower's
// row, so nobody else writes them meanwhile.
func (t *tally) write(ctx context.Context, q *dbsqlc.Queries) error {
	totals, counts := t.totals.allRows(), allCounts(t.counts)
	*t = tally{}
	if err := writeTotals(ctx, q, totals); err != nil {
		return err
	}
	return writeCounts(ctx, q, counts)
}

// writeTotals reads the rows that change, and writes them.
func writeTotals(ctx context.Context, q *dbsqlc.Queries, changes totalsByKey) error {
	keys := changedKeys(changes)
	if len(keys) == 0 {
		return nil
	}
	var get dbsqlc.SessionTotalsGetManyParams
	for _, key := range keys {
		get.Grains, get.OfAlls = append(get.Grains, key.grain), append(get.OfAlls, key.ofAll)
		get.AgentIds, get.StartsAts = append(get.AgentIds, key.agentID), append(get.StartsAts, key.startsAt)
	}
	rows, err := q.SessionTotalsGetMany(ctx, get)
	if err != nil {
		return err
	}
	for i := range rows {
		key, totals, err := totalsOf(&rows[i])
		if err != nil {
			return err
		}
		changes[key].Add(totals)
	}
	var put dbsqlc.SessionTotalsUpsertManyParams
	var empty dbsqlc.SessionTotalsDeleteManyParams
	for _, key := range keys {
		if changes[key].IsZero() {
			empty.Grains, empty.OfAlls = append(empty.Grains, key.grain), append(empty.OfAlls, key.ofAll)
			empty.AgentIds, empty.StartsAts = append(empty.AgentIds, key.agentID), append(empty.StartsAts, key.startsAt)
			continue
		}
		row := totalsRow(key, changes[key])
		addRow(&put, &row)
	}
	if len(empty.Grains) > 0 {
		if err := q.SessionTotalsDeleteMany(ctx, empty); err != nil {
			return err
		}
	}
	if len(put.Grains) == 0 {
		return nil
	}
	return q.SessionTotalsUpsertMany(ctx, put)
}

// changedKeys are those of the rows that change, in order.
func changedKeys(changes totalsByKey) []totalsKey {
	var keys []totalsKey
	for key, totals := range changes {
		if !totals.IsZero() {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, compareTotalsKeys)
	return keys
}

func compareTotalsKeys(a, b totalsKey) int {
	return cmp.Or(cmp.Compare(a.grain, b.grain), cmp.Compare(a.agentID, b.agentID), a.startsAt.Compare(b.startsAt),
		compareBools(a.ofAll, b.ofAll))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// allCounts are the rows of all grains that quarter hours add up to.
func allCounts(quarters map[countKey]int64) map[countKey]int64 {
	all := make(map[countKey]int64, 3*len(quarters))
	for key, n := range quarters {
		if n == 0 {
			continue
		}
		at := key.startsAt
		for _, grain := range grains {
			key.grain, key.startsAt = grain, grainStart(grain, at)
			all[key] += n
		}
	}
	return all
}

func writeCounts(ctx context.Context, q *dbsqlc.Queries, changes map[countKey]int64) error {
	var put dbsqlc.EventCountAddManyParams
	var less dbsqlc.EventCountDropEmptyParams
	for key, n := range changes {
		if n == 0 {
			continue
		}
		put.Grains, put.StartsAts, put.AgentIds = append(put.Grains, key.grain), append(put.StartsAts, key.startsAt), append(put.AgentIds, key.agentID)
		put.EventTypes, put.Roles = append(put.EventTypes, key.eventType), append(put.Roles, key.role)
		put.ErrorCodes, put.ErrorSeverities = append(put.ErrorCodes, key.code), append(put.ErrorSeverities, key.severity)
		put.ErrorCategories, put.Events = append(put.ErrorCategories, key.category), append(put.Events, n)
		if n < 0 {
			less.Grains, less.StartsAts, less.AgentIds = append(less.Grains, key.grain), append(less.StartsAts, key.startsAt), append(less.AgentIds, key.agentID)
		}
	}
	if len(put.Grains) == 0 {
		return nil
	}
	if err := q.EventCountAddMany(ctx, put); err != nil || len(less.Grains) == 0 {
		return err
	}
	return q.EventCountDropEmpty(ctx, less)
}
