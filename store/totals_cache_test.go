package store

import (
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"rapport"
)

func TestRememberedTotalsAreBoundedInMemory(t *testing.T) {
	t.Parallel()
	var whole rapport.Totals
	for i := range 2000 {
		whole.Duration.Add(int64(i * i))
	}
	var c totalsCache
	at := func(i int) tuple {
		return tuple{file: 1, place: pgtype.TID{BlockNumber: uint32(i), Valid: true}, since: 7}
	}
	const rows = 2 * maxCachedBytes / (512 + 16*600)
	for i := range rows {
		kept := whole
		c.put(map[tuple]*rapport.Totals{at(i): &kept}, true)
	}
	if c.bytes > maxCachedBytes || c.bytes < maxCachedBytes/2 || c.bytes != len(c.rows)*memoryOf(&whole) {
		t.Errorf("%d bytes in %d rows", c.bytes, len(c.rows))
	}
}

func TestTotalsThatWereReadWithoutHistogramsAreReadAgain(t *testing.T) {
	t.Parallel()
	whole := &rapport.Totals{Sessions: 1}
	whole.Duration.Add(1000)
	sums := &rapport.Totals{Sessions: 1}
	here := tuple{file: 1, place: pgtype.TID{BlockNumber: 3, OffsetNumber: 4, Valid: true}, since: 7}
	changed, elsewhere := here, here
	changed.since++
	elsewhere.server++
	var c totalsCache
	known := func(of tuple, isWhole bool) *rapport.Totals {
		found := []foundTotals{{tuple: of}}
		if others := c.get(found, isWhole); (len(others) == 0) != (found[0].totals != nil) {
			t.Errorf("%v is missing, and is %v", others, found[0].totals)
		}
		return found[0].totals
	}
	c.put(map[tuple]*rapport.Totals{here: sums}, false)
	if known(here, false) != sums || known(here, true) != nil || known(changed, false) != nil || known(elsewhere, false) != nil {
		t.Error("not what was kept, or of another tuple")
	}
	c.put(map[tuple]*rapport.Totals{here: whole}, true)
	c.put(map[tuple]*rapport.Totals{here: sums}, false)
	if known(here, true) != whole || known(here, false) != whole || c.bytes != memoryOf(whole) {
		t.Errorf("what was whole is not any more: %d bytes", c.bytes)
	}
}
