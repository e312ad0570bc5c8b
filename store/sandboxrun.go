package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Answer is the rows of a statement.
type Answer struct {
	Columns   []SQLColumn
	RowCount  int
	Truncated bool // there are more rows than it may have
	Elapsed   time.Duration

	cells []byte // each with its length before it, -1 for null
}

// Rows are the rows, as Postgres writes their values; nil is null. A row is only valid
// until the next one.
func (a *Answer) Rows() iter.Seq[[][]byte] {
	return func(yield func([][]byte) bool) {
		rest, row := a.cells, make([][]byte, len(a.Columns))
		for range a.RowCount {
			for i := range row {
				length := int32(binary.BigEndian.Uint32(rest)) // #nosec G115 -- as it was written
				rest = rest[4:]
				if length < 0 {
					row[i] = nil
					continue
				}
				row[i], rest = rest[:length:length], rest[length:]
			}
			if !yield(row) {
				return
			}
		}
	}
}

// add keeps a row, if there is room for it.
func (a *Answer) add(values [][]byte, limit int) bool {
	size := 4 * len(values)
	for _, value := range values {
		size += len(value)
	}
	if a.RowCount == limit || len(a.cells)+size > MaxSandboxBytes {
		a.Truncated = true
		return false
	}
	for _, value := range values {
		length := int32(len(value)) // #nosec G115 -- a message is bounded
		if value == nil {
			length = -1
		}
		a.cells = append(binary.BigEndian.AppendUint32(a.cells, uint32(length)), value...) // #nosec G115 -- read back the same way
	}
	a.RowCount++
	return true
}

// The names of what runs on a connection besides the statement.
const (
	statementName  = "rapport_statement"
	sqlTypesOfOIDs = "SELECT pg_catalog.format_type(t.oid, NULL) FROM pg_catalog.unnest($1::pg_catalog.oid[]) WITH ORDINALITY AS t(oid, n) ORDER BY t.n"
)

// answer runs a statement and reads its rows. It must be one that has columns: so what
// would change the session, the transaction or the data is not even begun, and what a
// statement has to do with its own transaction is of no use to it.
func (c *sandboxConn) answer(ctx context.Context, statement Statement) (*Answer, error) {
	never := context.Background() // that ctx ends the watch tells Postgres, and so us
	// A killed process should be noticed; not all systems can.
	_ = c.Exec(never, "SET client_connection_check_interval = '1s'").Close()
	if err := c.Exec(never, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY").Close(); err != nil {
		return nil, err
	}
	if strings.ContainsRune(statement.Query, 0) { // which ends a text of the protocol
		return nil, &StatementError{Message: "the query holds the character U+0000"}
	}
	described, err := c.Prepare(never, statementName, statement.Query, nil)
	if err != nil {
		return nil, err
	}
	if len(described.Fields) == 0 {
		return nil, &StatementError{Message: "the statement has no columns to answer with: only what returns rows is run, such as SELECT, WITH, VALUES, EXPLAIN and SHOW"}
	}
	params, err := paramTexts(statement.Params, described.ParamOIDs)
	if err != nil {
		return nil, err
	}
	columns, err := c.columns(described.Fields)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.rows(&Answer{Columns: columns}, params, statement.Limit)
}

// columns are told by Postgres: it has types that nobody here knows.
func (c *sandboxConn) columns(fields []pgconn.FieldDescription) ([]SQLColumn, error) {
	oids := make([]string, len(fields))
	for i, field := range fields {
		oids[i] = fmt.Sprint(field.DataTypeOID)
	}
	list := []byte("{" + strings.Join(oids, ",") + "}")
	types := c.ExecParams(context.Background(), sqlTypesOfOIDs, [][]byte{list}, nil, nil, nil).Read()
	if types.Err != nil {
		return nil, types.Err
	}
	columns := make([]SQLColumn, len(fields))
	for i, field := range fields {
		columns[i] = newSQLColumn(field.Name, string(types.Rows[i][0]), field.DataTypeOID)
	}
	return columns, nil
}

// rows runs the prepared statement. Postgres computes no more rows than are asked for:
// one more than may be answered, to know of more.
func (c *sandboxConn) rows(answer *Answer, params [][]byte, limit int) (*Answer, error) {
	c.idle = false
	frontend := c.Frontend()
	frontend.SendBind(&pgproto3.Bind{PreparedStatement: statementName, Parameters: params})
	frontend.SendExecute(&pgproto3.Execute{MaxRows: uint32(limit) + 1}) // #nosec G115 -- it is bounded
	frontend.SendSync(&pgproto3.Sync{})
	if err := frontend.Flush(); err != nil {
		return nil, err
	}
	var failed error
	for {
		message, err := c.ReceiveMessage(context.Background())
		if err != nil {
			return nil, err
		}
		switch message := message.(type) {
		case *pgproto3.DataRow:
			if !answer.add(message.Values, limit) && answer.RowCount < limit {
				return answer, nil // there is no room: the rest is not even read
			}
		case *pgproto3.ErrorResponse:
			failed = pgconn.ErrorResponseToPgError(message)
		case *pgproto3.ReadyForQuery:
			c.idle = true
			return answer, failed
		}
	}
}
