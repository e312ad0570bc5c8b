package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"rapport/api"
	"rapport/store"
	"rapport/store/embedpg"
)

type sqlCmd struct {
	databaseFlags
	logFlags
	Query   string        `arg:"" optional:"" help:"One statement; - reads it from stdin."`
	Param   []string      `sep:"none" placeholder:"VALUE" help:"The value of $$1, and so on; may be repeated."`
	Format  string        `enum:"table,csv,json,ndjson" default:"table" help:"How to write the rows: table, csv, json or ndjson. Default: ${default}."`
	Limit   int           `default:"1000" help:"How many rows at most, up to 50000. Default: ${default}."`
	Timeout time.Duration `default:"10s" help:"For how long it may run, up to 60s. Default: ${default}."`
	Tables  bool          `help:"List the tables there are."`
	Table   string        `placeholder:"NAME" help:"List the columns of a table."`
}

// Help is what --help says besides the flags.
func (*sqlCmd) Help() string {
	return `Runs as the role rapport_sql, which may read the schema analytics and nothing else, on the running or
configured database; no prefix is needed:

  rapport sql "SELECT engagement_tier, count(*) FROM sessions GROUP BY 1"

Each statement is in the audit.`
}

// What --tables and --table ask.
const (
	tablesQuery = `SELECT c.relname AS "table", obj_description(c.oid, 'pg_class') AS description
FROM pg_class c WHERE c.relnamespace = 'analytics'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') ORDER BY 1`
	columnsQuery = `SELECT a.attname AS "column", format_type(a.atttypid, a.atttypmod) AS type, col_description(a.attrelid, a.attnum) AS description
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'analytics'::regnamespace AND c.relname = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`
)

// Run runs the statement.
func (c *sqlCmd) Run(ctx context.Context, io streams) error {
	statement, err := c.statement(io.In)
	if err != nil {
		return err
	}
	return c.withDatabase(ctx, c.logger(io.Err), func(database *database, db *store.DB) error {
		sandbox, err := database.sandbox()
		if err != nil {
			return err
		}
		if sandbox == nil {
			return errors.New("no login for SQL is known: set RAPPORT_SQL_DATABASE_URL to that of rapport_sql (see `rapport db roles`)")
		}
		started := time.Now()
		answer, failure := sandbox.Run(ctx, statement)
		// Also of one that Ctrl-C has ended.
		if err := db.AuditStatement(context.WithoutCancel(ctx), cliActor(), statement, answer, failure, time.Since(started)); err != nil {
			return errors.Join(err, failure)
		}
		if failure != nil {
			return told(failure)
		}
		return c.write(io, answer)
	})
}

// statement is what the flags ask for.
func (c *sqlCmd) statement(stdin io.Reader) (store.Statement, error) {
	statement := store.Statement{Query: c.Query, Timeout: c.Timeout, Limit: c.Limit}
	switch {
	case c.Limit < 1 || c.Limit > store.MaxSandboxRows:
		return statement, fmt.Errorf("--limit must be 1 to %d", store.MaxSandboxRows)
	case c.Timeout <= 0 || c.Timeout > store.MaxSandboxTimeout:
		return statement, fmt.Errorf("--timeout must be more than 0s and at most %v", store.MaxSandboxTimeout)
	case c.Tables:
		statement.Query = tablesQuery
	case c.Table != "":
		c.Param = []string{c.Table}
		statement.Query = columnsQuery
	case c.Query == "":
		return statement, errors.New("write a statement, or - to read it from stdin; --tables lists what there is")
	case c.Query == "-":
		text, err := readStatement(stdin)
		if err != nil {
			return statement, err
		}
		statement.Query = text
	}
	for _, value := range c.Param {
		text, err := json.Marshal(value)
		if err != nil {
			return statement, err
		}
		statement.Params = append(statement.Params, text)
	}
	return statement, nil
}

// maxStatementBytes is as much as POST /sql takes.
const maxStatementBytes = 1 << 20

func readStatement(stdin io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(stdin, maxStatementBytes+1))
	if err != nil {
		return "", fmt.Errorf("reading the statement: %w", err)
	}
	if len(text) > maxStatementBytes {
		return "", fmt.Errorf("the statement has more than %d bytes", maxStatementBytes)
	}
	return string(text), nil
}

// told is what is wrong with a statement, in one line.
func told(failure error) error {
	wrong, ok := errors.AsType[*store.StatementError](failure)
	if !ok {
		return failure
	}
	text := wrong.Message
	if wrong.Position > 0 {
		text += fmt.Sprintf(" (at character %d)", wrong.Position)
	}
	for _, more := range []string{wrong.Detail, wrong.Hint} {
		if more != "" {
			text += ": " + more
		}
	}
	if wrong.SQLState != "" {
		text += " [" + wrong.SQLState + "]"
	}
	return errors.New(text)
}

func (c *sqlCmd) write(io streams, answer *store.Answer) error {
	out := bufio.NewWriter(io.Out)
	var err error
	if c.Format == "table" {
		writeTable(out, answer)
	} else {
		err = api.WriteAnswer(out, c.Format, answer)
	}
	if err := errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if answer.Truncated {
		_, _ = fmt.Fprintf(io.Err, "there are more rows than these %d: see --limit; all of them may have %d MiB\n", answer.RowCount, store.MaxSandboxBytes>>20)
	}
	return nil
}

// writeTable writes rows for people: numbers to the right, null as nothing.
func writeTable(out io.Writer, answer *store.Answer) {
	table := [][]string{make([]string, len(answer.Columns))}
	for i, c := range answer.Columns {
		table[0][i] = inCell(c.Name)
	}
	for row := range answer.Rows() {
		cells := make([]string, len(row))
		for i, value := range row {
			if value != nil {
				cells[i] = inCell(string(answer.Columns[i].AppendText(nil, value)))
			}
		}
		table = append(table, cells)
	}
	widths := make([]int, len(answer.Columns))
	for _, cells := range table {
		for i, cell := range cells {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, cells := range table {
		var line strings.Builder
		for i, cell := range cells {
			space := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if answer.Columns[i].IsNumber() {
				line.WriteString(space + cell + "  ")
			} else {
				line.WriteString(cell + space + "  ")
			}
		}
		_, _ = fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
	_, _ = fmt.Fprintf(out, "(%s)\n", plural(answer.RowCount, "row"))
}

// sandbox runs statements of others on the database; nil if no login for it is known.
func (d *database) sandbox() (*store.Sandbox, error) {
	if d.SQLURL == "" {
		return nil, nil
	}
	var options store.SandboxOptions
	if d.isPrivate {
		options = store.SandboxOptions{Restrain: embedpg.Restrain, Terminate: embedpg.Terminate}
	}
	sandbox, err := store.NewSandbox(d.SQLURL, options)
	if err != nil {
		return nil, fmt.Errorf("--sql-database-url: %w", err)
	}
	return sandbox, nil
}

// warnOfSandbox says at the start why no statement will be run.
func warnOfSandbox(ctx context.Context, database *database, logger *slog.Logger) {
	sandbox, err := database.sandbox()
	switch {
	case err != nil:
	case sandbox == nil:
		logger.Info("POST /sql is off: RAPPORT_SQL_DATABASE_URL is not set")
		return
	default:
		err = sandbox.Check(ctx)
	}
	if err != nil {
		logger.Warn("POST /sql runs no statement", "error", err)
	}
}

func examineSandbox(ctx context.Context, database *database, f *findings) {
	sandbox, err := database.sandbox()
	switch {
	case err != nil:
	case sandbox == nil:
		f.ok("sql", "off: RAPPORT_SQL_DATABASE_URL is not set")
		return
	default:
		err = sandbox.Check(ctx)
	}
	if err != nil {
		f.problem("sql", "until then POST /sql runs no statement", "%v", oneLine(err))
		return
	}
	f.ok("sql", "the login for SQL may read analytics alone")
}
