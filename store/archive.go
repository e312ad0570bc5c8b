package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store/internal/dbsqlc"
)

// Archive is what the database knows of its archive. The archive itself lies in a
// bucket; the database says what of it is to be written again. Nothing here waits for a
// bucket within a transaction.
//
// One process archives at a time: the one that holds the lease. Its methods are
// ErrArchiveLost once somebody else may have it.
type Archive struct {
	db      *DB
	owner   string
	planned int64 // head of the log when it was looked last where the next block ends
}

// ErrArchiveLost says that another process archives now.
var ErrArchiveLost = errors.New("another process archives now")

// NewArchive is the archive as a process sees it; owner names the process.
func (db *DB) NewArchive(owner string) *Archive { return &Archive{db: db, owner: owner} }

// ArchiveStatus is how far the archive is.
type ArchiveStatus struct {
	LogID     string // empty: nothing was archived yet
	Place     string // the bucket that it is in
	Manifest  int64  // number of the last one; 0: none
	Numbered  int64  // the greatest number that was given to one, which may have been written, too
	Position  int64  // up to here the log can be restored
	Version   string // what the tables were like that the last manifest has copies of
	Tables    []byte // what the last manifest says of these, as JSON
	Continues string // the manifest that the log was restored from
	Orphans   bool   // the bucket may have objects of sessions that the log knows nothing of
	WrittenAt time.Time
}

// Lease takes the lease, or renews it. ok is false if another process has it.
func (a *Archive) Lease(ctx context.Context, span time.Duration) (status ArchiveStatus, ok bool, err error) {
	row, err := a.db.q.ArchiveLease(ctx, dbsqlc.ArchiveLeaseParams{Owner: a.owner, Seconds: span.Seconds()})
	if errors.Is(err, pgx.ErrNoRows) {
		return ArchiveStatus{}, false, nil
	}
	if err != nil {
		return ArchiveStatus{}, false, fmt.Errorf("taking the lease of the archive: %w", err)
	}
	return ArchiveStatus{
		LogID: row.LogID, Place: row.Place, Manifest: row.Manifest, Numbered: row.Numbered, Position: row.Position,
		Version: row.StateVersion, Tables: row.Tables, Continues: row.Continues, Orphans: row.Orphans, WrittenAt: orZero(row.WrittenAt),
	}, true, nil
}

// Release gives the lease up.
func (a *Archive) Release(ctx context.Context) error { return a.db.q.ArchiveRelease(ctx, a.owner) }

// held runs do in a transaction in which nobody makes stubs, and after whoever was at
// it: what is read when it has ended is as a stub says, or is outdated by its trigger.
func (a *Archive) held(ctx context.Context, do func(*dbsqlc.Queries) error) error {
	return a.db.inTx(ctx, func(q *dbsqlc.Queries) error {
		if _, err := q.ArchiveHold(ctx, a.owner); err != nil {
			return lostIfNone(err)
		}
		return do(q)
	})
}

// owned runs do in a transaction, if the lease is ours.
func (a *Archive) owned(ctx context.Context, do func(*dbsqlc.Queries) error) error {
	return a.db.inTx(ctx, func(q *dbsqlc.Queries) error {
		if owned, err := q.ArchiveOwned(ctx, a.owner); err != nil || !owned {
			return errors.Join(err, lostUnless(owned))
		}
		return do(q)
	})
}

func lostIfNone(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrArchiveLost
	}
	return err
}

func lostUnless(owned bool) error {
	if owned {
		return nil
	}
	return ErrArchiveLost
}

// Begin forgets what was archived, since the bucket has nothing of it: all of the log
// goes there, under a new name, unless place is the bucket where it was.
func (a *Archive) Begin(ctx context.Context, place string) error {
	begin := func(q *dbsqlc.Queries) func(context.Context) error {
		return func(ctx context.Context) error { return q.ArchiveBegin(ctx, place) }
	}
	err := a.held(ctx, func(q *dbsqlc.Queries) error {
		for _, forget := range []func(context.Context) error{
			q.ArchiveForgetBlocks, q.ArchiveForgetGarbage, q.ArchiveForgetSessions, q.ArchiveDueAll, begin(q),
		} {
			if err := forget(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("beginning the archive: %w", err)
	}
	return nil
}

// SetPlace notes which bucket it is in.
func (a *Archive) SetPlace(ctx context.Context, place string) error {
	return a.db.q.ArchivePlace(ctx, dbsqlc.ArchivePlaceParams{Place: place, Owner: a.owner})
}

// Number is a number for the next manifest, which no other one ever has.
func (a *Archive) Number(ctx context.Context) (int64, error) {
	number, err := a.db.q.ArchiveNumber(ctx, a.owner)
	if err != nil {
		return 0, fmt.Errorf("numbering a manifest of the archive: %w", lostIfNone(err))
	}
	return number, nil
}

// ArchiveBlock is a stretch of the log that is one object in the bucket.
type ArchiveBlock struct {
	First, Last int64     // positions
	Hour        time.Time // of UTC, in which its first event was received
	Object      string    // empty if it never was
	SHA256      []byte    // of the object
	Bytes       int64     // of the object
	Events      int64     // fewer than positions where months were dropped
	Content     int64     // bytes of bodies and texts
	Oldest      time.Time // occurred_at; zero without events
	Newest      time.Time
}

func archiveBlockOf(row dbsqlc.ArchiveBlock) ArchiveBlock {
	return ArchiveBlock{
		First: row.FirstPosition, Last: row.LastPosition, Hour: row.Hour, Object: row.Object,
		SHA256: row.Sha256, Bytes: row.Bytes, Events: row.Events, Content: row.ContentBytes,
		Oldest: orZero(row.OldestAt), Newest: orZero(row.NewestAt),
	}
}

// BlockBounds say where a block ends: after so many events, or bytes of bodies and texts;
// and before what a later day of UTC received, if it has enough.
type BlockBounds struct {
	Events int
	Enough int // events
	Bytes  int64
}

// Plan makes the next block behind those that there are, or lets the last one grow. A
// block that may still grow is made only if that is asked for. It reports whether it has
// made one, and whether that is complete, so that there may be more.
//
// Where blocks begin and end follows from the log, and from when they were asked for:
// it is recorded before anything is written.
func (a *Archive) Plan(ctx context.Context, bounds BlockBounds, incomplete bool) (made, complete bool, err error) {
	var head int64
	err = a.owned(ctx, func(q *dbsqlc.Queries) error {
		at, err := q.LogHeadGet(ctx)
		if err != nil {
			return err
		}
		head = at.Position
		p := &blockPlan{q: q, head: head, now: at.ReceivedAt, planned: a.planned, bounds: bounds, incomplete: incomplete}
		made, complete, err = p.next(ctx)
		return err
	})
	if err == nil && (made || head-a.planned >= bounds.glance()) {
		a.planned = head
	}
	if err != nil {
		return false, false, fmt.Errorf("planning the next block of the archive: %w", err)
	}
	return made, complete, nil
}

// glance is how many events must have come until it is worth a look whether a block is
// complete: that reads all of its events.
func (b BlockBounds) glance() int64 { return int64(b.Events) / 32 }

type blockPlan struct {
	q          *dbsqlc.Queries
	head       int64
	planned    int64 // head of the last look
	now        time.Time
	bounds     BlockBounds
	incomplete bool
}

func (p *blockPlan) next(ctx context.Context) (made, complete bool, err error) {
	tail, err := p.q.ArchiveTail(ctx)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, false, err
	}
	if tail.LastPosition >= p.head {
		return false, false, nil
	}
	if !p.incomplete && p.head-tail.FirstPosition+1 < int64(p.bounds.Events) && p.head-p.planned < p.bounds.glance() {
		return false, false, nil
	}
	if tail.FirstPosition == 0 {
		return p.begin(ctx, 0)
	}
	last, complete, err := p.reach(ctx, tail.FirstPosition-1, tail.Hour)
	switch {
	case err != nil:
		return false, false, err
	case last <= tail.LastPosition:
		return p.begin(ctx, tail.LastPosition)
	case !complete && !p.incomplete:
		return false, false, nil
	}
	return true, complete, p.q.ArchiveBlockExtend(ctx, dbsqlc.ArchiveBlockExtendParams{
		FirstPosition: tail.FirstPosition, LastPosition: last,
	})
}

// begin makes a block behind a position.
func (p *blockPlan) begin(ctx context.Context, after int64) (made, complete bool, err error) {
	received, err := p.q.ArchiveFirstBehind(ctx, dbsqlc.ArchiveFirstBehindParams{After: after, UpTo: p.head})
	if errors.Is(err, pgx.ErrNoRows) { // all of it was dropped already
		received, err = p.now, nil
	}
	if err != nil {
		return false, false, err
	}
	hour := received.UTC().Truncate(time.Hour)
	last, complete, err := p.reach(ctx, after, hour)
	if err != nil || !complete && !p.incomplete {
		return false, false, err
	}
	return true, complete, p.q.ArchiveBlockInsert(ctx, dbsqlc.ArchiveBlockInsertParams{
		FirstPosition: after + 1, LastPosition: last, Hour: hour,
	})
}

// reach is how far a block goes that begins behind a position, and whether it ends
// before the log does.
func (p *blockPlan) reach(ctx context.Context, after int64, hour time.Time) (last int64, complete bool, err error) {
	cut, err := p.q.ArchiveCut(ctx, dbsqlc.ArchiveCutParams{
		After: after, UpTo: p.head, DayEnd: hour.Truncate(24*time.Hour).AddDate(0, 0, 1),
		MaxEvents: int32(p.bounds.Events), EnoughEvents: int64(p.bounds.Enough), MaxBytes: p.bounds.Bytes,
	})
	if err != nil {
		return 0, false, err
	}
	_, err = p.q.ArchiveFirstBehind(ctx, dbsqlc.ArchiveFirstBehindParams{After: max(cut.LastPosition, after), UpTo: p.head})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return p.head, int(cut.Events) >= p.bounds.Events, nil
	case err != nil:
		return 0, false, err
	case cut.Events == 0: // only of a block whose events have gone
		return after, true, nil
	}
	return cut.LastPosition, true, nil
}

// TakeBlock is the next block that is to be written; ok is false if none is. Read its
// events, and call StoredBlock.
func (a *Archive) TakeBlock(ctx context.Context) (block ArchiveBlock, ok bool, err error) {
	err = a.held(ctx, func(q *dbsqlc.Queries) error {
		row, err := q.ArchiveBlockTake(ctx)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		block, ok = archiveBlockOf(row), err == nil
		return err
	})
	if err != nil {
		return ArchiveBlock{}, false, fmt.Errorf("taking a block of the archive: %w", err)
	}
	return block, ok, nil
}

// StoredBlock notes that a block lies in the bucket. It reports false if some of its
// events have changed since TakeBlock: it is then to be written again.
func (a *Archive) StoredBlock(ctx context.Context, block ArchiveBlock) (kept bool, err error) {
	err = a.owned(ctx, func(q *dbsqlc.Queries) error {
		if err := q.ArchiveBlockDiscard(ctx, dbsqlc.ArchiveBlockDiscardParams{
			FirstPosition: block.First, Object: block.Object,
		}); err != nil {
			return err
		}
		n, err := q.ArchiveBlockStored(ctx, dbsqlc.ArchiveBlockStoredParams{
			FirstPosition: block.First, LastPosition: block.Last, Object: block.Object, Sha256: block.SHA256, Bytes: block.Bytes,
			Events: block.Events, ContentBytes: block.Content, OldestAt: orNull(block.Oldest), NewestAt: orNull(block.Newest),
		})
		if kept = n > 0; err == nil && !kept {
			return errOutdated
		}
		return err
	})
	if err != nil && !errors.Is(err, errOutdated) {
		return false, fmt.Errorf("noting a block of the archive: %w", err)
	}
	return kept, nil
}

var errOutdated = errors.New("it has changed since it was read")

// ArchiveTodo is what is left to be written, or deleted.
type ArchiveTodo struct {
	Blocks, Sessions, Garbage int64 // objects
	State                     int64 // 1 if the last manifest has outdated copies of tables, else 0
}

// IsDone reports whether nothing is left.
func (t ArchiveTodo) IsDone() bool { return t == ArchiveTodo{} }

// ArchiveTodo counts.
func (db *DB) ArchiveTodo(ctx context.Context) (ArchiveTodo, error) {
	row, err := db.q.ArchiveTodo(ctx)
	if err != nil {
		return ArchiveTodo{}, fmt.Errorf("counting what is to be archived: %w", err)
	}
	todo := ArchiveTodo{Blocks: row.Blocks, Sessions: row.Sessions, Garbage: row.Garbage}
	versions, err := db.q.ArchiveVersions(ctx)
	if err != nil {
		return ArchiveTodo{}, fmt.Errorf("counting what is to be archived: %w", err)
	}
	if versionText(versions) != row.StateVersion {
		todo.State = 1
	}
	return todo, nil
}

// ArchiveLag tells how far the archive is behind the log; used is false if there is
// none.
func (db *DB) ArchiveLag(ctx context.Context, now time.Time) (lag Lag, used bool, err error) {
	row, err := db.q.ArchiveLag(ctx)
	if err != nil {
		return Lag{}, false, fmt.Errorf("reading how far the archive has come: %w", err)
	}
	lag = Lag{Position: row.Position, Head: row.Head, Events: row.Head - row.Position}
	if lag.Events > 0 {
		lag.Age = max(0, now.Sub(row.WaitsSince))
	}
	return lag, row.Used, nil
}

// Garbage are objects that nothing refers to any more.
func (a *Archive) Garbage(ctx context.Context, limit int) ([]string, error) {
	return a.db.q.ArchiveGarbageList(ctx, int32(limit))
}

// Deleted notes that objects are gone from the bucket.
func (a *Archive) Deleted(ctx context.Context, objects []string) error {
	return a.owned(ctx, func(q *dbsqlc.Queries) error { return q.ArchiveGarbageDelete(ctx, objects) })
}

// Known are those of the objects that the archive consists of, or that are to be
// deleted anyway.
func (a *Archive) Known(ctx context.Context, objects []string) (map[string]bool, error) {
	rows, err := a.db.q.ArchiveObjectsKnown(ctx, objects)
	known := make(map[string]bool, len(rows))
	for _, object := range rows {
		known[object] = true
	}
	return known, err
}

// Lost has blocks written again whose objects are not among those that were found in the
// bucket. It tells how many.
func (a *Archive) Lost(ctx context.Context, found []string) (int64, error) {
	return a.db.q.ArchiveBlocksLost(ctx, append([]string{}, found...))
}
