package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"rapport/store/internal/dbsqlc"
)

// AuditEntry is a use of a right that not everybody has.
type AuditEntry struct {
	ID      int64
	At      time.Time
	Actor   string         // key:<name>, cli:<user of the machine>, or rapport
	Action  string         // noun.verb, such as key.create
	Subject string         // to what; never a secret
	Details map[string]any // as JSON; never a secret
}

// Audit appends an entry; its ID and At are the database's to give.
func (db *DB) Audit(ctx context.Context, e AuditEntry) error { return audit(ctx, db.q, e) }

// audit is for what belongs into the transaction of its deed.
func audit(ctx context.Context, q *dbsqlc.Queries, e AuditEntry) error {
	details := []byte("{}")
	if len(e.Details) > 0 {
		var err error
		if details, err = json.Marshal(e.Details); err != nil {
			return fmt.Errorf("recording %s: %w", e.Action, err)
		}
	}
	err := q.AuditInsert(ctx, dbsqlc.AuditInsertParams{
		Actor: storable(e.Actor), Action: e.Action, Subject: storable(e.Subject), Details: details,
	})
	if err != nil {
		return fmt.Errorf("recording %s: %w", e.Action, err)
	}
	return nil
}

// listed names the first of some positions or ids, as a subject.
func listed(numbers []int64) string {
	const most = 10
	var b strings.Builder
	for i, n := range numbers[:min(most, len(numbers))] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, n)
	}
	if len(numbers) > most {
		b.WriteString(", …")
	}
	return b.String()
}

// storable is a text as Postgres can hold it.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// AuditEntries are the newest first, before an entry (math.MaxInt64 for all); an
// empty action is any.
func (db *DB) AuditEntries(ctx context.Context, action string, before int64, limit int) ([]AuditEntry, error) {
	rows, err := db.q.AuditList(ctx, dbsqlc.AuditListParams{Before: before, Action: action, MaxEntries: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("reading the audit: %w", err)
	}
	entries := make([]AuditEntry, len(rows))
	for i, r := range rows {
		entries[i] = AuditEntry{ID: r.ID, At: r.At.UTC(), Actor: r.Actor, Action: r.Action, Subject: r.Subject}
		if err := json.Unmarshal(r.Details, &entries[i].Details); err != nil {
			return nil, fmt.Errorf("reading the audit: entry %d: %w", r.ID, err)
		}
	}
	return entries, nil
}
