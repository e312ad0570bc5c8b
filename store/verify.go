package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// Snapshot is the database at one moment, while others go on writing. It has
// connections of its own, so that no delivery and no read waits for it. As any
// long transaction it keeps Postgres from cleaning up behind it: close it soon.
type Snapshot struct {
	config *pgx.ConnConfig
	conn   *pgx.Conn // holds the snapshot, and the locks that keep its tables from being replaced
	q      *dbsqlc.Queries
	name   string
}

// snapshotParams differ from those of every other connection: nothing waits for
// this one, which may be silent or at work for as long as it takes. Under another
// name it is not taken for a frozen server either.
var snapshotParams = map[string]string{
	"application_name":                    applicationName + " verify",
	"statement_timeout":                   "0",
	"idle_in_transaction_session_timeout": "0",
}

// Snapshot opens one. Close it after use.
func (db *DB) Snapshot(ctx context.Context) (*Snapshot, error) {
	s := &Snapshot{config: db.pool.Config().ConnConfig}
	for name, value := range snapshotParams {
		s.config.RuntimeParams[name] = value
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	s.conn, s.q = conn, dbsqlc.New(conn)
	if err := s.begin(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("taking a snapshot of the database: %w", err)
	}
	return s, nil
}

// begin locks first and looks then: a table that is replaced between the two
// would look empty.
func (s *Snapshot) begin(ctx context.Context) error {
	for _, sql := range []string{
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		"LOCK TABLE events, sessions, session_texts, superseded, session_totals, event_counts, message_search IN ACCESS SHARE MODE",
	} {
		if _, err := s.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return s.conn.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&s.name)
}

// Close lets go of the moment; streams that are open keep it until they are closed.
// Closing early is polite: an idle transaction may be ended by whoever waits for it.
func (s *Snapshot) Close() { closeConn(s.conn) }

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx) // it has only read
}

// connect makes a connection whose limits of time are lifted.
func (s *Snapshot) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, s.config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: boundlessTime{&pgtype.TimestamptzCodec{}},
	})
	// Not every Postgres has them, and its administrator may have set them.
	_, err = conn.Exec(ctx, `SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings
		WHERE name IN ('transaction_timeout', 'idle_session_timeout')`)
	if err != nil {
		closeConn(conn)
		return nil, fmt.Errorf("lifting the limits of time: %w", err)
	}
	return conn, nil
}

// join makes a connection that sees the same moment, and reads tables in the
// order of their keys without sorting them.
func (s *Snapshot) join(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		"SET TRANSACTION SNAPSHOT '" + s.name + "'", // as Postgres named it
		"SET LOCAL enable_sort = off",
		"SET LOCAL enable_seqscan = off",
		"SET LOCAL enable_bitmapscan = off",
		"SET LOCAL max_parallel_workers_per_gather = 0",
		"SET LOCAL jit = off",
	} {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			closeConn(conn)
			return nil, fmt.Errorf("joining the snapshot of the database: %w", err)
		}
	}
	return conn, nil
}

// Recorded is what the database says of itself, to be compared with its rows.
type Recorded struct {
	Head       *LogHead           // nil if its row is missing
	Follower   *FollowerRecord    // of the sessions; nil if its row is missing
	Tally      *QuarantineTally   // nil if its row is missing
	Quarantine QuarantineCount    // of the rows
	Wrong      []QuarantineFault  // entries that can't be what was written
	Dead       []DeadLetterRecord // by follower and position
	Superseded []HealedMessage    // by position
	Spools     map[string]int64   // how far each was drained, by its id
	Erasures   map[int64]bool     // their numbers
	tombstones map[tombstone]time.Time
	Retained   RetainedRecord
	Search     SearchRecord
	Sessions   int64 // rows of the rollups
	InSessions int64 // sum of their event_count
	Settings   rapport.Settings
	SettingsAs string // how a follower tells Settings
}

// LogHead is the row of log_head.
type LogHead struct {
	Position    int64
	ReceivedAt  time.Time // newest received_at of the log
	Duplicates  int64
	Erased      int64     // deliveries that were let go
	ErasedUntil time.Time // no stub and no tombstone is later
	Expired     int64     // deliveries that were let go, since they were too old
	Frozen      time.Time // the horizon
}

// FollowerRecord is how far a follower has come, and with which settings.
type FollowerRecord struct {
	Position int64
	MadeWith string
	ToCount  time.Time // from when on nothing is in the totals yet; zero if all is
}

// QuarantineTally counts deliveries: Received is what the quarantine has seen,
// Pruned, Replayed and Erased are those of them that have left it.
type QuarantineTally struct{ Received, Pruned, Replayed, Erased int64 }

// QuarantineCount counts what is in the quarantine, and how often that was seen.
type QuarantineCount struct{ Entries, Seen int64 }

// QuarantineFault tells what is wrong with an entry.
type QuarantineFault struct {
	ID            int64
	OtherBody     bool // body_sha256 is not the body's
	NeverSeen     bool // seen_count is below 1
	SeenBackwards bool // last_seen_at is before first_seen_at
}

// DeadLetterRecord is an event that was put aside.
type DeadLetterRecord struct {
	Follower  string
	Position  int64
	AgentID   string
	SessionID string
	EventType string
	Lost      bool // the log has no event of this position
}

// Recorded reads it all.
func (s *Snapshot) Recorded(ctx context.Context) (*Recorded, error) {
	r := &Recorded{}
	for _, read := range []func(context.Context, *Recorded) error{
		s.recordedLog, s.recordedQuarantine, s.recordedDead, s.recordedSuperseded, s.recordedSessions, s.recordedErasures,
		s.recordedRetention, s.recordedSearch,
	} {
		if err := read(ctx, r); err != nil {
			return nil, fmt.Errorf("reading what the database says of itself: %w", err)
		}
	}
	return r, nil
}

func (s *Snapshot) recordedLog(ctx context.Context, r *Recorded) error {
	heads, err := s.q.VerifyHead(ctx)
	if err != nil {
		return err
	}
	for _, row := range heads {
		r.Head = &LogHead{
			Position: row.Position, ReceivedAt: row.ReceivedAt, Duplicates: row.Duplicates, Erased: row.Erased,
			ErasedUntil: row.ErasedUntil, Expired: row.Expired, Frozen: row.FrozenBefore,
		}
	}
	followers, err := s.q.VerifyFollower(ctx, SessionsFollower)
	if err != nil {
		return err
	}
	for _, row := range followers {
		r.Follower = &FollowerRecord{Position: row.Position, MadeWith: row.MadeWith, ToCount: row.ToCount.Time}
	}
	spools, err := s.q.VerifySpools(ctx)
	r.Spools = make(map[string]int64, len(spools))
	for _, row := range spools {
		r.Spools[row.ID] = row.DrainedTo
	}
	return err
}

func (s *Snapshot) recordedQuarantine(ctx context.Context, r *Recorded) error {
	tallies, err := s.q.VerifyTally(ctx)
	if err != nil {
		return err
	}
	for _, row := range tallies {
		r.Tally = &QuarantineTally{Received: row.Received, Pruned: row.Pruned, Replayed: row.Replayed, Erased: row.Erased}
	}
	count, err := s.q.VerifyQuarantine(ctx)
	if err != nil {
		return err
	}
	r.Quarantine = QuarantineCount{Entries: count.Entries, Seen: count.Seen}
	wrong, err := s.q.VerifyQuarantineWrong(ctx)
	for _, row := range wrong {
		r.Wrong = append(r.Wrong, QuarantineFault{
			ID: row.ID, OtherBody: row.OtherBody, NeverSeen: row.NeverSeen, SeenBackwards: row.SeenBackwards,
		})
	}
	return err
}

func (s *Snapshot) recordedDead(ctx context.Context, r *Recorded) error {
	dead, err := s.q.VerifyDeadLetters(ctx)
	if err != nil {
		return err
	}
	rows, err := s.q.VerifyDeadLettersLost(ctx)
	lost := make(map[dbsqlc.VerifyDeadLettersLostRow]bool, len(rows))
	for _, row := range rows {
		lost[row] = true
	}
	for _, d := range dead {
		r.Dead = append(r.Dead, DeadLetterRecord{
			Follower: d.Follower, Position: d.Position, AgentID: d.AgentID, SessionID: d.SessionID, EventType: d.EventType,
			Lost: lost[dbsqlc.VerifyDeadLettersLostRow{Follower: d.Follower, Position: d.Position}],
		})
	}
	return err
}

func (s *Snapshot) recordedSuperseded(ctx context.Context, r *Recorded) error {
	rows, err := s.q.VerifySuperseded(ctx)
	for _, m := range rows {
		r.Superseded = append(r.Superseded, HealedMessage{Conversation{m.AgentID, m.SessionID}, m.Position, true})
	}
	return err
}

func (s *Snapshot) recordedSessions(ctx context.Context, r *Recorded) error {
	sums, err := s.q.VerifySessionSums(ctx)
	if err != nil {
		return err
	}
	r.Sessions, r.InSessions = sums.Sessions, sums.Events
	if r.Settings, err = (&DB{q: s.q}).Settings(ctx); err != nil {
		return err
	}
	r.SettingsAs, err = settingsText(r.Settings)
	return err
}
