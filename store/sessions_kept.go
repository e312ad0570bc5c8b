package store

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"rapport/store/internal/dbsqlc"
)

// keptSessions keeps the sessions of pages that are asked for again and again, as a page
// that somebody watches is. Which tuples a page has is asked each time, so that it is
// always as the database has it; of 33 columns of each row, Postgres need not be asked
// again. The zero value is empty.
type keptSessions struct {
	mu   sync.Mutex
	rows map[tuple]*SessionRow

	// The pages that were asked for: the last ones, and those before them.
	asked, before map[uint64]struct{}
}

// Bounds of what is kept: rows of at most about 10 kB each, which have 2 kB as a rule,
// and the pages that were asked for, up to twice as many.
const (
	maxKeptRows = 8000
	maxKeptText = 1 << 10 // bytes of what a sender has said; JSON may have six times as many
	askedPages  = 1000
	keptFor     = time.Hour // then all go: nothing that another server has erased stays in memory for longer
)

// pageSeed is of this process.
var pageSeed = maphash.MakeSeed()

// isAskedAgain reports whether a page was asked for not long ago, and remembers that it
// is now.
func (k *keptSessions) isAskedAgain(from string, args []any) bool {
	page := hashOf(from, args)
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.asked[page]; ok {
		return true
	}
	_, ok := k.before[page]
	if k.asked == nil || len(k.asked) >= askedPages {
		k.asked, k.before = make(map[uint64]struct{}), k.asked
	}
	k.asked[page] = struct{}{}
	return ok
}

// hashOf tells pages of this process apart.
func hashOf(from string, args []any) uint64 {
	var h maphash.Hash
	h.SetSeed(pageSeed)
	_, _ = h.WriteString(from) // it never fails
	for _, arg := range args {
		switch arg := arg.(type) {
		case string:
			maphash.WriteComparable(&h, arg)
		case int64:
			maphash.WriteComparable(&h, arg)
		case time.Time:
			maphash.WriteComparable(&h, arg.UnixMicro())
		default:
			_, _ = fmt.Fprintf(&h, "%q", arg)
		}
	}
	return h.Sum64()
}

func (k *keptSessions) get(found []tuple) (rows []*SessionRow, others []pgtype.TID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return known(found, func(at tuple) *SessionRow { return k.rows[at] })
}

// put keeps rows. Some others, whichever they are, go when there are too many.
func (k *keptSessions) put(rows map[tuple]*SessionRow) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.rows == nil {
		k.rows = make(map[tuple]*SessionRow)
		time.AfterFunc(keptFor, k.forget)
	}
	for at, row := range rows {
		if row.Shown != nil {
			k.rows[at] = row
		}
	}
	for at := range k.rows {
		if len(k.rows) <= maxKeptRows {
			return
		}
		delete(k.rows, at)
	}
}

func (k *keptSessions) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rows = nil
}

// mayBeKept reports whether a page is one that is kept if it is asked for again.
func (query *SessionQuery) mayBeKept() bool {
	return query.Keep && query.isIndexed() && !query.isPerAgent()
}

// keptPage is a page by the tuples that it has; nil if one of them has gone meanwhile.
func (db *DB) keptPage(ctx context.Context, query *SessionQuery, from string, args []any) ([]*SessionRow, error) {
	found, err := db.findPage(ctx, query, from, args)
	if err != nil {
		return nil, err
	}
	rows, others := db.kept.get(found)
	if len(others) > 0 {
		fresh, err := db.readTuples(ctx, others)
		if err != nil {
			return nil, err
		}
		db.kept.put(fresh)
		for i, at := range found {
			if rows[i] == nil {
				rows[i] = fresh[at]
			}
		}
	}
	if slices.Contains(rows, nil) {
		return nil, nil
	}
	return rows, nil
}

// findPage finds the tuples of a page, in its order.
func (db *DB) findPage(ctx context.Context, query *SessionQuery, from string, args []any) (found []tuple, err error) {
	find := "SELECT " + tuplesOf("sessions") + " FROM (SELECT ctid, xmin" + from + ") page"
	err = db.pool.QueryRow(ctx, find, slices.Concat([]any{query.mode(), tuplesFormats}, args)...).Scan((*tuples)(&found))
	return found, err
}

var listedTupleFormats = slices.Concat(listedFormats, tupleFormats)

// readTuples reads those that are still there: one that is has not changed since it was
// found, for then it would be another.
func (db *DB) readTuples(ctx context.Context, places []pgtype.TID) (map[tuple]*SessionRow, error) {
	rows, err := db.pool.Query(ctx, "SELECT "+listedColumns+", "+tupleColumns+" FROM sessions WHERE ctid = ANY($1)", listedTupleFormats, places)
	if err != nil {
		return nil, err
	}
	fresh := make(map[tuple]*SessionRow, len(places))
	err = eachListed(rows, func(row *dbsqlc.Session, more *rowValues) {
		one := sessionRowOf(row)
		if len(one.AgentID)+len(one.SessionID)+len(one.UserID)+len(one.RoomName)+len(one.EndReason) <= maxKeptText {
			one.Shown = new(atomic.Pointer[[]byte])
		}
		fresh[more.tuple()] = &one
	})
	return fresh, err
}
