package store

import (
	"context"
	"fmt"
	"time"

	"rapport/store/internal/dbsqlc"
)

// DeadDelivery is a delivery that was tried as often as it may be. It is kept until somebody
// has it tried again, or deletes it.
type DeadDelivery struct {
	Job         int64 // names it
	ID          string
	Rule        string
	Destination string
	Position    int64
	Subject     Conversation
	Attempts    int
	Error       string // of the last attempt
	FailedAt    time.Time
}

// DeadDeliveryPlace is behind which dead delivery a page begins. Position -1 begins.
type DeadDeliveryPlace struct{ Position, Job int64 }

// DeadDeliveryList is a page of dead deliveries, those of the newest events first. Where
// agents are named, it is of theirs.
func (db *DB) DeadDeliveryList(ctx context.Context, behind DeadDeliveryPlace, limit int, agents ...string) ([]DeadDelivery, error) {
	rows, err := db.q.DeadDeliveryList(ctx, dbsqlc.DeadDeliveryListParams{
		BeforePosition: behind.Position, BeforeJob: behind.Job, MaxRows: int32(limit), Agents: orNone(agents),
	})
	if err != nil {
		return nil, fmt.Errorf("reading the dead deliveries: %w", err)
	}
	dead := make([]DeadDelivery, len(rows))
	for i, row := range rows {
		dead[i] = DeadDelivery{
			Job: row.JobID, ID: row.DeliveryID, Rule: row.Rule, Destination: row.Destination, Position: row.Position,
			Subject:  Conversation{AgentID: row.AgentID, SessionID: row.SessionID},
			Attempts: int(row.Attempt), Error: row.Error,
		}
		if row.FinalizedAt != nil {
			dead[i].FailedAt = *row.FinalizedAt
		}
	}
	return dead, nil
}

// moreAttempts are those that a dead delivery has when it is to be tried again.
const moreAttempts = 5

// RetryDeadDeliveries has the dead deliveries of jobs tried again, at once and some times
// more, and records who wanted it. It tells which of them there are.
func (db *DB) RetryDeadDeliveries(ctx context.Context, jobs []int64, actor string) ([]int64, error) {
	return db.changeDeadDeliveries(ctx, "dead_letter.retry", "retrying", listed(jobs), actor, func(q *dbsqlc.Queries) ([]int64, error) {
		return q.DeadDeliveryRetryMany(ctx, dbsqlc.DeadDeliveryRetryManyParams{JobIds: jobs, MoreAttempts: moreAttempts})
	})
}

// RetryAllDeadDeliveries has all of them tried again, and tells how many.
func (db *DB) RetryAllDeadDeliveries(ctx context.Context, actor string) (int64, error) {
	found, err := db.changeDeadDeliveries(ctx, "dead_letter.retry", "retrying", "all", actor, func(q *dbsqlc.Queries) ([]int64, error) {
		return q.DeadDeliveryRetryMany(ctx, dbsqlc.DeadDeliveryRetryManyParams{Every: true, MoreAttempts: moreAttempts})
	})
	return int64(len(found)), err
}

// DeleteDeadDeliveries deletes the dead deliveries of jobs for ever, and records who wanted
// it. It tells which of them there were.
func (db *DB) DeleteDeadDeliveries(ctx context.Context, jobs []int64, actor string) ([]int64, error) {
	return db.changeDeadDeliveries(ctx, "dead_letter.delete", "deleted", listed(jobs), actor, func(q *dbsqlc.Queries) ([]int64, error) {
		return q.DeadDeliveryDeleteMany(ctx, dbsqlc.DeadDeliveryDeleteManyParams{JobIds: jobs})
	})
}

// DeleteAllDeadDeliveries deletes all of them for ever, and tells how many there were.
func (db *DB) DeleteAllDeadDeliveries(ctx context.Context, actor string) (int64, error) {
	found, err := db.changeDeadDeliveries(ctx, "dead_letter.delete", "deleted", "all", actor, func(q *dbsqlc.Queries) ([]int64, error) {
		return q.DeadDeliveryDeleteMany(ctx, dbsqlc.DeadDeliveryDeleteManyParams{Every: true})
	})
	return int64(len(found)), err
}

// changeDeadDeliveries changes some, and records it if there were any.
func (db *DB) changeDeadDeliveries(ctx context.Context, action, verb, subject, actor string, change func(*dbsqlc.Queries) ([]int64, error)) (found []int64, err error) {
	err = db.inTx(ctx, func(q *dbsqlc.Queries) error {
		if found, err = change(q); err != nil || len(found) == 0 {
			return err
		}
		return audit(ctx, q, AuditEntry{
			Actor: actor, Action: action, Subject: "deliveries: " + subject, Details: map[string]any{verb: len(found)},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("changing dead deliveries: %w", err)
	}
	return found, nil
}
