package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"rapport/store/internal/dbsqlc"
)

// rollupTables are the tables that a rebuild replaces.
var rollupTables = []string{"sessions", "session_texts", "superseded", "session_totals", "event_counts"}

// rollupNames are the old tables, as they are in use.
var rollupNames = []string{
	current("sessions"), current("session_texts"), current("superseded"), current("session_totals"), current("event_counts"),
}

func current(table string) string { return "public." + table }

func fresh(table string) string { return rebuildSchema + "." + table }

// prepare refuses what can't be done, and makes the fresh tables.
func (r *Rebuild) prepare(ctx context.Context) error {
	q := dbsqlc.New(r.conn)
	if err := checkOwner(ctx, q); err != nil {
		return err
	}
	if err := checkBonds(ctx, q); err != nil {
		return err
	}
	if err := dropLeftovers(ctx, r.conn); err != nil {
		return fmt.Errorf("dropping what a rebuild left behind: %w", err)
	}
	err := pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error { return createFresh(ctx, tx) })
	if err != nil {
		return fmt.Errorf("making the fresh tables: %w", err)
	}
	return nil
}

// checkOwner is ErrNotRollupsOwner if the role may not act as the owner of the
// tables and of all views on them.
func checkOwner(ctx context.Context, q *dbsqlc.Queries) error {
	views, err := q.TableViewList(ctx, rollupNames)
	if err != nil {
		return fmt.Errorf("looking for the views on the rollups: %w", err)
	}
	relations := slices.Clone(rollupNames)
	for _, view := range views {
		relations = append(relations, view.Name)
	}
	owners, err := q.TableOwnerList(ctx, relations)
	if err != nil {
		return fmt.Errorf("looking for the owners of the rollups: %w", err)
	}
	if len(owners) > 0 {
		return fmt.Errorf("%w: they and the views on them belong to %s", ErrNotRollupsOwner, strings.Join(owners, ", "))
	}
	return nil
}

// checkBonds refuses to replace tables that something is bound to which a new
// table would not have.
func checkBonds(ctx context.Context, q *dbsqlc.Queries) error {
	bonds, err := q.TableBondList(ctx, rollupNames)
	if err != nil {
		return fmt.Errorf("looking for what depends on the rollups: %w", err)
	}
	if len(bonds) > 0 {
		return fmt.Errorf("a rebuild replaces the tables %s, and can't carry over what is bound to them: drop it, and make it again afterwards: %s",
			strings.Join(rollupNames, " and "), strings.Join(bonds, ", "))
	}
	return nil
}

// dropLeftovers drops the fresh tables, and nothing that it doesn't know.
func dropLeftovers(ctx context.Context, conn *pgx.Conn) error {
	for _, table := range rollupTables {
		if _, err := conn.Exec(ctx, "DROP TABLE IF EXISTS "+fresh(table)); err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+rebuildSchema)
	return err
}

// createFresh makes the tables without indexes, which are faster made afterwards.
// They belong to the owner of the old ones, whoever makes them.
func createFresh(ctx context.Context, tx pgx.Tx) error {
	var statements []string
	for _, table := range rollupTables {
		owner, err := dbsqlc.New(tx).TableOwnerGet(ctx, current(table))
		if err != nil {
			return err
		}
		statements = append(statements,
			"CREATE SCHEMA IF NOT EXISTS "+rebuildSchema+" AUTHORIZATION "+owner,
			fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)", fresh(table), current(table)),
			"ALTER TABLE "+fresh(table)+" OWNER TO "+owner)
	}
	return execAll(ctx, tx, statements)
}

func execAll(ctx context.Context, tx pgx.Tx, statements []string) error {
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// Index makes the indexes of the loaded tables, under the names and with the
// definitions of the old ones.
func (r *Rebuild) Index(ctx context.Context) error {
	err := r.inFresh(ctx, pgx.TxOptions{}, func(tx pgx.Tx) error {
		statements := []string{"SET LOCAL maintenance_work_mem = '128MB'"}
		for _, table := range rollupTables {
			more, err := indexStatements(ctx, dbsqlc.New(tx), table)
			if err != nil {
				return err
			}
			statements = append(statements, more...)
		}
		return execAll(ctx, tx, statements)
	})
	if err != nil {
		return fmt.Errorf("indexing the fresh tables: %w", err)
	}
	// Who reads them first must not find them unknown to the planner.
	r.known = r.at.erased
	for _, table := range rollupTables {
		if _, err := r.conn.Exec(ctx, "VACUUM (ANALYZE) "+fresh(table)); err != nil {
			return fmt.Errorf("analyzing the fresh tables: %w", err)
		}
	}
	return nil
}

// forgetErased gathers the planner's statistics of the new tables again if something
// was erased since Index: they may have names of it.
func (r *Rebuild) forgetErased(ctx context.Context) error {
	if r.at.erased == r.known {
		return nil
	}
	for _, table := range rollupTables {
		if _, err := r.conn.Exec(ctx, "ANALYZE "+current(table)); err != nil {
			return fmt.Errorf("the sessions are replaced, but the planner may know names that were erased meanwhile: ANALYZE %s: %w", current(table), err)
		}
	}
	return nil
}

func indexStatements(ctx context.Context, q *dbsqlc.Queries, table string) ([]string, error) {
	var statements []string
	constraints, err := q.TableConstraintList(ctx, current(table))
	if err != nil {
		return nil, err
	}
	for _, c := range constraints {
		if c.HasIndex {
			statements = append(statements, fmt.Sprintf("ALTER TABLE %s ADD %s", fresh(table), c.Definition))
		}
	}
	indexes, err := q.TableIndexList(ctx, current(table))
	if err != nil {
		return nil, err
	}
	for _, definition := range indexes {
		statements = append(statements, moved(definition, current(table), fresh(table)))
	}
	return statements, nil
}

// moved is an index's definition on another table. Postgres writes the table
// with its schema, once.
func moved(definition, from, to string) string {
	return strings.Replace(definition, " ON "+from+" ", " ON "+to+" ", 1)
}

// errAltered says that somebody has altered the old tables since the fresh ones
// were made.
var errAltered = errors.New("the tables of the rollups were altered during the rebuild: run it again")

// checkShape is errAltered unless the fresh table is as the old one.
func checkShape(ctx context.Context, q *dbsqlc.Queries, table string) error {
	old, err := shapeOf(ctx, q, current(table), current(table))
	if err != nil {
		return err
	}
	made, err := shapeOf(ctx, q, fresh(table), current(table))
	if err != nil {
		return err
	}
	if !slices.Equal(old, made) {
		return errAltered
	}
	return nil
}

// shapeOf describes a table as if it had another name.
func shapeOf(ctx context.Context, q *dbsqlc.Queries, table, as string) ([]string, error) {
	shape, err := q.TableColumnList(ctx, table)
	if err != nil {
		return nil, err
	}
	constraints, err := q.TableConstraintList(ctx, table)
	if err != nil {
		return nil, err
	}
	for _, c := range constraints {
		shape = append(shape, c.Definition)
	}
	indexes, err := q.TableIndexList(ctx, table)
	if err != nil {
		return nil, err
	}
	for _, definition := range indexes {
		shape = append(shape, moved(definition, table, as))
	}
	return shape, nil
}

// dressStatements give a fresh table the comment, the storage options and the
// rights of the old one.
func dressStatements(ctx context.Context, q *dbsqlc.Queries, table string) ([]string, error) {
	statements, err := q.TableOptionStatements(ctx, dbsqlc.TableOptionStatementsParams{Name: fresh(table), Relation: current(table)})
	if err != nil {
		return nil, err
	}
	revokes, err := q.TableRevokeStatements(ctx, dbsqlc.TableRevokeStatementsParams{Name: fresh(table), Relation: fresh(table)})
	if err != nil {
		return nil, err
	}
	grants, err := q.TableGrantStatements(ctx, dbsqlc.TableGrantStatementsParams{Name: fresh(table), Relation: current(table)})
	return slices.Concat(statements, revokes, grants), err
}
