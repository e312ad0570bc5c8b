// Package store is the memory of Rapport: the event log, the rollups and the
// quarantine, in Postgres. Every transaction of the project is here.
package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"rapport/store/internal/dbsqlc"
)

// applicationName marks our connections in pg_stat_activity.
const applicationName = "rapport"

// sessionParams are set on every connection. A peer that is frozen, or gone,
// must not stop the others for longer than they say.
var sessionParams = map[string]string{
	"application_name":                    applicationName,
	"search_path":                         "public",
	"timezone":                            "UTC",
	"synchronous_commit":                  "on", // answered means durable
	"lock_timeout":                        "8s", // longer than a frozen peer may hold a lock
	"statement_timeout":                   "30s",
	"idle_in_transaction_session_timeout": "5s",
	"tcp_keepalives_idle":                 "10",
	"tcp_keepalives_interval":             "10",
	"tcp_keepalives_count":                "3",
}

// DB is a database of Rapport. Its methods may be used by many goroutines.
type DB struct {
	pool *pgxpool.Pool
	q    *dbsqlc.Queries

	grown  chan struct{} // holds one token after an append that was not announced yet
	newest atomic.Int64  // µs since 1970; newest received_at known to be in the log

	mu     sync.Mutex
	months map[month]bool // those that are known to have a partition; guarded by mu
}

// Open connects to the database of a URL, whose schema must be current: see
// Migrate and CheckSchema.
func Open(ctx context.Context, url string) (*DB, error) {
	config, err := poolConfig(url)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	return &DB{pool: pool, q: dbsqlc.New(pool), months: make(map[month]bool), grown: make(chan struct{}, 1)}, nil
}

// Close waits for the connections that are in use, and closes them all.
func (db *DB) Close() { db.pool.Close() }

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.pool.Ping(ctx) }

func poolConfig(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("the database URL can't be read (want postgres://user:password@host:port/database): %w", hideURL(err))
	}
	if !strings.Contains(url, "pool_max_conns") {
		// Enough for the writer, the follower and a page of readers, few enough
		// for several servers beside each other on a stock Postgres.
		config.MaxConns = 12
	}
	prepareConn(config.ConnConfig)
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID,
			Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	return config, nil
}

// prepareConn sets what every connection of ours has, pooled or not.
func prepareConn(config *pgx.ConnConfig) {
	for name, value := range sessionParams {
		config.RuntimeParams[name] = value
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	dialer := &net.Dialer{KeepAlive: 10 * time.Second, Timeout: config.ConnectTimeout}
	config.DialFunc = dialer.DialContext
}

// hideURL drops the URL that a parse error quotes: it may hold a password.
func hideURL(err error) error {
	if parse, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		return errors.Unwrap(parse)
	}
	return err
}

// inTx runs f in one READ COMMITTED transaction.
func (db *DB) inTx(ctx context.Context, f func(*dbsqlc.Queries) error) error {
	return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		return f(db.q.WithTx(tx))
	})
}

// sqlState is the SQLSTATE of an error of Postgres, empty for any other.
func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// IsDataError reports whether the database refused the data itself, so that
// trying the same again is no use: SQLSTATE classes 22 (data exception), 23
// (integrity constraint violation) and 54 (program limit exceeded).
func IsDataError(err error) bool {
	state := sqlState(err)
	if len(state) != 5 {
		return false
	}
	switch state[:2] {
	case "22", "23", "54":
		return true
	}
	return false
}

// IsUnavailable reports whether the database could not be reached, or could not
// serve just now, so that trying again later is right: whatever is no answer of
// Postgres's, and SQLSTATE classes 08 (connection), 40 (rollback), 53
// (resources), 55 (locks), 57 (intervention, time-outs among it) and 58 (system).
func IsUnavailable(err error) bool {
	state := sqlState(err)
	if len(state) != 5 {
		return err != nil
	}
	switch state[:2] {
	case "08", "40", "53", "55", "57", "58":
		return true
	}
	return false
}
