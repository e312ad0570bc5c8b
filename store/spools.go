package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store/internal/dbsqlc"
)

// SpoolRecord is a record of a server's spool. Their sequence numbers begin with 1.
type SpoolRecord struct {
	Spool    string // its id
	Sequence uint64
}

// SpoolDrained notes that everything of a spool up to a record is in the log or in
// the quarantine. To note less than is noted already changes nothing.
func (db *DB) SpoolDrained(ctx context.Context, to SpoolRecord) error {
	_, err := db.keep.SpoolMove(ctx, moveParams(to))
	if err != nil {
		return fmt.Errorf("noting how far the spool is drained: %w", err)
	}
	return nil
}

func moveParams(to SpoolRecord) dbsqlc.SpoolMoveParams {
	return dbsqlc.SpoolMoveParams{ID: to.Spool, DrainedTo: int64(to.Sequence)}
}

// QuarantineDrained is Quarantine for a record of a spool, and SpoolDrained in the
// same transaction. A record that was drained already is not counted again, but
// its body is kept if it is missing.
func (db *DB) QuarantineDrained(ctx context.Context, from SpoolRecord, body []byte, reason string, headers map[string]string, seenAt time.Time) error {
	err := pgx.BeginFunc(ctx, db.keepers, func(tx pgx.Tx) error {
		q := db.keep.WithTx(tx)
		moved, err := q.SpoolMove(ctx, moveParams(from))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		if moved == 0 {
			if has, err := q.QuarantineHas(ctx, sum[:]); err != nil || has {
				return err
			}
		}
		_, err = q.QuarantineUpsert(ctx, dbsqlc.QuarantineUpsertParams{
			BodySha256: sum[:], Body: body, Reason: reason, Headers: []byte(headersJSON(headers)), SeenAt: seenAt,
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("draining to the quarantine: %w", err)
	}
	return nil
}
