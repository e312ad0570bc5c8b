package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"rapport/store/internal/dbsqlc"
)

// Quarantined is a delivery that was authentic but is no event.
type Quarantined struct {
	ID          int64
	Body        []byte
	Reason      string
	Headers     map[string]string
	SeenCount   int64 // how often the body came
	FirstSeenAt time.Time
	LastSeenAt  time.Time
}

// QuarantineBounds are what the quarantine may hold. The newest stay.
type QuarantineBounds struct {
	MaxAge   time.Duration
	MaxBytes int64 // of bodies
}

// DefaultQuarantineBounds leave a month for a fix.
func DefaultQuarantineBounds() QuarantineBounds {
	return QuarantineBounds{MaxAge: 30 * 24 * time.Hour, MaxBytes: 64 << 20}
}

// Quarantine keeps a body with the reason why it is no event, and returns the
// entry's id: the same for the same body, which is only counted. It is tallied in
// the same statement, and so is what QuarantinePrune and QuarantineDelete take out:
// received is what is there, and what was pruned, and what was replayed.
func (db *DB) Quarantine(ctx context.Context, body []byte, reason string, headers map[string]string, seenAt time.Time) (int64, error) {
	sum := sha256.Sum256(body)
	id, err := db.keep.QuarantineUpsert(ctx, dbsqlc.QuarantineUpsertParams{
		BodySha256: sum[:], Body: body, Reason: reason, Headers: []byte(headersJSON(headers)), SeenAt: seenAt,
	})
	if err != nil {
		return 0, fmt.Errorf("writing to the quarantine: %w", err)
	}
	return id, nil
}

// QuarantinePrune drops what is beyond the bounds at a time, and tells how many
// entries.
func (db *DB) QuarantinePrune(ctx context.Context, bounds QuarantineBounds, now time.Time) (int64, error) {
	n, err := db.q.QuarantinePrune(ctx, dbsqlc.QuarantinePruneParams{
		Oldest: now.Add(-bounds.MaxAge), MaxBytes: bounds.MaxBytes,
	})
	if err != nil {
		return 0, fmt.Errorf("pruning the quarantine: %w", err)
	}
	return n, nil
}

// QuarantineList is a page of entries, the newest first, with ids below
// beforeID; 0 begins.
func (db *DB) QuarantineList(ctx context.Context, beforeID int64, limit int) ([]Quarantined, error) {
	rows, err := db.q.QuarantineList(ctx, dbsqlc.QuarantineListParams{BeforeID: beforeID, MaxRows: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("reading the quarantine: %w", err)
	}
	entries := make([]Quarantined, len(rows))
	for i, row := range rows {
		entries[i] = quarantinedOf(dbsqlc.QuarantineGetManyRow(row))
	}
	return entries, nil
}

// QuarantineGet are the entries of the ids that exist, by id.
func (db *DB) QuarantineGet(ctx context.Context, ids []int64) ([]Quarantined, error) {
	rows, err := db.q.QuarantineGetMany(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("reading the quarantine: %w", err)
	}
	entries := make([]Quarantined, len(rows))
	for i, row := range rows {
		entries[i] = quarantinedOf(row)
	}
	return entries, nil
}

// QuarantineDelete drops entries: they have been replayed.
func (db *DB) QuarantineDelete(ctx context.Context, ids []int64) error {
	if _, err := db.q.QuarantineDeleteMany(ctx, ids); err != nil {
		return fmt.Errorf("deleting from the quarantine: %w", err)
	}
	return nil
}

// QuarantineStats count the entries and the bytes of their bodies.
func (db *DB) QuarantineStats(ctx context.Context) (entries, bytes int64, err error) {
	row, err := db.q.QuarantineStats(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("counting the quarantine: %w", err)
	}
	return row.Entries, row.Bytes, nil
}

func quarantinedOf(row dbsqlc.QuarantineGetManyRow) Quarantined {
	return Quarantined{
		ID: row.ID, Body: row.Body, Reason: row.Reason, Headers: parseHeaders(row.Headers),
		SeenCount: row.SeenCount, FirstSeenAt: row.FirstSeenAt, LastSeenAt: row.LastSeenAt,
	}
}

func parseHeaders(text []byte) map[string]string {
	var headers map[string]string
	if err := json.Unmarshal(text, &headers); err != nil {
		return nil // we wrote it; whatever else stands there is not worth an error
	}
	return headers
}
