package verify

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"rapport"
	"rapport/store"
)

// checkTotals compares session_totals with the sessions, a day of UTC after the other.
// What is of sessions that may have gone for their age can't be proved any more.
func (v *verifier) checkTotals() error {
	sessions, err := newDays(v.byStart, func(s *store.StoredSession) time.Time { return s.Key().StartedAt })
	if err != nil {
		return err
	}
	totals, err := newDays(v.totals, func(t *store.StoredTotals) time.Time { return t.Key().StartsAt })
	if err != nil {
		return err
	}
	since := v.recorded.Retained.Horizon.Sessions
	for {
		day, ok := nextDay(sessions, totals)
		if !ok {
			return nil
		}
		var sum store.TotalsSum
		if err := sessions.each(day, sum.Add); err != nil {
			return err
		}
		should := sum.Rows()
		err := totals.each(day, func(stored *store.StoredTotals) {
			if !day.Before(since) {
				v.compareTotals(stored, should)
			}
		})
		if err != nil {
			return err
		}
		if !day.Before(since) {
			v.missingTotals(should)
		}
	}
}

// compareTotals takes a row out of those that should be there.
func (v *verifier) compareTotals(stored *store.StoredTotals, should map[store.TotalsKey]*rapport.Totals) {
	key := stored.Key()
	wanted, ok := should[key]
	if !ok {
		v.report.add("totals", "%s: there are no such sessions", totalsName(key))
		return
	}
	delete(should, key)
	for _, d := range stored.Differences(wanted) {
		v.report.add("totals", "%s: %s is %s, the sessions say %s", totalsName(key), d.Column, show(d.Stored), show(d.Should))
	}
}

func (v *verifier) missingTotals(should map[store.TotalsKey]*rapport.Totals) {
	for _, key := range slices.SortedFunc(maps.Keys(should), compareTotalsKeys) {
		v.report.add("totals", "%s: is missing, there are %d sessions", totalsName(key), should[key].Sessions)
	}
}

func compareTotalsKeys(a, b store.TotalsKey) int {
	return cmp.Or(cmp.Compare(a.Minutes, b.Minutes), a.StartsAt.Compare(b.StartsAt), cmp.Compare(a.AgentID, b.AgentID),
		cmp.Compare(fmt.Sprint(a.OfAll), fmt.Sprint(b.OfAll)))
}

func totalsName(key store.TotalsKey) string {
	of := "agent " + name(key.AgentID)
	if key.OfAll {
		of = "all agents"
	}
	return fmt.Sprintf("session_totals of %s, %d minutes from %s", of, key.Minutes, show(key.StartsAt))
}

// days reads rows that come in the order of time, day by day.
type days[T any] struct {
	rows *store.Stream[T]
	at   func(T) time.Time
	next T
	ok   bool // there is a next one
}

func newDays[T any](rows *store.Stream[T], at func(T) time.Time) (*days[T], error) {
	d := &days[T]{rows: rows, at: at}
	return d, d.read()
}

func (d *days[T]) read() (err error) {
	d.next, d.ok, err = d.rows.Next()
	return err
}

// day is that of the next row.
func (d *days[T]) day() time.Time { return d.at(d.next).UTC().Truncate(24 * time.Hour) }

// each gives the rows of a day.
func (d *days[T]) each(day time.Time, do func(T)) error {
	for d.ok && d.day().Equal(day) {
		do(d.next)
		if err := d.read(); err != nil {
			return err
		}
	}
	return nil
}

// nextDay is the first day that either has.
func nextDay(sessions *days[*store.StoredSession], totals *days[*store.StoredTotals]) (time.Time, bool) {
	switch {
	case !sessions.ok && !totals.ok:
		return time.Time{}, false
	case !sessions.ok || totals.ok && totals.day().Before(sessions.day()):
		return totals.day(), true
	default:
		return sessions.day(), true
	}
}

// checkCounts compares event_counts with the log. What is of months that may have been
// dropped can't be proved any more.
func (v *verifier) checkCounts(ctx context.Context) error {
	return v.counts.Compare(ctx, v.recorded.Retained.Horizon.Events, v.follower.Position, func(d store.CountDifference) {
		of := fmt.Sprintf("event_counts of agent %s, %d minutes from %s, %s", name(d.AgentID), d.Minutes, show(d.StartsAt), countName(d.EventCount))
		switch {
		case d.Stored == nil:
			v.report.add("counts", "%s: is missing, the log has %d events", of, *d.Should)
		case d.Should == nil:
			v.report.add("counts", "%s: events is %d, the log has none", of, *d.Stored)
		default:
			v.report.add("counts", "%s: events is %d, the log says %d", of, *d.Stored, *d.Should)
		}
	})
}

// countName is what events of a row have in common.
func countName(c store.EventCount) string {
	text := plain(c.EventType)
	for _, part := range []string{c.Role, c.ErrorCode, c.ErrorSeverity, c.ErrorCategory} {
		if part != "" {
			text += " " + plain(part)
		}
	}
	return text
}
