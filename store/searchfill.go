package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rapport/store/internal/dbsqlc"
)

// SearchFollower is the follower that makes messages searchable. Postgres itself reads
// the log and writes the words, so it has no projection and no dead letters: whatever a
// text is, something of it can be written.
const SearchFollower = "search"

// maxFillBytes bounds the texts of a step of the search: the worst take a second for
// 30 kB. One event is always taken.
const maxFillBytes = 256 << 10

// SearchStanding is how far the search has come, and those before which it gives way.
type SearchStanding struct {
	Position int64 // up to here messages can be found
	Folded   int64 // up to here the sessions are made
	Head     int64 // of the log
}

// SearchStanding looks.
func (db *DB) SearchStanding(ctx context.Context) (SearchStanding, error) {
	row, err := db.q.SearchStanding(ctx)
	if err != nil {
		return SearchStanding{}, fmt.Errorf("reading how far the search has come: %w", err)
	}
	return SearchStanding{Position: row.Position, Folded: row.Folded, Head: row.Head}, nil
}

// FillSearch makes at most limit of the next events searchable, and moves the
// follower's position past them, in one transaction. Any number of processes may call
// it; one at a time works, the others are told Busy at once.
func (db *DB) FillSearch(ctx context.Context, limit int) (step Step, err error) {
	err = db.inTx(ctx, func(q *dbsqlc.Queries) error {
		at, err := q.FollowerLock(ctx, SearchFollower)
		if errors.Is(err, pgx.ErrNoRows) {
			step.Busy = true
			return nil
		}
		if err != nil {
			return err
		}
		head, err := q.LogHeadGet(ctx)
		if err != nil {
			return err
		}
		step = Step{Position: at.Position, Head: head.Position}
		if at.Position == head.Position {
			return nil
		}
		filled, err := q.SearchFill(ctx, dbsqlc.SearchFillParams{
			After: at.Position, UpTo: head.Position, MaxEvents: int32(limit), MaxBytes: maxFillBytes,
		})
		if err != nil {
			return err
		}
		step.Position, step.Events = filled.Position, int(filled.Events)
		if err := q.SearchSettle(ctx); err != nil {
			return err
		}
		return q.FollowerMove(ctx, dbsqlc.FollowerMoveParams{Name: SearchFollower, Position: step.Position})
	})
	if err != nil {
		return Step{}, fmt.Errorf("making messages searchable: %w", err)
	}
	if step.Events > 0 {
		db.announceRollups(ctx)
	}
	return step, nil
}

// ResetSearch forgets all that is searchable; a running server then makes it anew. It
// needs the role that owns the schema.
func ResetSearch(ctx context.Context, ownerURL string) error {
	db, err := Open(ctx, ownerURL)
	if err != nil {
		return err
	}
	defer db.Close()
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		q := db.q.WithTx(tx)
		if err := q.SearchHold(ctx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "TRUNCATE message_search"); err != nil {
			return err
		}
		return q.SearchReset(ctx)
	})
	if err != nil {
		return fmt.Errorf("forgetting what is searchable: %w", err)
	}
	return nil
}
