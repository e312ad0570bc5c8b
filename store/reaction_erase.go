package store

import (
	"context"

	"rapport/store/internal/dbsqlc"
)

// eraseReactions deletes what the rules remember of what a batch erases, in its
// transaction.
func eraseReactions(ctx context.Context, q *dbsqlc.Queries, b eraseBatch) error {
	positions := b.positions
	if positions == nil {
		positions = []int64{}
	}
	return q.ReactionErase(ctx, dbsqlc.ReactionEraseParams{
		SessionIds: orNone(b.sessions), AgentIds: orNone(b.agents), Positions: positions,
	})
}
