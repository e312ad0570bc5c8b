package store

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"
)

// maxAuditedQuery is how much of a statement the audit has, in bytes.
const maxAuditedQuery = 10_000

// AuditStatement records a statement that the sandbox ran for somebody, or did not: its
// text, but no parameter, and what came of it.
func (db *DB) AuditStatement(ctx context.Context, actor string, statement Statement, answer *Answer, failure error, took time.Duration) error {
	details := map[string]any{"outcome": outcome(failure), "duration_ms": float64(took.Microseconds()) / 1000}
	if answer != nil {
		details["rows"], details["truncated"] = answer.RowCount, answer.Truncated
	}
	if wrong, ok := errors.AsType[*StatementError](failure); ok && wrong.SQLState != "" {
		details["sqlstate"] = wrong.SQLState
	}
	if n := len(statement.Params); n > 0 {
		details["params"] = n
	}
	query := statement.Query
	if len(query) > maxAuditedQuery {
		details["query_bytes"] = len(query)
		end := maxAuditedQuery
		for !utf8.RuneStart(query[end]) {
			end--
		}
		query = query[:end] + "…"
	}
	return db.Audit(ctx, AuditEntry{Actor: actor, Action: "sql.query", Subject: query, Details: details})
}

// outcome is what came of a statement, in a word.
func outcome(failure error) string {
	_, isWrong := errors.AsType[*StatementError](failure)
	switch {
	case failure == nil:
		return "answered"
	case isWrong:
		return "error"
	case errors.Is(failure, ErrStatementTimeout):
		return "timeout"
	case errors.Is(failure, context.Canceled), errors.Is(failure, context.DeadlineExceeded):
		return "canceled"
	case errors.Is(failure, ErrSandboxBusy):
		return "busy"
	}
	return "unavailable"
}
