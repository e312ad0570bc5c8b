package store

import (
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

func TestRememberedTotalsAreBoundedInMemory(t *testing.T) {
	t.Parallel()
	whole := keptTotals{isWhole: true}
	for i := range 2000 {
		whole.Duration.Add(int64(i * i))
	}
	var c totalsCache
	at := func(i int) tuple {
		return tuple{file: 1, place: pgtype.TID{BlockNumber: uint32(i), Valid: true}, since: 7}
	}
	const rows = 2 * maxCachedBytes / (512 + 16*600)
	for i := range rows {
		c.put(map[tuple]*keptTotals{at(i): new(whole)})
	}
	if c.bytes > maxCachedBytes || c.bytes < maxCachedBytes/2 || c.bytes != len(c.rows)*memoryOf(&whole) {
		t.Errorf("%d bytes in %d rows", c.bytes, len(c.rows))
	}
}

func TestTotalsThatWereReadWithoutHistogramsAreReadAgain(t *testing.T) {
	t.Parallel()
	whole := &keptTotals{isWhole: true}
	whole.Duration.Add(1000)
	sums := &keptTotals{}
	here := tuple{file: 1, place: pgtype.TID{BlockNumber: 3, OffsetNumber: 4, Valid: true}, since: 7}
	changed, elsewhere := here, here
	changed.since++
	elsewhere.server++
	var c totalsCache
	known := func(of tuple, isWhole bool) *keptTotals {
		rows, others := c.get([]tuple{of}, isWhole)
		if (len(others) == 0) != (rows[0] != nil) {
			t.Errorf("%v is missing, and is %v", others, rows[0])
		}
		return rows[0]
	}
	c.put(map[tuple]*keptTotals{here: sums})
	if known(here, false) != sums || known(here, true) != nil || known(changed, false) != nil || known(elsewhere, false) != nil {
		t.Error("not what was kept, or of another tuple")
	}
	c.put(map[tuple]*keptTotals{here: whole})
	c.put(map[tuple]*keptTotals{here: sums})
	if known(here, true) != whole || known(here, false) != whole || c.bytes != memoryOf(whole) {
		t.Errorf("what was whole is not any more: %d bytes", c.bytes)
	}
}
