package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"rapport/store/internal/dbsqlc"
)

// ReactionFollower is the follower that deliveries come from. An erasure holds its row, so
// that no step of it brings back what is erased meanwhile.
const ReactionFollower = "reaction"

// DeliveryAttempts is how often a delivery is tried where it says nothing else: for about
// nine hours.
const DeliveryAttempts = 20

// Delivery is something that a destination is to be told.
type Delivery struct {
	// ID names it for ever, and is the webhook-id of each attempt. One that is no such
	// name (1 to 200 of the characters A-Z a-z 0-9 _ - . : /) stands for its hash.
	ID          string
	Rule        string       // that fired
	Destination string       // its name; where that is, and its secrets, are in no table
	Position    int64        // of the event that it tells of, or a session's last_position; 0 if there is none
	Subject     Conversation // that it tells of, and with which it is erased; any part may be empty
	Body        json.RawMessage
	MaxAttempts int // DeliveryAttempts if 0
}

// DeliveryJob is what River has of a delivery: nothing of anybody's, since what is in the
// index of its args stays there when the row is gone.
type DeliveryJob struct {
	ID string `json:"id" river:"unique"`
}

// Kind is the kind of the job.
func (DeliveryJob) Kind() string { return "delivery" }

// enqueuer is the part of River that only enqueues, in whatever transaction. It tells
// River's workers of every enqueuing, and not of one in a while only: who is not told
// polls.
var enqueuer = sync.OnceValues(func() (*river.Client[pgx.Tx], error) {
	return river.NewClient(riverpgxv5.New(nil), &river.Config{
		Logger: slog.New(slog.DiscardHandler), FetchCooldown: river.FetchCooldownMin,
	})
})

// Enqueue has deliveries made, once the step is committed. One whose ID was enqueued before
// is let go: while that waits, is under way or is dead, and for a day after it was
// done. It tells how many were new.
func (tx *Tx) Enqueue(ctx context.Context, deliveries ...Delivery) (int, error) {
	return enqueue(ctx, tx.q, deliveries)
}

// Enqueue is that of a Tx, in a transaction of its own.
func (db *DB) Enqueue(ctx context.Context, deliveries ...Delivery) (added int, err error) {
	err = db.inTx(ctx, func(q *dbsqlc.Queries) error {
		added, err = enqueue(ctx, q, deliveries)
		return err
	})
	return added, err
}

// ErrErasedMeanwhile says that something was erased since it was read what is to be delivered.
var ErrErasedMeanwhile = errors.New("something was erased meanwhile: start again, what was enqueued is not enqueued twice")

// EnqueueOf is Enqueue of what was read while the log had a generation: see LiveState. It
// is ErrErasedMeanwhile if the log has another one now.
func (db *DB) EnqueueOf(ctx context.Context, generation int64, deliveries ...Delivery) (added int, err error) {
	err = db.inTx(ctx, func(q *dbsqlc.Queries) error {
		if err := q.ReactionAwait(ctx); err != nil {
			return err
		}
		head, err := q.LogHeadGet(ctx)
		if err != nil {
			return err
		}
		if head.Generation != generation {
			return ErrErasedMeanwhile
		}
		added, err = enqueue(ctx, q, deliveries)
		return err
	})
	return added, err
}

func enqueue(ctx context.Context, q *dbsqlc.Queries, deliveries []Delivery) (int, error) {
	wanted, params := jobsOf(deliveries)
	if len(wanted) == 0 {
		return 0, nil
	}
	jobs, err := enqueuer()
	if err != nil {
		return 0, fmt.Errorf("setting up River: %w", err)
	}
	tx, ok := q.Tx()
	if !ok {
		return 0, errors.New("deliveries are enqueued in a transaction only")
	}
	results, err := jobs.InsertManyTx(ctx, tx, params)
	if err != nil {
		return 0, fmt.Errorf("enqueuing deliveries: %w", err)
	}
	var rows dbsqlc.DeliveryInsertManyParams
	for _, result := range results {
		if !result.UniqueSkippedAsDuplicate {
			// By its args, for the results may be in any order.
			if err := addDelivery(&rows, result.Job, wanted); err != nil {
				return 0, err
			}
		}
	}
	if len(rows.JobIds) == 0 {
		return 0, nil
	}
	if err := q.DeliveryInsertMany(ctx, rows); err != nil {
		return 0, fmt.Errorf("enqueuing deliveries: %w", err)
	}
	return len(rows.JobIds), nil
}

// jobsOf are the deliveries by their webhook-id, each once, and the jobs of them.
func jobsOf(deliveries []Delivery) (map[string]Delivery, []river.InsertManyParams) {
	wanted := make(map[string]Delivery, len(deliveries))
	var params []river.InsertManyParams
	for _, d := range deliveries {
		id := webhookID(d.ID)
		if _, twice := wanted[id]; twice {
			continue
		}
		wanted[id] = d
		attempts := d.MaxAttempts
		if attempts == 0 {
			attempts = DeliveryAttempts
		}
		params = append(params, river.InsertManyParams{Args: DeliveryJob{ID: id}, InsertOpts: &river.InsertOpts{
			Queue: DeliveryQueue(d.Destination), MaxAttempts: attempts,
			UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()},
		}})
	}
	return wanted, params
}

func addDelivery(rows *dbsqlc.DeliveryInsertManyParams, job *rivertype.JobRow, wanted map[string]Delivery) error {
	var args DeliveryJob
	if err := json.Unmarshal(job.EncodedArgs, &args); err != nil {
		return fmt.Errorf("enqueuing deliveries: %w", err)
	}
	d := wanted[args.ID]
	rows.JobIds = append(rows.JobIds, job.ID)
	rows.DeliveryIds = append(rows.DeliveryIds, args.ID)
	rows.Rules = append(rows.Rules, storable(d.Rule))
	rows.Destinations = append(rows.Destinations, storable(d.Destination))
	rows.Positions = append(rows.Positions, d.Position)
	rows.AgentIds = append(rows.AgentIds, storable(d.Subject.AgentID))
	rows.SessionIds = append(rows.SessionIds, storable(d.Subject.SessionID))
	rows.Bodies = append(rows.Bodies, append([]byte{}, d.Body...))
	return nil
}

var (
	webhookIDForm = regexp.MustCompile(`^[A-Za-z0-9_\-.:/]{1,200}$`)
	queueForm     = regexp.MustCompile(`^[a-z0-9]+([_-]?[a-z0-9]+)*$`)
)

// webhookID is an id that can stand in a header.
func webhookID(id string) string {
	if webhookIDForm.MatchString(id) {
		return id
	}
	return "sha256:" + hashed(id)
}

// DeliveryQueue is the name of River's queue of a destination.
func DeliveryQueue(destination string) string {
	const longest = 40 // River takes 64 characters
	if len(destination) <= longest && queueForm.MatchString(destination) {
		return "to_" + destination
	}
	return "hash_" + hashed(destination)[:longest]
}

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// DeliveryOf is what a job has to deliver. ok is false if that is erased.
func (db *DB) DeliveryOf(ctx context.Context, job int64) (d Delivery, ok bool, err error) {
	row, err := db.q.DeliveryGet(ctx, job)
	if errors.Is(err, pgx.ErrNoRows) {
		return Delivery{}, false, nil
	}
	if err != nil {
		return Delivery{}, false, fmt.Errorf("reading a delivery: %w", err)
	}
	return Delivery{
		ID: row.DeliveryID, Rule: row.Rule, Destination: row.Destination, Position: row.Position,
		Subject: Conversation{AgentID: row.AgentID, SessionID: row.SessionID}, Body: row.Body,
	}, true, nil
}

// deliveryConns are the connections of those who deliver: one of them listens, and none is
// held while something is sent.
const deliveryConns = 4

// DeliveryPool opens connections for those who deliver, so that neither they nor the reads
// keep each other waiting. The caller closes it.
func (db *DB) DeliveryPool(ctx context.Context) (*pgxpool.Pool, error) {
	config := db.pool.Config()
	config.MaxConns = deliveryConns
	config.ConnConfig.Tracer = nil // they ask every other second
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	return pool, nil
}

// ErrRiverSchema says that River's tables are not those that this binary works with.
var ErrRiverSchema = errors.New("the tables of River are of another version than this rapport's: " +
	"run `rapport migrate` as the schema's owner, with the same rapport")

// CheckRiver is ErrRiverSchema unless River's tables are of the version of this binary's
// River.
func (db *DB) CheckRiver(ctx context.Context) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(db.pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("setting up River: %w", err)
	}
	version, err := db.q.RiverVersion(ctx)
	if err != nil {
		return fmt.Errorf("reading the version of River's tables: %w", err)
	}
	if all := migrator.AllVersions(); version != int64(all[len(all)-1].Version) {
		return ErrRiverSchema
	}
	return nil
}

// DeliveryCount is how many deliveries a destination has.
type DeliveryCount struct {
	Waiting int64 // or under way
	Dead    int64
}

// DeliveryTally is how many deliveries each destination has that has any.
func (db *DB) DeliveryTally(ctx context.Context) (map[string]DeliveryCount, error) {
	rows, err := db.q.DeliveryTally(ctx)
	if err != nil {
		return nil, fmt.Errorf("counting the deliveries: %w", err)
	}
	tally := make(map[string]DeliveryCount, len(rows))
	for _, row := range rows {
		tally[row.Destination] = DeliveryCount{Waiting: row.Waiting, Dead: row.Dead}
	}
	return tally, nil
}
