package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"rapport/store/internal/dbsqlc"
)

// Restore makes a log from an archive, as the owner of an empty, migrated database. Its
// methods are called one after the other: Block for each block in order, Table for each
// table, Finish. Interrupted, it goes on where it was. The rollups are left to a rebuild;
// until that is done no server starts on the database.
type Restore struct {
	conn     *pgx.Conn
	ownerURL string
	manifest string
	position int64
	isLogged bool // all but the rebuild is done
	months   map[month]bool
}

// The errors of a restore.
var (
	ErrRestoreUnfinished = errors.New("a restore into this database was interrupted, so it has only a part of the log: run `rapport restore` again, with the same archive")

	ErrNotEmpty  = errors.New("the database is not empty: restore into one that has no events, and never had any")
	ErrOtherMade = errors.New("another archive, or another state of it, was being restored into this database: drop it, and begin with an empty one")
	ErrRestoring = errors.New("another restore into this database is under way")
	ErrIntruder  = errors.New("somebody else appends to the log that is being restored: stop the server, drop the database, and begin with an empty one")
)

// restoreParams are as those of a rebuild: nobody waits for it.
var restoreParams = map[string]string{
	"application_name":                    applicationName + " restore",
	"statement_timeout":                   "0",
	"idle_in_transaction_session_timeout": "0",
	"synchronous_commit":                  "off", // but see Finish
}

// BeginRestore connects as the owner of the schema. manifest names what is restored.
// Close it after use.
func BeginRestore(ctx context.Context, ownerURL, manifest string) (*Restore, error) {
	pool, err := parseURL(ownerURL)
	if err != nil {
		return nil, err
	}
	for name, value := range restoreParams {
		pool.ConnConfig.RuntimeParams[name] = value
	}
	conn, err := pgx.ConnectConfig(ctx, pool.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	r := &Restore{conn: conn, ownerURL: ownerURL, manifest: manifest, months: make(map[month]bool)}
	if err := r.begin(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close ends it.
func (r *Restore) Close() { closeConn(r.conn) }

func (r *Restore) begin(ctx context.Context) error {
	q := dbsqlc.New(r.conn)
	if locked, err := q.RestoreLock(ctx); err != nil || !locked {
		return orError(err, ErrRestoring)
	}
	status, err := q.ArchiveGet(ctx)
	if err != nil {
		return fmt.Errorf("reading how far the restore is: %w", err)
	}
	return r.inTx(ctx, func(q *dbsqlc.Queries, tx pgx.Tx) error {
		if r.position, err = q.RestoreHead(ctx); err != nil {
			return err
		}
		switch {
		case status.Restoring == r.manifest:
			r.isLogged = status.Continues == r.manifest
			return nil
		case status.Restoring != "":
			return ErrOtherMade
		}
		if err := isEmpty(ctx, tx, r.position); err != nil {
			return err
		}
		if err := q.RestoreBegin(ctx, r.manifest); err != nil {
			return err
		}
		return q.RestoreKeepServersOut(ctx)
	})
}

func orError(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// isEmpty is ErrNotEmpty unless nothing ever was in the database that a restore brings.
func isEmpty(ctx context.Context, tx pgx.Tx, head int64) error {
	if head > 0 {
		return ErrNotEmpty
	}
	for _, table := range []string{"events", "sessions", "erasures", "tombstones", "quarantine", "dropped_months"} {
		var found bool
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+current(table)+")").Scan(&found); err != nil {
			return err
		}
		if found {
			return fmt.Errorf("%w (%s has rows)", ErrNotEmpty, table)
		}
	}
	return nil
}

func (r *Restore) inTx(ctx context.Context, do func(*dbsqlc.Queries, pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error { return do(dbsqlc.New(tx), tx) })
	if sqlState(err) == insufficientPrivilege {
		return fmt.Errorf("%w (%w)", ErrNotOwner, err)
	}
	return err
}

// Position is up to where the log is restored.
func (r *Restore) Position() int64 { return r.position }

// IsLogged reports whether only the rebuild is left.
func (r *Restore) IsLogged() bool { return r.isLogged }

// eventColumns are all columns of an event.
var eventColumns = []string{
	"position", "occurred_at", "received_at", "participants", "undated", "event_type", "agent_id", "session_id", "user_id",
	"role", "message", "message_type", "language", "room_name", "error_code", "error_severity", "error_category",
	"end_reason", "rating", "fingerprint", "headers", "payload", "payload_raw", "healed_from", "erasure",
}

func eventValues(e *ExportedEvent) []any {
	var payload *string
	if e.Payload != nil {
		payload = new(string(e.Payload))
	}
	return []any{
		e.Position, e.OccurredAt, e.ReceivedAt, e.Participants, e.Undated, e.Type, e.AgentID, e.SessionID, e.UserID,
		e.Role, e.Text, e.MessageType, e.Language, e.RoomName, e.ErrorCode, e.ErrorSeverity, e.ErrorCategory,
		e.EndReason, e.Rating, e.Fingerprint[:], string(e.Headers), payload, e.PayloadRaw, e.HealedFrom, e.Erasure,
	}
}

// Block brings the events of the positions from first to last to the log, and moves its
// head there, in one transaction.
func (r *Restore) Block(ctx context.Context, first, last int64, events []ExportedEvent) error {
	err := r.inTx(ctx, func(q *dbsqlc.Queries, tx pgx.Tx) error {
		head, err := q.RestoreHead(ctx)
		if err != nil {
			return err
		}
		if head != first-1 {
			return ErrIntruder
		}
		if err := r.ensureMonths(ctx, q, events); err != nil {
			return err
		}
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"events"}, eventColumns,
			pgx.CopyFromSlice(len(events), func(i int) ([]any, error) { return eventValues(&events[i]), nil })); err != nil {
			return err
		}
		newest := earliest
		for i := range events {
			if at := events[i].ReceivedAt; at.After(newest) {
				newest = at
			}
		}
		return q.RestoreMoveHead(ctx, dbsqlc.RestoreMoveHeadParams{Position: last, ReceivedAt: newest})
	})
	if err != nil {
		return fmt.Errorf("restoring the positions %d to %d: %w", first, last, err)
	}
	r.position = last
	return nil
}

func (r *Restore) ensureMonths(ctx context.Context, q *dbsqlc.Queries, events []ExportedEvent) error {
	for i := range events {
		m := monthOf(events[i].OccurredAt)
		if r.months[m] {
			continue
		}
		if err := q.EventsMonthCreate(ctx, m.date()); err != nil {
			return err
		}
		r.months[m] = true
	}
	return nil
}

// RestoredTable is a table, or the rows of it that the archive has.
type RestoredTable struct {
	Name    string
	Columns []string
	Rows    int64
	Copy    io.Reader // as COPY writes them
}

// Finish brings the tables beside the log, its counters, and what the archive consists
// of, in one transaction. What is left is a rebuild, and then End.
func (r *Restore) Finish(ctx context.Context, number int64, head ArchiveHead, tables []RestoredTable, blocks []ArchiveBlock) error {
	err := r.inTx(ctx, func(q *dbsqlc.Queries, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = on"); err != nil {
			return err
		}
		if at, err := q.RestoreHead(ctx); err != nil || at != r.position {
			return orError(err, ErrIntruder)
		}
		for _, table := range tables {
			if err := restoreTable(ctx, tx, &table); err != nil {
				return fmt.Errorf("%s: %w", table.Name, err)
			}
		}
		if err := q.RestoreNumbers(ctx); err != nil {
			return err
		}
		if err := q.RestoreSetHead(ctx, dbsqlc.RestoreSetHeadParams{
			Duplicates: head.Duplicates, Erased: head.Erased, ErasedUntil: head.ErasedUntil, Generation: head.Generation,
			FrozenBefore: head.Frozen, Expired: head.Expired,
		}); err != nil {
			return err
		}
		return r.adopt(ctx, q, number, blocks)
	})
	if err != nil {
		return fmt.Errorf("restoring what is beside the log: %w", err)
	}
	r.isLogged = true
	if _, err := r.conn.Exec(ctx, "ANALYZE events"); err != nil {
		return fmt.Errorf("analyzing the log: %w", err)
	}
	return nil
}

// restoreTable replaces the rows of a table.
func restoreTable(ctx context.Context, tx pgx.Tx, table *RestoredTable) error {
	isOurs := slices.ContainsFunc(archivedTables, func(t archivedTable) bool { return t.name == table.Name })
	if !isOurs {
		return errors.New("this rapport does not restore such a table: run a newer one")
	}
	columns, err := dbsqlc.New(tx).ArchiveTableColumns(ctx, current(table.Name))
	if err != nil {
		return err
	}
	for _, column := range table.Columns {
		if !slices.Contains(columns, column) {
			return fmt.Errorf("this rapport knows no column %s: run a newer one", column)
		}
	}
	if _, err := tx.Exec(ctx, "DELETE FROM "+current(table.Name)); err != nil {
		return err
	}
	tag, err := tx.Conn().PgConn().CopyFrom(ctx, table.Copy,
		fmt.Sprintf("COPY %s (%s) FROM STDIN", current(table.Name), strings.Join(table.Columns, ", ")))
	if err == nil && tag.RowsAffected() != table.Rows {
		err = fmt.Errorf("the copy has %d rows, and should have %d", tag.RowsAffected(), table.Rows)
	}
	return err
}

// adopt has the log go on in the archive that it came from.
func (r *Restore) adopt(ctx context.Context, q *dbsqlc.Queries, number int64, blocks []ArchiveBlock) error {
	if err := q.ArchiveForgetBlocks(ctx); err != nil {
		return err
	}
	for _, b := range blocks {
		if err := q.RestoreBlock(ctx, dbsqlc.RestoreBlockParams{
			FirstPosition: b.First, LastPosition: b.Last, Hour: b.Hour, Object: b.Object, Sha256: b.SHA256,
			Bytes: b.Bytes, Events: b.Events, ContentBytes: b.Content, OldestAt: orNull(b.Oldest), NewestAt: orNull(b.Newest),
		}); err != nil {
			return err
		}
	}
	return q.RestoreAdopt(ctx, dbsqlc.RestoreAdoptParams{Manifest: number, Position: r.position, Continues: r.manifest})
}

// BeginRebuild is for the rollups, once Finish has brought the rest.
func (r *Restore) BeginRebuild(ctx context.Context) (*Rebuild, error) {
	return beginRebuild(ctx, r.ownerURL, r.manifest)
}

// requireRestoring makes sure that nothing but this manifest is being restored; empty:
// nothing at all.
func requireRestoring(ctx context.Context, q *dbsqlc.Queries, manifest string) error {
	restoring, err := q.ArchiveRestoring(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("looking for a restore: %w", err)
	case restoring != manifest:
		return ErrRestoreUnfinished
	}
	return nil
}

// CheckRestored is ErrRestoreUnfinished if the database has only a part of an archive.
func (db *DB) CheckRestored(ctx context.Context) error { return requireRestoring(ctx, db.q, "") }

// End is for when the rollups are made.
func (r *Restore) End(ctx context.Context) error {
	err := r.inTx(ctx, func(q *dbsqlc.Queries, _ pgx.Tx) error { return q.RestoreEnd(ctx) })
	if err != nil {
		return fmt.Errorf("ending the restore: %w", err)
	}
	return nil
}
