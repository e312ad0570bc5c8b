// Package sqldocs writes docs/sql.md from the catalogue of a migrated database, so that
// the page says what the database has.
package sqldocs

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// View is a view of the schema analytics.
type View struct {
	Name    string
	Comment string
	Columns []Column
}

// Function is a function of the schema analytics.
type Function struct {
	Name      string
	Comment   string // what it does; its arguments and columns have their own
	Arguments []Column
	Columns   []Column // of its result

	remarks string
}

// Remarks is the whole comment of the function as one line.
func (f *Function) Remarks() string { return strings.ReplaceAll(f.remarks, "\n", " ") }

// Column is a column of a view, or an argument or a column of the result of a function.
type Column struct {
	Name    string
	Type    string
	Default string // of an argument; empty if it must be given
	Comment string
}

// Catalogue is all there is in the schema analytics, in the order in which it was made.
type Catalogue struct {
	Views     []View
	Functions []Function
}

// Read reads the catalogue.
func Read(ctx context.Context, conn *pgx.Conn) (Catalogue, error) {
	var c Catalogue
	if err := c.readViews(ctx, conn); err != nil {
		return c, fmt.Errorf("reading the views: %w", err)
	}
	if err := c.readFunctions(ctx, conn); err != nil {
		return c, fmt.Errorf("reading the functions: %w", err)
	}
	return c, nil
}

const viewsSQL = `
SELECT c.relname::text, coalesce(obj_description(c.oid, 'pg_class'), ''),
       a.attname::text, format_type(a.atttypid, a.atttypmod), coalesce(col_description(c.oid, a.attnum), '')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'analytics'::regnamespace AND c.relkind IN ('v', 'm', 'r', 'p', 'f')
ORDER BY c.oid, a.attnum`

func (c *Catalogue) readViews(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, viewsSQL)
	if err != nil {
		return err
	}
	var view, comment string
	var column Column
	_, err = pgx.ForEachRow(rows, []any{&view, &comment, &column.Name, &column.Type, &column.Comment}, func() error {
		if n := len(c.Views); n == 0 || c.Views[n-1].Name != view {
			c.Views = append(c.Views, View{Name: view, Comment: comment})
		}
		last := &c.Views[len(c.Views)-1]
		last.Columns = append(last.Columns, column)
		return nil
	})
	return err
}

const functionsSQL = `
SELECT p.oid::bigint, p.proname::text, coalesce(obj_description(p.oid, 'pg_proc'), ''), a.name, format_type(a.type, NULL),
       coalesce(a.mode, 'i') = 'i',
       coalesce(pg_get_function_arg_default(p.oid, a.i::integer), '')
FROM pg_catalog.pg_proc p
CROSS JOIN LATERAL unnest(p.proargnames, coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargmodes::text[]) WITH ORDINALITY a (name, type, mode, i)
WHERE p.pronamespace = 'analytics'::regnamespace
ORDER BY p.oid, a.i`

func (c *Catalogue) readFunctions(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, functionsSQL)
	if err != nil {
		return err
	}
	var oid, last int64
	var name, comment string
	var column Column
	var isArgument bool
	_, err = pgx.ForEachRow(rows, []any{&oid, &name, &comment, &column.Name, &column.Type, &isArgument, &column.Default}, func() error {
		about, of := splitComment(comment)
		if oid != last {
			c.Functions = append(c.Functions, Function{Name: name, Comment: about, remarks: comment})
			last = oid
		}
		f := &c.Functions[len(c.Functions)-1]
		column := column
		column.Comment = of[column.Name]
		if isArgument {
			f.Arguments = append(f.Arguments, column)
		} else {
			f.Columns = append(f.Columns, column)
		}
		return nil
	})
	return err
}

// splitComment splits a function's comment: its first line is about the function, the
// others are "name: meaning", of an argument or a column.
func splitComment(comment string) (about string, of map[string]string) {
	of = make(map[string]string)
	for i, line := range strings.Split(comment, "\n") {
		name, meaning, isNamed := strings.Cut(line, ": ")
		switch {
		case i == 0:
			about = line
		case isNamed:
			of[name] = meaning
		}
	}
	return about, of
}
