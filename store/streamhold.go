package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rapport/store/internal/dbsqlc"
)

// StreamHold is the right to send a stream, which one process has at a time. It is an
// advisory lock, so it ends with its connection: when the process ends, is cut off, or
// is found to be frozen. The position moves on the same connection: whoever has lost the
// lock can't move it any more.
type StreamHold struct {
	name string

	mu   sync.Mutex // a connection is used by one at a time
	conn *pgx.Conn
}

// holdTimeout is for how long a statement of a hold may take.
const holdTimeout = 5 * time.Second

// StreamClaim asks for a stream.
type StreamClaim struct {
	Name        string        // 1 to 40 of a to z, 0 to 9 and -
	Destination string        // without secrets: for whoever lists the streams
	Start       StreamStart   // of a stream that is new
	Patience    time.Duration // a holder who was silent for longer is frozen, and loses the stream: see StreamHold.Beat
}

// HoldStream takes a stream. It returns nil if another process has it, and ends the
// connection of one that is frozen.
func (db *DB) HoldStream(ctx context.Context, claim StreamClaim) (*StreamHold, error) {
	hold, err := db.tryStream(ctx, claim.Name)
	if err != nil {
		return nil, err
	}
	if hold == nil {
		_, err := db.q.StreamHolderEnd(ctx, dbsqlc.StreamHolderEndParams{
			Name: claim.Name, OlderThan: pgtype.Interval{Microseconds: claim.Patience.Microseconds(), Valid: true},
		})
		if err != nil {
			return nil, fmt.Errorf("looking who sends the stream %q: %w", claim.Name, err)
		}
		return nil, nil
	}
	err = hold.use(func(q *dbsqlc.Queries) error {
		return q.StreamBegin(ctx, dbsqlc.StreamBeginParams{
			Name: claim.Name, Destination: claim.Destination, AtHead: claim.Start.AtHead, Position: claim.Start.Position,
		})
	})
	if err != nil {
		hold.Release()
		return nil, fmt.Errorf("beginning the stream %q: %w", claim.Name, err)
	}
	return hold, nil
}

// tryStream takes the lock on a connection that leaves the pool with it; nil if another
// process has it.
func (db *DB) tryStream(ctx context.Context, name string) (*StreamHold, error) {
	pooled, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("taking the stream %q: %w", name, err)
	}
	held, err := dbsqlc.New(pooled).StreamTryLock(ctx, name)
	if err != nil || !held {
		pooled.Release()
		if err != nil {
			return nil, fmt.Errorf("taking the stream %q: %w", name, err)
		}
		return nil, nil
	}
	return &StreamHold{name: name, conn: pooled.Hijack()}, nil
}

// use runs do on the connection, for a short time.
func (h *StreamHold) use(do func(*dbsqlc.Queries) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return do(dbsqlc.New(h.conn))
}

// Beat tells the others that this process is alive. An error means that the stream is
// lost, or may be.
func (h *StreamHold) Beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	return h.use(func(q *dbsqlc.Queries) error { return q.KeepAlive(ctx) })
}

// Look tells the position of the stream and the head of the log.
func (h *StreamHold) Look(ctx context.Context) (position, head int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	err = h.use(func(q *dbsqlc.Queries) error {
		row, err := q.StreamLook(ctx, h.name)
		position, head = row.Position, row.Head
		return noRow(err, ErrNoStream)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("reading how far the stream %q has come: %w", h.name, err)
	}
	return position, head, nil
}

// StreamMove is a step of a stream.
type StreamMove struct {
	From, To int64
	Sent     int64            // events that were acknowledged
	Omitted  []StreamOmission // of them, those that went without their content
}

// Move moves the position. It reports false, and changes nothing, if the position is
// not From any more, since somebody has set it.
func (h *StreamHold) Move(ctx context.Context, move StreamMove) (moved bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	err = pgx.BeginFunc(ctx, h.conn, func(tx pgx.Tx) error {
		q := dbsqlc.New(tx)
		n, err := q.StreamMove(ctx, dbsqlc.StreamMoveParams{
			Name: h.name, FromPosition: move.From, ToPosition: move.To, Sent: move.Sent, Omitted: int64(len(move.Omitted)),
		})
		moved = n > 0
		if err != nil || !moved || len(move.Omitted) == 0 {
			return err
		}
		positions, sizes := make([]int64, len(move.Omitted)), make([]int64, len(move.Omitted))
		for i, o := range move.Omitted {
			positions[i], sizes[i] = o.Position, o.Bytes
		}
		if err := q.StreamOmit(ctx, dbsqlc.StreamOmitParams{Stream: h.name, Positions: positions, Sizes: sizes}); err != nil {
			return err
		}
		return q.StreamOmissionsForget(ctx, h.name)
	})
	if err != nil {
		return false, fmt.Errorf("moving the stream %q: %w", h.name, err)
	}
	return moved, nil
}

// Release gives the stream to others.
func (h *StreamHold) Release() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = dbsqlc.New(h.conn).StreamUnlock(ctx, h.name) // the server may take a moment to notice the end of a connection
	_ = h.conn.Close(ctx)
}

// noRow is what to tell where a row that was asked for is not there.
func noRow(err, otherwise error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return otherwise
	}
	return err
}
