package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// Rebuild makes the rollups anew from the whole log, in tables of a schema of its
// own, and puts these in the place of the old ones. Until then nobody sees
// anything of it, and whatever ends it leaves the old ones as they were. Its
// methods are called one after the other: Log, Load, Index, Totals, CatchUp, Swap.
//
// Everything is written on one connection, which also holds the lock of rebuilds:
// who has lost the lock can't write any more.
type Rebuild struct {
	config *pgx.ConnConfig
	conn   *pgx.Conn
	at     reached
	broken map[Conversation]bool // whose events in Load's part of the log could not be folded
	known  int64                 // generation of the log that the planner's statistics of the fresh tables are of
	done   bool

	// Of each month of events that is counted, what moved_counts said when it was.
	counted map[month]int64
}

// reached is how much of the log the fresh rollups contain.
type reached struct {
	position int64
	aside    map[int64]Conversation // events up to there that are left out: dead letters
	refused  map[int64]refusedEvent // those that this rebuild could not take, which it makes dead letters of
	erased   int64                  // generation of the log up to which they are without what was erased
}

type refusedEvent struct {
	event  *rapport.Event
	reason string
}

// The schema of the fresh tables. It is dropped whenever a rebuild begins or ends.
const rebuildSchema = "rapport_rebuild"

// ErrRebuilding says that somebody else is at it.
var ErrRebuilding = errors.New("another rebuild of this database is under way: wait for its end")

// ErrNotRollupsOwner says that the role may not replace the rollups.
var ErrNotRollupsOwner = errors.New("this role may not replace the rollups: set RAPPORT_OWNER_DATABASE_URL to the role that owns the schema")

// rebuildParams differ from those of a server's connections. Nobody waits for
// these, but in the transactions that set limits of their own, and under another
// name they are not taken for a frozen server's.
var rebuildParams = map[string]string{
	"application_name":                    applicationName + " rebuild",
	"search_path":                         rebuildSchema + ", public",
	"statement_timeout":                   "0",
	"idle_in_transaction_session_timeout": "0",
	"synchronous_commit":                  "off", // lost with the server, it is made again; but see Swap
}

// lockPatience is how long a start waits for the lock of a rebuild that was
// killed, until Postgres notices that it is gone.
const lockPatience = 4 * time.Second

// BeginRebuild connects as the owner of the schema, and makes the fresh tables.
// It is ErrRebuilding if another rebuild is under way, ErrNotRollupsOwner if the
// role is not the owner, and another clear error if something depends on the old
// tables that can't be carried over. Close it after use.
//
// It is ErrRestoreUnfinished while the log is only a part of one.
func BeginRebuild(ctx context.Context, ownerURL string) (*Rebuild, error) {
	return beginRebuild(ctx, ownerURL, "")
}

// beginRebuild is BeginRebuild, or that of the restore of a manifest.
func beginRebuild(ctx context.Context, ownerURL, restoring string) (*Rebuild, error) {
	pool, err := parseURL(ownerURL)
	if err != nil {
		return nil, err
	}
	r := &Rebuild{config: pool.ConnConfig, broken: make(map[Conversation]bool), counted: make(map[month]int64)}
	for name, value := range rebuildParams {
		r.config.RuntimeParams[name] = value
	}
	if r.conn, err = r.lock(ctx); err != nil {
		return nil, err
	}
	err = requireRestoring(ctx, dbsqlc.New(r.conn), restoring)
	if err == nil {
		err = r.prepare(ctx)
	}
	if err != nil {
		r.Close()
		if sqlState(err) == insufficientPrivilege {
			err = fmt.Errorf("%w (%w)", ErrNotRollupsOwner, err)
		}
		return nil, err
	}
	return r, nil
}

// connect makes a connection whose limits of time are lifted, and that Postgres
// ends soon when this process is gone.
func (r *Rebuild) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, r.config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID,
		Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	// Not every Postgres has them, and its administrator may have set them.
	_, err = conn.Exec(ctx, `SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings
		WHERE name IN ('transaction_timeout', 'idle_session_timeout')`)
	if err != nil {
		closeConn(conn)
		return nil, fmt.Errorf("lifting the limits of time: %w", err)
	}
	_, _ = conn.Exec(ctx, "SET client_connection_check_interval = '1s'") // some systems can't
	return conn, nil
}

// lock connects and takes the lock of rebuilds, which the connection then holds.
func (r *Rebuild) lock(ctx context.Context) (*pgx.Conn, error) {
	conn, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	q := dbsqlc.New(conn)
	for deadline := time.Now().Add(lockPatience); ; {
		locked, err := q.RebuildLock(ctx)
		switch {
		case err == nil && locked:
			return conn, nil
		case err == nil && time.Now().After(deadline):
			err = ErrRebuilding
		case err == nil:
			err = sleep(ctx, lockPatience/20)
		}
		if err != nil {
			closeConn(conn)
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the rebuild. What it has made is thrown away if it was not put in the
// place of the old tables; should that fail, the next rebuild does it.
func (r *Rebuild) Close() {
	closeConn(r.conn)
	if r.done {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	conn, err := r.lock(ctx) // the old one is of no use after an error
	if err != nil {
		return
	}
	defer closeConn(conn)
	_ = dropLeftovers(ctx, conn)
}

// inFresh runs do in a transaction in which the rollups' names mean the fresh
// tables. Should these be gone, it fails before it touches the old ones.
func (r *Rebuild) inFresh(ctx context.Context, options pgx.TxOptions, do func(pgx.Tx) error) error {
	tx, err := r.conn.BeginTx(ctx, options)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	for _, table := range rollupTables {
		if _, err := tx.Exec(ctx, "LOCK TABLE "+fresh(table)+" IN ROW EXCLUSIVE MODE"); err != nil {
			return err
		}
	}
	if err := do(tx); err != nil {
		return err
	}
	// It is too late to be interrupted: nobody would know whether it happened.
	return tx.Commit(context.WithoutCancel(ctx))
}

// Head is the position up to which the fresh rollups contain the log.
func (r *Rebuild) Head() int64 { return r.at.position }

// LogReader reads the log up to a position, by session_id and time. It takes a page
// at a time, each in a transaction of its own: a long one would keep Postgres from
// cleaning up behind the log's head, which every append changes.
type LogReader struct {
	conn *pgx.Conn
	q    *dbsqlc.Queries
	next dbsqlc.EventListBySessionParams
	at   reached
}

// The size of a page.
const (
	pageEvents = 5000
	pageBytes  = 8 << 20 // of text; one event is always read
)

// Log begins to read the log as it is now, above the horizon. What Load writes must be
// folded from it. Sessions that began below the horizon are carried over as they are:
// it does not move, and nothing below it goes, while a rebuild is under way. Close the
// reader after use.
func (r *Rebuild) Log(ctx context.Context) (*LogReader, error) {
	if err := r.look(ctx); err != nil {
		return nil, fmt.Errorf("reading the log's head: %w", err)
	}
	err := r.inFresh(ctx, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if err := dbsqlc.New(tx).HorizonCarryOver(ctx); err != nil {
			return err
		}
		_, err := dbsqlc.New(tx).FrozenSupersededCarryOver(ctx) // what is erased later is for Swap
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("carrying over the sessions that are frozen: %w", err)
	}
	conn, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	for _, method := range []string{"sort", "seqscan", "bitmapscan"} { // along the primary keys alone
		if _, err := conn.Exec(ctx, "SET enable_"+method+" = off"); err != nil {
			closeConn(conn)
			return nil, fmt.Errorf("reading the log: %w", err)
		}
	}
	return &LogReader{conn: conn, q: dbsqlc.New(conn), at: r.at, next: dbsqlc.EventListBySessionParams{
		AfterOccurredAt: beforeAll, AfterFingerprint: []byte{}, UpTo: r.at.position, MaxEvents: pageEvents, MaxBytes: pageBytes,
	}}, nil
}

// look notes how long the log is, and which of it are dead letters.
func (r *Rebuild) look(ctx context.Context) error {
	return pgx.BeginTxFunc(ctx, r.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		q := dbsqlc.New(tx)
		head, err := q.LogHeadGet(ctx)
		if err != nil {
			return err
		}
		aside, err := asideUpTo(ctx, q, head.Position)
		r.at = reached{position: head.Position, aside: aside, erased: head.Generation}
		return err
	})
}

// Next reads a page: the events that belong to sessions and are no dead letters,
// and how many rows it has read. That is 0 at the end.
func (l *LogReader) Next(ctx context.Context) ([]*rapport.Event, int, error) {
	rows, err := l.q.EventListBySession(ctx, l.next)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the log: %w", err)
	}
	if len(rows) == 0 {
		return nil, 0, nil
	}
	last := rows[len(rows)-1]
	l.next.AfterSessionID, l.next.AfterOccurredAt, l.next.AfterFingerprint = last.SessionID, last.OccurredAt, last.Fingerprint
	events := make([]*rapport.Event, 0, len(rows))
	for _, row := range rows {
		event := foldedEvent(dbsqlc.EventListOfSpanRow(row))
		if _, dead := l.at.aside[event.Position]; !dead && event.InSession() {
			events = append(events, event)
		}
	}
	return events, len(rows), nil
}

// Head is the position of the last event that it reads.
func (l *LogReader) Head() int64 { return l.at.position }

// Close ends the reading.
func (l *LogReader) Close() { closeConn(l.conn) }

// Load writes sessions that were folded from Log, and which of its healed messages
// count.
func (r *Rebuild) Load(ctx context.Context, windows []*rapport.Window, healed []HealedMessage, idleTimeout time.Duration) error {
	err := r.inFresh(ctx, pgx.TxOptions{}, func(tx pgx.Tx) error {
		// Their totals are made at once of all: see Totals.
		return (&Tx{q: dbsqlc.New(tx)}).Write(ctx, Change{Written: windows, Healed: healed}, idleTimeout)
	})
	if err != nil {
		return fmt.Errorf("writing the fresh sessions: %w", err)
	}
	return nil
}

// Broken says that events of Log could not be folded: CatchUp finds out which of
// the conversation, and puts them aside.
func (r *Rebuild) Broken(conversation Conversation) { r.broken[conversation] = true }

// Count is the number of sessions: of the fresh ones before Swap, of all after it.
func (r *Rebuild) Count(ctx context.Context) (int64, error) {
	n, err := dbsqlc.New(r.conn).SessionCount(ctx)
	if err != nil {
		return 0, fmt.Errorf("counting the sessions: %w", err)
	}
	return n, nil
}
