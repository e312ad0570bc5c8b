package history

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"rapport"
)

// columns of an event are those of the table that a delivery fills.
var columns = []string{
	"position", "occurred_at", "received_at", "participants", "undated", "event_type", "agent_id", "session_id", "user_id",
	"role", "message", "message_type", "language", "room_name", "error_code", "error_severity", "error_category",
	"end_reason", "rating", "fingerprint", "headers", "payload",
}

func values(e *rapport.Event) []any {
	return []any{
		e.Position, e.OccurredAt, e.ReceivedAt, e.Participants, e.Undated, e.Type, e.AgentID, e.SessionID, e.UserID,
		e.Role, e.Text, e.MessageType, e.Language, e.RoomName, e.ErrorCode, e.ErrorSeverity, e.ErrorCategory,
		e.EndReason, e.Rating, e.Fingerprint[:], "{}", string(e.Payload),
	}
}

// copyEvents are copied in one transaction, at least.
const copyEvents = 4000

// Load copies the log of a plan into a migrated database, as the owner of its
// schema, past the server's own way: in transactions that each leave a whole log. It
// goes on behind what is there, which must be the beginning of the same. The rollups
// are left as they are. show is told how many events are there, and up to when.
func (p Plan) Load(ctx context.Context, ownerURL string, show func(events int64, upTo time.Time)) (int64, error) {
	conn, err := pgx.Connect(ctx, ownerURL)
	if err != nil {
		return 0, fmt.Errorf("connecting to the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	// What is lost with the machine is made again.
	if _, err := conn.Exec(ctx, "SET synchronous_commit = off"); err != nil {
		return 0, err
	}
	l := &loader{conn: conn, show: show, months: make(map[string]bool)}
	if err := conn.QueryRow(ctx, "SELECT position FROM log_head").Scan(&l.head); err != nil {
		return 0, fmt.Errorf("reading the log's head: %w", err)
	}
	if err := l.load(ctx, p); err != nil {
		return l.head, fmt.Errorf("loading the log: %w", err)
	}
	return l.head, nil
}

type loader struct {
	conn    *pgx.Conn
	show    func(int64, time.Time)
	head    int64
	months  map[string]bool // that are there
	pending []*rapport.Event
}

// load copies while the next events are made.
func (l *loader) load(ctx context.Context, p Plan) error {
	group, ctx := errgroup.WithContext(ctx)
	stretches := make(chan []*rapport.Event, 16)
	group.Go(func() error {
		defer close(stretches)
		return p.Events(ctx, func(events []*rapport.Event) error {
			select {
			case stretches <- events:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	group.Go(func() error {
		for events := range stretches {
			for len(events) > 0 && events[0].Position <= l.head {
				events = events[1:]
			}
			l.pending = append(l.pending, events...)
			if len(l.pending) >= copyEvents {
				if err := l.copy(ctx); err != nil {
					return err
				}
			}
		}
		if ctx.Err() != nil || len(l.pending) == 0 {
			return ctx.Err()
		}
		return l.copy(ctx)
	})
	return group.Wait()
}

func (l *loader) copy(ctx context.Context) error {
	if err := l.ensureMonths(ctx); err != nil {
		return err
	}
	last := l.pending[len(l.pending)-1]
	err := pgx.BeginFunc(ctx, l.conn, func(tx pgx.Tx) error {
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"events"}, columns, pgx.CopyFromSlice(len(l.pending), func(i int) ([]any, error) {
			return values(l.pending[i]), nil
		}))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "UPDATE log_head SET position = $1, received_at = $2", last.Position, last.ReceivedAt)
		return err
	})
	if err != nil {
		return err
	}
	l.head, l.pending = last.Position, l.pending[:0]
	l.show(l.head, last.ReceivedAt)
	return nil
}

func (l *loader) ensureMonths(ctx context.Context) error {
	for _, e := range l.pending {
		month := e.OccurredAt.Format("2006-01-02")[:7] + "-01"
		if l.months[month] {
			continue
		}
		if _, err := l.conn.Exec(ctx, "SELECT create_events_month($1::text::date)", month); err != nil {
			return fmt.Errorf("making the partition of %s: %w", month, err)
		}
		l.months[month] = true
	}
	return nil
}
