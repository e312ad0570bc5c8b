package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store/internal/dbsqlc"
)

// ArchiveState is the database at one moment, as far as a manifest tells of it: the
// blocks, and what else is needed to restore it.
type ArchiveState struct {
	Position int64 // up to here the blocks reach
	Blocks   []ArchiveBlock
	Head     ArchiveHead
	Version  string // changes with the tables
}

// ArchiveHead is what log_head has besides the position and the newest receipt.
type ArchiveHead struct {
	Duplicates  int64     `json:"duplicates"`
	Erased      int64     `json:"erased"`
	ErasedUntil time.Time `json:"erased_until"`
	Generation  int64     `json:"generation"`
	Frozen      time.Time `json:"frozen_before"`
	Expired     int64     `json:"expired"`
}

// archivedTable is a table of which the archive has a copy, or some rows of it.
type archivedTable struct {
	name, where, order string
	group              func(dbsqlc.ArchiveVersionsRow) string // changes when it does
}

func frozenGroup(v dbsqlc.ArchiveVersionsRow) string     { return v.Frozen }
func quarantineGroup(v dbsqlc.ArchiveVersionsRow) string { return v.Quarantine }
func settingsGroup(v dbsqlc.ArchiveVersionsRow) string   { return v.Settings }

// isFrozen is as the rebuild has it: see queries/rebuild.sql.
const isFrozen = `t.erased_at IS NOT NULL OR t.started_at < (SELECT frozen_before FROM public.log_head)`

// archivedTables are those that can't be folded from the log: what was erased or has
// gone for its age, and what that was counted as; the settings; the quarantine.
var archivedTables = []archivedTable{
	{"settings", "true", "1", settingsGroup},
	{"retention", "true", "1", frozenGroup},
	{"dropped_months", "true", "month", frozenGroup},
	{"stubbed_months", "true", "month", frozenGroup},
	{"frozen_spans", "true", "session_id, agent_id", frozenGroup},
	{"erasures", "true", "id", frozenGroup},
	{"tombstones", "true", "session_id, agent_id, whole", frozenGroup},
	{"sessions", isFrozen, "session_id, agent_id, started_at", frozenGroup},
	{"superseded", `EXISTS (SELECT FROM public.events e WHERE e.position = t.position AND (e.erasure IS NOT NULL
		OR e.occurred_at < (SELECT frozen_before FROM public.log_head)
		OR EXISTS (SELECT FROM public.frozen_spans z WHERE z.session_id = e.session_id AND z.agent_id = e.agent_id
		           AND z.frozen_until >= e.occurred_at)))`, "session_id, agent_id, position", frozenGroup},
	{"session_totals", "t.starts_at < (SELECT sessions_before FROM public.retention)", "grain, of_all, agent_id, starts_at", frozenGroup},
	{"event_counts", "t.starts_at < (SELECT events_before FROM public.retention)",
		"grain, starts_at, agent_id, event_type, role, error_code, error_severity, error_category", frozenGroup},
	{"quarantine_tally", "true", "1", quarantineGroup},
	{"quarantine", "true", "id", quarantineGroup},
}

// TableCopy is a copy of a table that is being made.
type TableCopy struct {
	Table   string
	Columns []string
	Version string                                          // another one for other rows
	Write   func(context.Context, io.Writer) (int64, error) // writes the rows as COPY does; how many these are
}

// ErrArchiveBehind says that the blocks are not what the rest is: some are to be written
// again, or erased events lie behind them.
var ErrArchiveBehind = errors.New("blocks of the archive are to be written first")

// State reads what the next manifest tells, at one moment. Each table is given to copy,
// which writes it somewhere, or leaves it if it has that version already. It is
// ErrArchiveBehind if blocks are to be written first: up to the log's head, if the error
// comes again. previous is the version of the last one.
func (a *Archive) State(ctx context.Context, previous string, copy func(context.Context, TableCopy) error) (ArchiveState, error) {
	var state ArchiveState
	err := pgx.BeginTxFunc(ctx, a.db.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		for _, sql := range []string{
			patient,
			// Before the first look: a table that is replaced between the two would look empty.
			"LOCK TABLE events, sessions, superseded, session_totals, event_counts IN ACCESS SHARE MODE",
		} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		s := &stateReader{tx: tx, q: a.db.q.WithTx(tx)}
		if err := s.read(ctx); err != nil {
			return err
		}
		state = s.state
		if err := s.checkReach(ctx, strings.HasPrefix(previous, s.versions.Frozen)); err != nil {
			return err
		}
		return s.tables(ctx, copy)
	})
	if err != nil {
		return ArchiveState{}, fmt.Errorf("reading the state for the archive: %w", err)
	}
	return state, nil
}

// stateReader reads within one snapshot.
type stateReader struct {
	tx       pgx.Tx
	q        *dbsqlc.Queries
	versions dbsqlc.ArchiveVersionsRow
	state    ArchiveState
}

func (s *stateReader) read(ctx context.Context) error {
	rows, err := s.q.ArchiveBlockList(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Stale || row.Dirty {
			return ErrArchiveBehind
		}
		s.state.Blocks = append(s.state.Blocks, archiveBlockOf(row))
		s.state.Position = row.LastPosition
	}
	if s.versions, err = s.q.ArchiveVersions(ctx); err != nil {
		return err
	}
	s.state.Version = versionText(s.versions)
	head, err := s.q.ArchiveHead(ctx)
	s.state.Head = ArchiveHead{
		Duplicates: head.Duplicates, Erased: head.Erased, ErasedUntil: head.ErasedUntil, Generation: head.Generation,
		Frozen: head.FrozenBefore, Expired: head.Expired,
	}
	return err
}

func versionText(v dbsqlc.ArchiveVersionsRow) string { return v.Frozen + v.Quarantine + v.Settings }

// StateVersion is what State would say: whether there is something new to tell.
func (a *Archive) StateVersion(ctx context.Context) (string, error) {
	versions, err := a.db.q.ArchiveVersions(ctx)
	if err != nil {
		return "", fmt.Errorf("reading the state for the archive: %w", err)
	}
	return versionText(versions), nil
}

// checkReach is ErrArchiveBehind if what is frozen knows of events that no block has.
// Nobody asks twice for what has not changed.
func (s *stateReader) checkReach(ctx context.Context, isKnown bool) error {
	found, err := s.q.ArchiveStubBehind(ctx, s.state.Position)
	if err != nil || found {
		return cmp.Or(err, ErrArchiveBehind)
	}
	if isKnown {
		return nil
	}
	reach, err := s.q.ArchiveFrozenReach(ctx)
	if err != nil || reach > s.state.Position {
		return cmp.Or(err, ErrArchiveBehind)
	}
	return nil
}

// tables gives the tables to copy.
func (s *stateReader) tables(ctx context.Context, copy func(context.Context, TableCopy) error) error {
	for _, table := range archivedTables {
		columns, err := s.q.ArchiveTableColumns(ctx, current(table.name))
		if err != nil {
			return err
		}
		sql := fmt.Sprintf("COPY (SELECT t.%s FROM %s t WHERE %s ORDER BY %s) TO STDOUT",
			strings.Join(columns, ", t."), current(table.name), table.where, table.order)
		if err := copy(ctx, TableCopy{
			Table: table.name, Columns: columns, Version: table.group(s.versions),
			Write: func(ctx context.Context, w io.Writer) (int64, error) {
				tag, err := s.tx.Conn().PgConn().CopyTo(ctx, w, sql)
				return tag.RowsAffected(), err
			},
		}); err != nil {
			return fmt.Errorf("copying %s: %w", table.name, err)
		}
	}
	return nil
}

// Committed notes that a manifest lies in the bucket.
func (a *Archive) Committed(ctx context.Context, number int64, state *ArchiveState, tables []byte) error {
	n, err := a.db.q.ArchiveCommitted(ctx, dbsqlc.ArchiveCommittedParams{
		Number: number, Position: state.Position, StateVersion: state.Version, Tables: tables, Owner: a.owner,
	})
	if err == nil && n == 0 {
		err = ErrArchiveLost
	}
	if err != nil {
		return fmt.Errorf("noting the manifest of the archive: %w", err)
	}
	return nil
}
