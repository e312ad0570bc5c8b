package dbsqlc

import "github.com/jackc/pgx/v5"

// Tx is the transaction that the queries run in; ok is false if they run in none.
func (q *Queries) Tx() (tx pgx.Tx, ok bool) {
	tx, ok = q.db.(pgx.Tx)
	return tx, ok
}
