package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// What a statement of the sandbox may take, at most and by default.
const (
	SandboxTimeout    = 10 * time.Second
	MaxSandboxTimeout = 60 * time.Second
	SandboxRows       = 1000
	MaxSandboxRows    = 50_000
	MaxSandboxBytes   = 16 << 20 // of an answer as Postgres writes it, and of one row
)

const (
	// sandboxSeats is how many statements run at once.
	sandboxSeats = 4

	// sandboxPatience is for how long a statement waits for its seat.
	sandboxPatience = 5 * time.Second

	// connectPatience is for how long it may take until a statement can begin.
	connectPatience = 10 * time.Second

	// cancelPatience is for how long a statement that is cancelled may go on before its
	// connection is terminated, and then before nobody waits for it any more.
	cancelPatience = 2 * time.Second

	// cancelPause is between two requests to cancel: one that comes while Postgres waits
	// for us is lost.
	cancelPause = 100 * time.Millisecond
)

// sandboxParams are what each connection of the sandbox begins with. A statement can
// change them for what it calls itself; they bound nothing that others rest on.
var sandboxParams = map[string]string{
	"application_name":                    "rapport sql",
	"search_path":                         "pg_catalog, analytics, pg_temp",
	"datestyle":                           "ISO",
	"bytea_output":                        "hex",
	"default_transaction_read_only":       "on",
	"lock_timeout":                        "5s",
	"idle_in_transaction_session_timeout": "5s",
	"max_parallel_workers_per_gather":     "0",
}

// Sandbox runs statements of others, as a login of its own that may read the schema
// analytics and nothing else. What protects all the rest are the rights of that login:
// neither the words of a statement nor settings, which it can change.
//
// Each statement has a connection of its own, which ends with it, so that nothing of it
// remains: no lock, no setting, no prepared statement. Its transaction is never committed.
type Sandbox struct {
	config  *pgconn.Config
	options SandboxOptions
	seats   chan struct{} // one for each connection, until Postgres has ended it

	mu      sync.Mutex
	checked time.Time // when the rights of the login were last found right; guarded by mu
}

// SandboxOptions are for a Postgres on this machine.
type SandboxOptions struct {
	Restrain  func(pid int) error // holds a backend back
	Terminate func(pid int) error // ends one; nil: by SQL
}

// NewSandbox makes a sandbox of the login of a URL. It connects to nobody; see Check.
func NewSandbox(url string, options SandboxOptions) (*Sandbox, error) {
	pool, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	config := pool.ConnConfig.Config.Copy()
	maps.Copy(config.RuntimeParams, sandboxParams)
	config.MaxProtocolMessageBodyLen = MaxSandboxBytes
	return &Sandbox{config: config, options: options, seats: make(chan struct{}, sandboxSeats)}, nil
}

// Statement is what the sandbox is asked to run.
type Statement struct {
	Query   string
	Params  []json.RawMessage // of $1 and so on
	Timeout time.Duration     // up to MaxSandboxTimeout
	Limit   int               // of rows, up to MaxSandboxRows
}

// StatementError says what is wrong with a statement, in words that are for who wrote it.
type StatementError struct {
	SQLState string // of Postgres; empty if it was not run
	Message  string
	Detail   string
	Hint     string
	Position int // in the query, in characters from 1; 0 if unknown
}

func (e *StatementError) Error() string { return e.Message }

// QueryCanceled is the SQLSTATE of a statement that was ended: by its time, or by an
// administrator.
const QueryCanceled = queryCanceled

// Why the sandbox has no answer, besides a StatementError.
var (
	// ErrStatementTimeout says that a statement took longer than it may.
	ErrStatementTimeout = errors.New("the statement took longer than it may")

	// ErrSandboxBusy says that as many statements run as may at once.
	ErrSandboxBusy = errors.New("as many statements are running as may at once; try again")

	// ErrSandboxUnsafe says that the login may do more than it must, or can't do that.
	ErrSandboxUnsafe = errors.New("the login for SQL is not as it must be")
)

// Run runs a statement, and returns its rows: as many as it may have. When ctx ends, so
// does the statement. It is a StatementError where the statement is wrong.
func (s *Sandbox) Run(ctx context.Context, statement Statement) (*Answer, error) {
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	c, err := s.connect(ctx, statement.Timeout)
	if err != nil {
		<-s.seats
		return nil, err
	}
	defer s.end(c)
	limited, cancel := context.WithTimeout(ctx, statement.Timeout)
	defer cancel()
	started := time.Now()
	answer, err := s.runOn(limited, c, statement)
	switch {
	case err == nil:
		answer.Elapsed = time.Since(started)
		return answer, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return nil, ErrStatementTimeout
	}
	return nil, statementError(err)
}

func (s *Sandbox) take(ctx context.Context) error {
	timer := time.NewTimer(sandboxPatience)
	defer timer.Stop()
	select {
	case s.seats <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return ErrSandboxBusy
	}
}

// sandboxConn is a connection for one statement.
type sandboxConn struct {
	*pgconn.PgConn
	idle bool // Postgres waits for us: nothing runs
}

func (s *Sandbox) connect(ctx context.Context, timeout time.Duration) (*sandboxConn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	config := s.config.Copy()
	// Should this process be killed, Postgres ends the statement by itself.
	config.RuntimeParams["statement_timeout"] = strconv.FormatInt((timeout + cancelPatience).Milliseconds(), 10)
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, connectError(err)
	}
	c := &sandboxConn{PgConn: conn, idle: true}
	if s.options.Restrain != nil {
		// Where the system doesn't allow it, the statement has the time that it has anyway.
		_ = s.options.Restrain(int(conn.PID()))
	}
	if err := s.checkOn(ctx, c); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return c, nil
}

// connectError tells a login that is refused from a database that is away.
func connectError(err error) error {
	if state := sqlState(err); state == "" || isOperational(state) {
		return fmt.Errorf("connecting as the login for SQL: %w", err)
	}
	return fmt.Errorf("%w: it can't connect: %w", ErrSandboxUnsafe, err)
}

// runOn runs a statement on its connection, until ctx ends.
func (s *Sandbox) runOn(ctx context.Context, c *sandboxConn, statement Statement) (*Answer, error) {
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(ctx, c.PgConn, ended) })
	answer, err := c.answer(ctx, statement)
	close(ended)
	watching.Wait() // it uses the connection
	return answer, err
}

// watch cancels what runs on a connection once ctx ends, until it has ended.
func (s *Sandbox) watch(ctx context.Context, conn *pgconn.PgConn, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	if s.cancel(conn, ended) {
		return
	}
	s.terminate(conn)
	select {
	case <-ended:
	case <-time.After(cancelPatience):
		_ = conn.Conn().SetReadDeadline(time.Now()) // nobody waits for it any more; end does
	}
}

// cancel asks Postgres to cancel what runs, for a while. It reports whether it has ended.
func (s *Sandbox) cancel(conn *pgconn.PgConn, ended <-chan struct{}) bool {
	ctx, stop := context.WithTimeout(context.Background(), cancelPatience)
	defer stop()
	for {
		_ = conn.CancelRequest(ctx)
		select {
		case <-ended:
			return true
		case <-ctx.Done():
			return false
		case <-time.After(cancelPause):
		}
	}
}

// terminate ends a connection for which a request to cancel was not enough.
func (s *Sandbox) terminate(conn *pgconn.PgConn) {
	if s.options.Terminate != nil {
		_ = s.options.Terminate(int(conn.PID()))
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), cancelPatience)
	defer stop()
	other, err := pgconn.ConnectConfig(ctx, s.config)
	if err != nil {
		return // its statement_timeout remains
	}
	defer func() { _ = other.Close(ctx) }()
	_ = other.Exec(ctx, fmt.Sprintf("SELECT pg_catalog.pg_terminate_backend(%d)", conn.PID())).Close()
}

// end ends a connection. Its seat is free once Postgres has ended it, too: statements
// that can't be stopped must not pile up.
func (s *Sandbox) end(c *sandboxConn) {
	gone := make(chan struct{})
	go func() {
		defer func() { <-s.seats }()
		defer close(gone)
		if c.IsClosed() { // after an error
			<-c.CleanupDone()
			return
		}
		defer func() { _ = c.Conn().Close() }()
		if !c.idle {
			s.stop(c)
		}
		_ = c.Conn().SetDeadline(time.Time{})
		c.Frontend().Send(&pgproto3.Terminate{})
		if c.Frontend().Flush() == nil {
			_, _ = io.Copy(io.Discard, c.Conn())
		}
	}()
	select { // mostly it is a millisecond, and then nothing of it is left
	case <-gone:
	case <-time.After(cancelPause):
	}
}

// stop ends what runs on a connection whose rows nobody wants any more.
func (s *Sandbox) stop(c *sandboxConn) {
	ctx, stop := context.WithTimeout(context.Background(), cancelPatience)
	defer stop()
	_ = c.CancelRequest(ctx)
}

// statementError tells who wrote the statement what Postgres says of it.
func statementError(err error) error {
	var pg *pgconn.PgError
	var long *pgproto3.ExceededMaxBodyLenErr
	switch {
	case errors.As(err, &long):
		return &StatementError{
			Message: fmt.Sprintf("a row, or what Postgres says of an error, has more than %d bytes: select less of it", MaxSandboxBytes),
		}
	case !errors.As(err, &pg) || isOperational(pg.Code):
		return err
	}
	return &StatementError{
		SQLState: pg.Code, Message: pg.Message, Detail: pg.Detail, Hint: pg.Hint, Position: int(pg.Position),
	}
}

// isOperational tells of SQLSTATEs that are no fault of the statement.
func isOperational(state string) bool {
	switch state {
	case "53200", "53400", queryCanceled: // memory, the role's limits
		return false
	case lockNotAvailable:
		return true
	}
	switch state[:min(2, len(state))] {
	case "08", "40", "53", "57", "58":
		return true
	}
	return false
}
