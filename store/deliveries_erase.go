package store

import (
	"context"
	"fmt"

	"rapport/store/internal/dbsqlc"
)

// eraseDeliveries deletes those that tell of what a batch erases, in its transaction. One
// that is on its way just now can't be called back, but is not tried again.
func eraseDeliveries(ctx context.Context, q *dbsqlc.Queries, b eraseBatch) (int64, error) {
	return q.DeliveryEraseMany(ctx, dbsqlc.DeliveryEraseManyParams{
		SessionIds: orNone(b.sessions), AgentIds: orNone(b.agents), Positions: b.positions,
	})
}

// dropDeliveries deletes those that tell of an agent, or of a session, also where the log
// has no event of it (any more), and what the rules remember of it. A user's are found by
// the conversations.
func (e *eraser) dropDeliveries(ctx context.Context) error {
	r := &e.plan.Request
	var of dbsqlc.DeliveryEraseOfParams
	switch r.Kind {
	case EraseSession:
		of.SessionID, of.AgentID = r.SessionID, r.ofAgent()
	case EraseAgent:
		of.AgentID = r.AgentID
	default:
		return nil
	}
	err := e.again(ctx, func() error {
		return e.db.asEraser(ctx, func(q *dbsqlc.Queries, asServer func() error) error {
			if err := q.ReactionHold(ctx); err != nil {
				return err
			}
			if err := asServer(); err != nil {
				return err
			}
			n, err := q.DeliveryEraseOf(ctx, of)
			e.done.Deliveries += n
			if err != nil {
				return err
			}
			return q.ReactionEraseOf(ctx, dbsqlc.ReactionEraseOfParams(of))
		})
	})
	if err != nil {
		return fmt.Errorf("deleting deliveries: %w", err)
	}
	return nil
}
