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
	"synchronous_commit":                  "on",             // answered means durable
	"default_transaction_isolation":       "read committed", // positions rest on it
	"lock_timeout":                        "8s",             // longer than a frozen peer may hold a lock
	"statement_timeout":                   "30s",
	"idle_in_transaction_session_timeout": "5s",
	"tcp_keepalives_idle":                 "10",
	"tcp_keepalives_interval":             "10",
	"tcp_keepalives_count":                "3",
}

// DB is a database of Rapport. Its methods may be used by many goroutines.
type DB struct {
	pool *pgxpool.Pool // of reads and followers
	q    *dbsqlc.Queries

	// Deliveries have connections of their own: slow reads must not keep them
	// waiting.
	keepers *pgxpool.Pool
	keep    *dbsqlc.Queries

	grown  chan struct{} // holds one token after an append that was not announced yet
	tail   tail          // of the log, as far as this process has appended it
	newest atomic.Int64  // µs since 1970; newest received_at known to be in the log
	cached totalsCache
	kept   keptSessions

	mu     sync.Mutex
	months map[month]bool // those that are known to have a partition; guarded by mu
}

// How many connections a server has to its database, besides the one that
// listens; few enough for several servers beside each other on a stock Postgres.
const (
	readConns = 12
	keepConns = 4
)

// Open connects to the database of a URL, whose schema must be current: see
// Migrate and CheckSchema.
func Open(ctx context.Context, url string) (*DB, error) { return OpenTraced(ctx, url, nil) }

// OpenTraced is Open with a tracer that is told of each statement; nil is none.
func OpenTraced(ctx context.Context, url string, tracer pgx.QueryTracer) (*DB, error) {
	pool, err := openPool(ctx, url, readConns, tracer)
	if err != nil {
		return nil, err
	}
	keepers, err := openPool(ctx, url, keepConns, tracer)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &DB{
		pool: pool, q: dbsqlc.New(pool), keepers: keepers, keep: dbsqlc.New(keepers),
		months: make(map[month]bool), grown: make(chan struct{}, 1),
	}, nil
}

// closeTimeout is for how long Close waits: a connection to a database that
// hangs can't be closed in good order.
const closeTimeout = time.Second

// Close waits for the connections that are in use, but not for long, and closes
// them all.
func (db *DB) Close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		db.pool.Close()
		db.keepers.Close()
	}()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
	}
}

// Ping reports whether the database answers those who keep deliveries.
func (db *DB) Ping(ctx context.Context) error { return db.keepers.Ping(ctx) }

func openPool(ctx context.Context, url string, conns int32, tracer pgx.QueryTracer) (*pgxpool.Pool, error) {
	config, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	config.ConnConfig.Tracer = tracer
	config.MaxConns, config.MinConns, config.MinIdleConns = conns, 0, 0
	config.PingTimeout = 2 * time.Second
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID,
			Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	// Not AfterRelease: pgxpool calls that in a goroutine, so that whoever asks next gets
	// a connection that has not prepared, or not cached, what this one has.
	config.PrepareConn = func(_ context.Context, conn *pgx.Conn) (bool, error) { return canWrite(conn), nil }
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	return pool, nil
}

// canWrite reports whether a connection is worth keeping. After a failover the next
// one may reach another server, or the same one that may write again; this one stays
// as it is. Postgres tells both parameters from version 14 on.
func canWrite(conn *pgx.Conn) bool {
	for _, parameter := range []string{"in_hot_standby", "default_transaction_read_only"} {
		if conn.PgConn().ParameterStatus(parameter) == "on" {
			return false
		}
	}
	return true
}

// ErrURL says that a database URL can't be read. It repeats nothing of the URL,
// which may hold a password.
var ErrURL = errors.New("the database URL can't be read: it must be postgres://user:password@host:port/database, " +
	"with whatever is no letter or digit in the password percent-encoded (@ is %40)")

// parseURL reads a URL, and sets what every connection of ours has.
func parseURL(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url) // and not pgx's, which refuses a pool's parameters
	if err != nil || hasStrayPart(config.ConnConfig) {
		return nil, ErrURL
	}
	conn := config.ConnConfig
	for name, value := range sessionParams {
		conn.RuntimeParams[name] = value
	}
	switch conn.DefaultQueryExecMode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol: // which send text, and some rows are read in binary
		conn.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = 5 * time.Second
	}
	dialer := &net.Dialer{KeepAlive: 10 * time.Second, Timeout: conn.ConnectTimeout}
	conn.DialFunc = dialer.DialContext
	return config, nil
}

// hasStrayPart reports whether a part of a URL lies where it can't belong: an @, / or ?
// of a password that is not percent-encoded puts the rest of it into the host, the
// database or the parameters, which messages do repeat.
func hasStrayPart(conn *pgx.ConnConfig) bool {
	if strings.Contains(conn.Host+conn.Database, "@") {
		return true
	}
	for name := range conn.RuntimeParams {
		if strings.Contains(name, "@") {
			return true
		}
	}
	return false
}

// Address is which database a URL names, as host:port/database: without the role
// and the password. It is ErrURL if the URL can't be read.
func Address(url string) (string, error) {
	config, err := parseURL(url)
	if err != nil {
		return "", err
	}
	conn := config.ConnConfig
	return fmt.Sprintf("%s/%s", net.JoinHostPort(conn.Host, fmt.Sprint(conn.Port)), conn.Database), nil
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

// TookTooLong reports whether Postgres ended a statement for the time that it took.
func TookTooLong(err error) bool { return sqlState(err) == queryCanceled }

// IsUnavailable reports whether the database could not be reached, or could not
// serve just now, so that trying again later is right: whatever is no answer of
// Postgres's, and SQLSTATE classes 08 (connection), 25 (transaction state: read-only,
// say), 40 (rollback), 53 (resources), 55 (locks), 57 (intervention, time-outs among
// it) and 58 (system).
func IsUnavailable(err error) bool {
	state := sqlState(err)
	if len(state) != 5 {
		return err != nil
	}
	switch state[:2] {
	case "08", "25", "40", "53", "55", "57", "58":
		return true
	}
	return false
}
