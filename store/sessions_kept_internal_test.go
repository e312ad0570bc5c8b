package store

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// keptRows are so many rows, each of a place of its own from one on.
func keptRows(from, n int) map[tuple]*SessionRow {
	rows := make(map[tuple]*SessionRow)
	for i := range n {
		rows[tuple{place: pgtype.TID{BlockNumber: uint32(from + i), Valid: true}}] = &SessionRow{Shown: new(atomic.Pointer[[]byte])}
	}
	return rows
}

func TestKeptRowsAreBounded(t *testing.T) {
	t.Parallel()
	var k keptSessions
	for i := range 5 {
		k.put(keptRows(i*maxKeptRows/2, maxKeptRows/2))
	}
	if len(k.rows) != maxKeptRows {
		t.Errorf("%d rows", len(k.rows))
	}
	for i := range 5 * askedPages {
		if k.isAskedAgain(fmt.Sprint("page ", i), nil) {
			t.Fatalf("page %d was not asked for", i)
		}
	}
	if !k.isAskedAgain("page 4500", nil) || k.isAskedAgain("page 1", nil) || len(k.asked)+len(k.before) > 2*askedPages {
		t.Errorf("%d and %d pages", len(k.asked), len(k.before))
	}
}

func TestKeptRowsGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var k keptSessions
		missing := func() int {
			_, others := k.get(slices.Collect(maps.Keys(keptRows(0, 2))))
			return len(others)
		}
		for range 3 { // the hour begins anew with the first of the next ones
			k.put(keptRows(0, 1))
			time.Sleep(keptFor - time.Second)
			k.put(keptRows(1, 1))
			if n := missing(); n != 0 {
				t.Errorf("%d of 2 rows are gone within the hour", n)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n := missing(); n != 2 {
				t.Errorf("%d of 2 rows are gone after the hour", n)
			}
		}
	})
}
