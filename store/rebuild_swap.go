package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// ErrInUse says that the old tables can't be replaced just now: somebody uses them.
// Trying again is right.
var ErrInUse = errors.New("the rollups are in use")

// What Postgres says of locks that are not to be had in time, and of a table that
// something depends on since we looked.
const (
	lockNotAvailable = "55P03"
	deadlockDetected = "40P01"
	queryCanceled    = "57014" // by statement_timeout
	stillDependent   = "2BP01"
)

// TableUser is a transaction that uses the old tables.
type TableUser struct {
	PID         int32  // of its backend
	Transaction string // its virtual id, which no other one gets
}

// Users are the transactions that use the old tables just now.
func (r *Rebuild) Users(ctx context.Context) ([]TableUser, error) {
	rows, err := dbsqlc.New(r.conn).TableUserList(ctx, rollupNames)
	if err != nil {
		return nil, fmt.Errorf("looking who uses the rollups: %w", err)
	}
	users := make([]TableUser, len(rows))
	for i, row := range rows {
		users[i] = TableUser{PID: row.Pid, Transaction: row.Transaction}
	}
	return users, nil
}

// Swap puts the fresh tables in the place of the old ones, in one transaction:
// the rest of the log is applied, the views are bound to the new tables, the
// settings are those given, and the follower goes on from there. Readers find the
// old sessions or the new ones. They wait for as long as Swap waits for those who
// use the old tables already, which is patience at most, and some milliseconds
// more; beyond that it is ErrInUse, and nothing has happened.
func (r *Rebuild) Swap(ctx context.Context, settings rapport.Settings, patience time.Duration, limit int, apply Apply) error {
	var at reached
	err := r.inFresh(ctx, pgx.TxOptions{}, func(tx pgx.Tx) (err error) {
		if err := r.holdFollower(ctx, tx); err != nil {
			return err
		}
		if at, err = r.finish(ctx, tx, limit, apply); err != nil {
			return err
		}
		if err := handOver(ctx, dbsqlc.New(tx), at, settings); err != nil {
			return err
		}
		var t tally
		if err := carryOverFrozen(ctx, dbsqlc.New(tx), &t); err != nil {
			return err
		}
		if err := t.write(ctx, dbsqlc.New(tx)); err != nil {
			return err
		}
		return r.exchange(ctx, tx, patience)
	})
	if errors.Is(err, errMoved) {
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	switch sqlState(err) {
	case lockNotAvailable, deadlockDetected, queryCanceled:
		return fmt.Errorf("%w: %w", ErrInUse, err)
	case stillDependent:
		err = fmt.Errorf("%w (%w)", errAltered, err)
	}
	if err != nil {
		return fmt.Errorf("replacing the rollups: %w", err)
	}
	r.at, r.done = at, true
	ctx = context.WithoutCancel(ctx)
	if err := dbsqlc.New(r.conn).ArchiveRebuilt(ctx); err != nil {
		return fmt.Errorf("telling the archive of the rebuild: %w", err)
	}
	return r.forgetErased(ctx)
}

// holdFollower takes what nobody but followers and rebuilds wait for.
func (r *Rebuild) holdFollower(ctx context.Context, tx pgx.Tx) error {
	// From here on somebody waits for us: a frozen rebuild must not stop them.
	limits := []string{
		"SET LOCAL synchronous_commit = on",
		"SET LOCAL statement_timeout = '30s'",
		"SET LOCAL idle_in_transaction_session_timeout = '5s'",
		"SET LOCAL lock_timeout = '8s'",
	}
	if err := execAll(ctx, tx, limits); err != nil {
		return err
	}
	q := dbsqlc.New(tx)
	if err := q.GrantsLock(ctx); err != nil {
		return err
	}
	// No reader and no follower waits for these locks. An autovacuum gives way to
	// them, but only after deadlock_timeout, for which the next ones don't wait.
	tables := slices.Clone(rollupNames)
	for _, table := range rollupTables {
		tables = append(tables, fresh(table))
	}
	_, err := tx.Exec(ctx, "LOCK TABLE "+strings.Join(tables, ", ")+" IN SHARE UPDATE EXCLUSIVE MODE")
	if err != nil {
		return err
	}
	_, err = q.FollowerTake(ctx, SessionsFollower)
	return err
}

// finish applies the log up to its head: the old tables may be there already, and
// a follower's position never goes back.
func (r *Rebuild) finish(ctx context.Context, tx pgx.Tx, limit int, apply Apply) (reached, error) {
	head, err := dbsqlc.New(tx).LogHeadGet(ctx)
	if err != nil {
		return reached{}, err
	}
	at := r.at
	for {
		// At least once: dead letters may have changed where the log has not.
		if at, _, err = r.step(ctx, tx, at, head.Position, limit, apply); err != nil || at.position >= head.Position {
			return at, err
		}
	}
}

// handOver makes the fresh tables those of the follower.
func handOver(ctx context.Context, q *dbsqlc.Queries, at reached, settings rapport.Settings) error {
	for position, refused := range at.refused {
		if _, known := at.aside[position]; known {
			continue
		}
		if err := q.DeadLetterInsert(ctx, dbsqlc.DeadLetterInsertParams{
			Follower: SessionsFollower, Position: position, AgentID: refused.event.AgentID, SessionID: refused.event.SessionID,
			EventType: refused.event.Type, Reason: refused.reason, Attempts: 1,
		}); err != nil {
			return err
		}
	}
	if err := q.SettingsChange(ctx, dbsqlc.SettingsChangeParams(settingsRow(settings))); err != nil {
		return err
	}
	text, err := settingsText(settings)
	if err != nil {
		return err
	}
	return q.FollowerReset(ctx, dbsqlc.FollowerResetParams{Name: SessionsFollower, Position: at.position, Settings: text})
}

// carryOverFrozen takes the sessions that were erased over as they are: the log
// doesn't know any more what they were folded from. Nobody erases meanwhile, for that
// takes the follower's row. What that does to the totals is told to the tally.
func carryOverFrozen(ctx context.Context, q *dbsqlc.Queries, t *tally) error {
	gone, err := q.FrozenDeleteErased(ctx)
	if err != nil {
		return err
	}
	t.subSessions(gone)
	come, err := q.FrozenCarryOver(ctx)
	if err != nil {
		return err
	}
	t.addSessions(come)
	uncounted, err := q.FrozenSupersededCarryOver(ctx)
	if err != nil {
		return err
	}
	return t.countPositions(ctx, q, uncounted, -1)
}

// errMoved says that events became stubs since they were counted.
var errMoved = errors.New("events were erased since they were counted")

// exchange replaces the tables. The old ones leave under their own names, so that
// the new ones and all that belongs to them can have these.
func (r *Rebuild) exchange(ctx context.Context, tx pgx.Tx, patience time.Duration) error {
	q := dbsqlc.New(tx)
	views, err := q.TableViewList(ctx, rollupNames)
	if err != nil {
		return err
	}
	if err := lockOld(ctx, tx, views, patience); err != nil {
		return err
	}
	// From here on nobody moves a count.
	if moved, err := r.movedMonths(ctx, q); err != nil || len(moved) > 0 {
		return cmp.Or(err, errMoved)
	}
	if err := checkVersion(ctx, tx); err != nil {
		return err
	}
	statements, err := exchangeStatements(ctx, q)
	if err != nil {
		return err
	}
	// Within the views everything gets its schema written before it.
	if _, err := tx.Exec(ctx, "SET LOCAL search_path = ''"); err != nil {
		return err
	}
	for _, view := range views {
		var definition string
		if err := tx.QueryRow(ctx, "SELECT pg_get_viewdef($1::regclass)", view.Name).Scan(&definition); err != nil {
			return err
		}
		statements = append(statements, rebound(view, definition))
	}
	for _, table := range rollupTables {
		statements = append(statements, "DROP TABLE "+replaced(table))
	}
	return execAll(ctx, tx, append(statements,
		"DROP SCHEMA "+replacedSchema, "DROP SCHEMA "+rebuildSchema, "NOTIFY rapport_rollups"))
}

// lockOld keeps everybody from the old tables. A reader of a view holds the view
// and waits for the table, so views come first, and ours in the order in which
// their readers lock them: so no reader waits for us while we wait for it. With
// others' views it could be; Postgres then ends one of both after
// deadlock_timeout (1 s).
func lockOld(ctx context.Context, tx pgx.Tx, views []dbsqlc.TableViewListRow, patience time.Duration) error {
	var locks []string
	slices.SortStableFunc(views, func(a, b dbsqlc.TableViewListRow) int { return cmp.Compare(viewRank(a.Name), viewRank(b.Name)) })
	for _, view := range views {
		// LOCK TABLE would lock the event log behind the view as well.
		locks = append(locks, "ALTER VIEW "+view.Name+" OWNER TO "+view.Owner)
	}
	for _, table := range rollupTables {
		locks = append(locks, "LOCK TABLE "+current(table)+" IN ACCESS EXCLUSIVE MODE")
		locks = append(locks, "LOCK TABLE "+fresh(table)+" IN ACCESS EXCLUSIVE MODE")
	}
	deadline := time.Now().Add(patience)
	for _, lock := range locks {
		left := max(time.Until(deadline).Milliseconds(), 1) // 0 would be for ever
		if err := execAll(ctx, tx, []string{fmt.Sprintf("SET LOCAL lock_timeout = %d", left), lock}); err != nil {
			return err
		}
	}
	return nil
}

// viewRank is the place of a view in the order in which readers lock ours.
func viewRank(name string) int {
	ours := []string{"current_sessions", "current_superseded", "current_session_totals", "current_event_counts"}
	if i := slices.Index(ours, strings.TrimPrefix(name, "public.")); i >= 0 {
		return i
	}
	return len(ours)
}

// checkVersion is errAltered if somebody has migrated meanwhile: what this binary
// has made may not be what the newer one would have.
func checkVersion(ctx context.Context, tx pgx.Tx) error {
	want, err := embeddedVersion()
	if err != nil {
		return err
	}
	var version int64
	err = tx.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM public.goose_db_version WHERE is_applied").Scan(&version)
	if err == nil && version != want {
		err = errAltered
	}
	return err
}

// The schema through which the old tables leave, within the transaction.
const replacedSchema = "rapport_replaced"

func replaced(table string) string { return replacedSchema + "." + table }

// exchangeStatements move the tables, if nobody has altered the old ones.
func exchangeStatements(ctx context.Context, q *dbsqlc.Queries) ([]string, error) {
	if err := checkBonds(ctx, q); err != nil {
		return nil, err
	}
	statements := []string{"CREATE SCHEMA " + replacedSchema}
	for _, table := range rollupTables {
		if err := checkShape(ctx, q, table); err != nil {
			return nil, err
		}
		dress, err := dressStatements(ctx, q, table)
		if err != nil {
			return nil, err
		}
		statements = append(statements, dress...)
		statements = append(statements,
			"ALTER TABLE "+current(table)+" SET SCHEMA "+replacedSchema,
			"ALTER TABLE "+fresh(table)+" SET SCHEMA public")
	}
	return statements, nil
}

// rebound defines a view again. It keeps its owner, its rights and its comments;
// its options would go.
func rebound(view dbsqlc.TableViewListRow, definition string) string {
	options := ""
	if view.Options != "" {
		options = " WITH (" + view.Options + ")"
	}
	return "CREATE OR REPLACE VIEW " + view.Name + options + " AS " + definition
}
