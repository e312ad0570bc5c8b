package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// Stream gives the rows of a query one after another, as Postgres sends them:
// memory does not grow with their number.
type Stream[T any] struct {
	conn *pgx.Conn
	rows pgx.Rows
	scan func(pgx.Rows) (T, error)
}

// Next is the next row; after the last one the zero value, and false.
func (s *Stream[T]) Next() (row T, ok bool, err error) {
	if !s.rows.Next() {
		return row, false, s.rows.Err()
	}
	row, err = s.scan(s.rows)
	return row, err == nil, err
}

// Close ends the stream, at its end or before. A nil stream has ended.
func (s *Stream[T]) Close() {
	if s != nil {
		closeConn(s.conn)
	}
}

// newStream sends a query on a connection of its own. What sqlc generates would
// gather all rows first.
func newStream[T any](ctx context.Context, s *Snapshot, sql string, scan func(pgx.Rows) (T, error)) (*Stream[T], error) {
	conn, err := s.join(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		closeConn(conn)
		return nil, fmt.Errorf("reading the snapshot of the database: %w", err)
	}
	return &Stream[T]{conn: conn, rows: rows, scan: scan}, nil
}

// Positions are all positions of the log, in order.
func (s *Snapshot) Positions(ctx context.Context) (*Stream[int64], error) {
	return newStream(ctx, s, "SELECT position FROM events ORDER BY position", scanValue[int64])
}

func scanValue[T any](rows pgx.Rows) (value T, err error) {
	err = rows.Scan(&value)
	return value, err
}

// LogRow is an event as its columns tell it, and where its row lies.
type LogRow struct {
	rapport.Event
	Stored    []byte // the column fingerprint, of whatever length
	Partition string // name of its table
	Raw       bool   // Payload is of payload_raw
	Erasure   *int64 // nil for a whole event
}

// The order is that of the primary key, so that nothing is sorted: the events of
// a session_id follow each other, in the order of their time.
const streamEvents = `SELECT tableoid::bigint, position, occurred_at, received_at, participants, undated, event_type, agent_id,
	session_id, user_id, role, message, message_type, language, room_name, error_code, error_severity, error_category,
	end_reason, rating, fingerprint, healed_from, payload, payload_raw, erasure
FROM events ORDER BY session_id, occurred_at, fingerprint`

// Events are all events of the log, by session_id, occurred_at and fingerprint;
// without their headers.
func (s *Snapshot) Events(ctx context.Context) (*Stream[*LogRow], error) {
	partitions, err := s.q.VerifyPartitions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the partitions of the log: %w", err)
	}
	names := make(map[int64]string, len(partitions))
	for _, p := range partitions {
		names[p.ID] = p.Name
	}
	return newStream(ctx, s, streamEvents, func(rows pgx.Rows) (*LogRow, error) { return scanLogRow(rows, names) })
}

func scanLogRow(rows pgx.Rows, names map[int64]string) (*LogRow, error) {
	row := &LogRow{}
	var table int64
	var raw []byte
	e := &row.Event
	err := rows.Scan(&table, &e.Position, &e.OccurredAt, &e.ReceivedAt, &e.Participants, &e.Undated, &e.Type, &e.AgentID,
		&e.SessionID, &e.UserID, &e.Role, &e.Text, &e.MessageType, &e.Language, &e.RoomName, &e.ErrorCode, &e.ErrorSeverity,
		&e.ErrorCategory, &e.EndReason, &e.Rating, &row.Stored, &e.HealedFrom, &e.Payload, &raw,
		&row.Erasure)
	if err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	copy(e.Fingerprint[:], row.Stored)
	row.Partition = names[table]
	if raw != nil {
		row.Payload, row.Raw = raw, true
	}
	return row, nil
}

// PartitionOf is the name of the table that an event of this time lies in.
func PartitionOf(occurredAt time.Time) string {
	return occurredAt.UTC().Format("events_2006_01")
}

// Compare orders keys as Postgres does.
func (k SessionKey) Compare(other SessionKey) int {
	return cmp.Or(
		cmp.Compare(k.SessionID, other.SessionID),
		cmp.Compare(k.AgentID, other.AgentID),
		k.StartedAt.Compare(other.StartedAt),
	)
}

// Sessions are all rows of the rollups, by SessionKey.Compare.
func (s *Snapshot) Sessions(ctx context.Context) (*Stream[*StoredSession], error) {
	return newStream(ctx, s, "SELECT * FROM sessions ORDER BY session_id, agent_id, started_at",
		func(rows pgx.Rows) (*StoredSession, error) {
			row, err := pgx.RowToStructByName[dbsqlc.Session](rows)
			if err != nil {
				return nil, fmt.Errorf("reading a session: %w", err)
			}
			return &StoredSession{row: row}, nil
		})
}

// SessionText is a text that the user of a session has said, as a hash.
type SessionText struct {
	Key  SessionKey
	Hash []byte
}

// Texts are all texts of the sessions, by SessionKey.Compare and then by hash.
func (s *Snapshot) Texts(ctx context.Context) (*Stream[*SessionText], error) {
	return newStream(ctx, s, `SELECT session_id, agent_id, started_at, text_hash FROM session_texts
		ORDER BY session_id, agent_id, started_at, text_hash`,
		func(rows pgx.Rows) (*SessionText, error) {
			t := &SessionText{}
			if err := rows.Scan(&t.Key.SessionID, &t.Key.AgentID, &t.Key.StartedAt, &t.Hash); err != nil {
				return nil, fmt.Errorf("reading a session's texts: %w", err)
			}
			return t, nil
		})
}

// boundlessTime reads a timestamptz as a time, and infinity as one that is far
// away: that one should stand there is a finding, not a failure.
type boundlessTime struct{ *pgtype.TimestamptzCodec }

// PlanScan plans how a value is scanned.
func (c boundlessTime) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*time.Time); ok && format == pgtype.BinaryFormatCode {
		return scanTime{}
	}
	return c.TimestamptzCodec.PlanScan(m, oid, format, target)
}

type scanTime struct{}

// postgresEpoch is 2000-01-01, in µs since 1970.
const postgresEpoch = 946_684_800_000_000

// Scan reads microseconds since 2000.
func (scanTime) Scan(src []byte, target any) error {
	if len(src) != 8 {
		return fmt.Errorf("a timestamptz of %d bytes, want 8", len(src))
	}
	us := int64(binary.BigEndian.Uint64(src))
	*target.(*time.Time) = time.UnixMicro(min(us, math.MaxInt64-postgresEpoch) + postgresEpoch).UTC()
	return nil
}
