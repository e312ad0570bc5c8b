package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"rapport"
	"rapport/store"
	"rapport/store/storetest"
)

// deliveryOf tells of an event at a position.
func deliveryOf(id, agent, session string, position int64) store.Delivery {
	return store.Delivery{
		ID: id, Rule: "rule", Destination: "crm", Position: position,
		Subject: store.Conversation{AgentID: agent, SessionID: session}, Body: []byte(`{"said":"a secret"}`),
	}
}

func enqueue(t *testing.T, db *storetest.Database, deliveries ...store.Delivery) {
	t.Helper()
	if n, err := db.Enqueue(t.Context(), deliveries...); err != nil || n != len(deliveries) {
		t.Fatal(n, err)
	}
}

// enqueued are the ids of all deliveries that have a job.
func enqueued(t *testing.T, db *storetest.Database) []string {
	t.Helper()
	return storetest.Query(t, db, "rapport_server", pgx.RowTo[string],
		"SELECT d.delivery_id FROM deliveries d FULL JOIN river_job j ON j.id = d.job_id ORDER BY 1")
}

func TestADeliveryIsEnqueuedWithTheStepOrNotAtAll(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.Exec(t, "rapport_owner", "INSERT INTO followers (name) VALUES ($1) ON CONFLICT DO NOTHING", store.ReactionFollower)
	appendAll(t, db, message("hello", noon))
	failed := errors.New("failed")
	for _, want := range []error{failed, nil} {
		_, err := db.Follow(t.Context(), store.ReactionFollower, rapport.DefaultSettings(), 10,
			func(ctx context.Context, tx *store.Tx, events []*rapport.Event) error {
				n, err := tx.Enqueue(ctx, deliveryOf("one", "a", "s", events[0].Position))
				if err != nil || n != 1 {
					t.Errorf("%d are new, %v", n, err)
				}
				return want
			})
		if !errors.Is(err, want) {
			t.Fatal(err)
		}
		if ids := enqueued(t, db); len(ids) != map[bool]int{true: 1, false: 0}[want == nil] {
			t.Errorf("after a step that ended with %v: %v", want, ids)
		}
	}
}

func TestAnErasureTakesDeliveriesInAnyState(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]store.ErasureRequest{
		"session": {Kind: store.EraseSession, SessionID: "s"},
		"user":    {Kind: store.EraseUser, UserID: "u"},
		"agent":   {Kind: store.EraseAgent, AgentID: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			mine, loose, other := message("mine", noon), message("loose", noon), message("other", noon)
			mine.UserID, loose.UserID, loose.SessionID, other.SessionID, other.AgentID = "u", "u", "", "t", "b"
			appendAll(t, db, mine, loose, other)
			db.Exec(t, "rapport_server", "UPDATE followers SET position = 3 WHERE name = 'sessions'")
			enqueue(t, db, deliveryOf("waiting", "a", "s", 1), deliveryOf("running", "a", "s", 1), deliveryOf("dead", "a", "s", 1),
				deliveryOf("done", "a", "s", 1), deliveryOf("loose", "a", "", 2), deliveryOf("other", "b", "t", 3))
			db.Exec(t, "rapport_server", `UPDATE river_job SET state = CASE args ->> 'id' WHEN 'running' THEN 'running' WHEN 'dead' THEN 'discarded'
				WHEN 'done' THEN 'completed' ELSE 'available' END::river_job_state,
				finalized_at = CASE WHEN args ->> 'id' IN ('dead', 'done') THEN now() END`)
			request.By = "test"
			plan, err := db.PlanErasure(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			done, err := db.Erase(t.Context(), plan, nil)
			if err != nil {
				t.Fatal(err)
			}
			left := []string{"other"}
			if name == "session" {
				left = []string{"loose", "other"}
			}
			if diff := cmp.Diff(left, enqueued(t, db)); diff != "" || done.Deliveries != int64(6-len(left)) {
				t.Errorf("%d were deleted; left are %s", done.Deliveries, diff)
			}
			db.Exec(t, "rapport_owner", "ANALYZE deliveries, river_job")
			if stats := storetest.Query(t, db, "rapport_owner", pgx.RowTo[string],
				`SELECT attname::text FROM pg_stats WHERE tablename IN ('deliveries', 'river_job')
				 AND attname IN ('body', 'session_id', 'agent_id', 'delivery_id', 'args', 'errors')`); len(stats) != 0 {
				t.Errorf("the planner knows values of %v", stats)
			}
		})
	}
}

func TestAnErasureWaitsForAStepOfTheRules(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.Exec(t, "rapport_owner", "INSERT INTO followers (name) VALUES ($1) ON CONFLICT DO NOTHING", store.ReactionFollower)
	appendAll(t, db, message("hello", noon))
	db.Exec(t, "rapport_server", "UPDATE followers SET position = 1 WHERE name = 'sessions'")
	erased := make(chan error, 1)
	_, err := db.Follow(t.Context(), store.ReactionFollower, rapport.DefaultSettings(), 10,
		func(ctx context.Context, tx *store.Tx, events []*rapport.Event) error {
			plan, err := db.PlanErasure(ctx, store.ErasureRequest{Kind: store.EraseUser, UserID: "u", By: "test"})
			if err != nil || !plan.IsEmpty() {
				t.Error(plan, err)
			}
			if plan, err = db.PlanErasure(ctx, store.ErasureRequest{Kind: store.EraseSession, SessionID: "s", AgentID: "a", By: "test"}); err != nil {
				return err
			}
			go func() {
				_, err := db.Erase(context.WithoutCancel(ctx), plan, nil)
				erased <- err
			}()
			awaitWaiting(t, db)
			_, err = tx.Enqueue(ctx, deliveryOf("late", "a", "s", events[0].Position))
			return err
		})
	if err = errors.Join(err, <-erased); err != nil {
		t.Fatal(err)
	}
	if ids := enqueued(t, db); len(ids) != 0 {
		t.Errorf("%v have come back", ids)
	}
}

// awaitWaiting waits until somebody waits for a lock.
func awaitWaiting(t *testing.T, db *storetest.Database) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		waiting := storetest.Query(t, db, "rapport_server", pgx.RowTo[int64],
			"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
		if waiting[0] > 0 {
			return
		}
	}
	t.Error("nobody waits for the step")
}

func TestDeliveriesAboutWhatIsTooOldGo(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	appendAll(t, db, message("old", noon.AddDate(0, -5, 0)), message("new", noon.AddDate(0, -1, 0)))
	db.Exec(t, "rapport_owner", "UPDATE followers SET position = 2 WHERE name <> 'search'")
	enqueue(t, db, deliveryOf("old", "a", "s", 1), deliveryOf("new", "a", "s", 2), deliveryOf("old alert", "a", "", 0), deliveryOf("new alert", "a", "", 0))
	db.Exec(t, "rapport_owner", "UPDATE deliveries SET enqueued_at = CASE WHEN delivery_id LIKE 'sha256%' OR position = 0 THEN $1::timestamptz ELSE $2 END",
		noon.AddDate(0, -5, 0), noon)
	db.Exec(t, "rapport_owner", "UPDATE deliveries SET enqueued_at = $1 WHERE job_id = (SELECT max(job_id) FROM deliveries)", noon)
	if done, err := db.Retain(t.Context(), store.Retention{Messages: 60 * 24 * time.Hour}, "test", noon); err != nil || done.Postponed || !done.HorizonMoved {
		t.Fatal(done, err)
	}
	left := storetest.Query(t, db, "rapport_server", pgx.RowTo[int64], "SELECT position FROM deliveries ORDER BY 1")
	if diff := cmp.Diff([]int64{0, 2}, left); diff != "" {
		t.Error(diff)
	}
}

// riverTables tell all of River's tables but the names that Postgres makes.
const riverTables = `
SELECT format('%s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) AS line
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relname LIKE 'river%' AND c.relkind = 'r'
UNION ALL SELECT format('%s %s %s %s', c.relname, c.relpersistence, t.contype, pg_get_constraintdef(t.oid))
FROM pg_class c JOIN pg_constraint t ON t.conrelid = c.oid WHERE c.relname LIKE 'river%' AND c.relkind = 'r' AND t.contype <> 'n'
UNION ALL SELECT format('%s %s', i.tablename, regexp_replace(i.indexdef, ' river_migration_\w+ ', ' ')) FROM pg_indexes i WHERE i.tablename LIKE 'river%'
UNION ALL SELECT format('%s %s %s', p.proname, pg_get_function_arguments(p.oid), regexp_replace(p.prosrc, '\s+', ' ', 'g')) FROM pg_proc p WHERE p.proname LIKE 'river%'
UNION ALL SELECT format('%s %s', t.typname, e.enumlabel) FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid WHERE t.typname LIKE 'river%'
UNION ALL SELECT format('version %s %s', line, version) FROM river_migration
ORDER BY line`

func TestRiversTablesAreAsItWouldMakeThem(t *testing.T) {
	t.Parallel()
	ours, its := storetest.New(t), storetest.NewEmpty(t, "template0")
	pool, err := pgxpool.New(t.Context(), its.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil); err != nil {
		t.Fatal(err)
	}
	tell := func(db *storetest.Database) string {
		return strings.Join(storetest.Query(t, db, "rapport_owner", pgx.RowTo[string], riverTables), "\n")
	}
	if diff := cmp.Diff(tell(its), tell(ours)); diff != "" {
		t.Errorf("(-River +ours)\n%s", diff)
	}
	if err := ours.CheckRiver(t.Context()); err != nil {
		t.Error(err)
	}
	for _, change := range []string{"DELETE FROM river_migration WHERE version = 8", "INSERT INTO river_migration (line, version) VALUES ('main', 8), ('main', 9)"} {
		ours.Exec(t, "rapport_owner", change)
		if err := ours.CheckRiver(t.Context()); !errors.Is(err, store.ErrRiverSchema) {
			t.Errorf("after %s: %v", change, err)
		}
	}
}

func TestEveryDestinationHasAQueueOfItsOwn(t *testing.T) {
	t.Parallel()
	queues := make(map[string]string)
	for _, name := range []string{
		"crm", "CRM", "slack-ops", "slack_ops", "slack ops", "", "é", "-", "a--b", "upkeep", "default", strings.Repeat("a", 40), strings.Repeat("a", 41),
	} {
		queue := store.DeliveryQueue(name)
		if other, taken := queues[queue]; taken {
			t.Errorf("%q and %q share %s", name, other, queue)
		}
		queues[queue] = name
	}
	for queue, name := range queues {
		if len(queue) > 64 || strings.ToLower(queue) != queue {
			t.Errorf("%q: River takes no queue %s", name, queue)
		}
	}
	if queue := store.DeliveryQueue("crm"); queue != fmt.Sprint("to_", "crm") {
		t.Error(queue)
	}
}

func TestNothingIsEnqueuedOfWhatWasErasedMeanwhile(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	state, err := db.LiveState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	delivery := store.Delivery{ID: "r:d:1", Rule: "r", Destination: "d", Body: []byte(`{}`)}
	if added, err := db.EnqueueOf(t.Context(), state.Generation, delivery); err != nil || added != 1 {
		t.Errorf("%d, %v", added, err)
	}
	db.Exec(t, "rapport_owner", "UPDATE log_head SET generation = generation + 1")
	delivery.ID = "r:d:2"
	if added, err := db.EnqueueOf(t.Context(), state.Generation, delivery); !errors.Is(err, store.ErrErasedMeanwhile) || added != 0 {
		t.Errorf("%d, %v", added, err)
	}
}
