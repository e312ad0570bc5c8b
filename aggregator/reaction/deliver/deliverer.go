package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"rapport/store"
)

// Deliverer makes the deliveries that are enqueued. Any number of processes may have one:
// each delivery is made by one of them at a time.
type Deliverer struct {
	db     *store.DB
	logger *slog.Logger
	counts *Metrics
	tempo  tempo
	lines  *lines

	reloading sync.Mutex
	changed   chan struct{} // holds one token after Reload
}

// New makes a Deliverer. It is an error if the settings are wrong, which tells of all that
// is.
func New(db *store.DB, settings Settings, metrics *Metrics, logger *slog.Logger) (*Deliverer, error) {
	return newDeliverer(db, settings, metrics, logger, usual)
}

func newDeliverer(db *store.DB, settings Settings, metrics *Metrics, logger *slog.Logger, t tempo) (*Deliverer, error) {
	d := &Deliverer{
		db: db, logger: logger.With("service", "deliveries"), counts: metrics, tempo: t, lines: metrics.lines,
		changed: make(chan struct{}, 1),
	}
	if err := d.Reload(settings); err != nil {
		return nil, err
	}
	return d, nil
}

// Check tells all that is wrong with settings.
func Check(settings Settings) error {
	_, err := newLines(settings, usual, nil)
	return err
}

// Reload takes other settings; if they are wrong, it keeps those it has. Deliveries to a
// destination that is there no more wait until it is there again.
func (d *Deliverer) Reload(settings Settings) error {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	byQueue, err := newLines(settings, d.tempo, d.lines.now())
	if err != nil {
		return err
	}
	for _, line := range byQueue {
		d.counts.begin(line.destination.Name)
	}
	d.lines.replace(byQueue)
	select {
	case d.changed <- struct{}{}:
	default:
	}
	return nil
}

const (
	startPause = 2 * time.Second // before a start that failed is tried again
	hardStop   = time.Second     // for the database to be told, at a stop
)

// Run delivers until the context ends, and then returns nil. A database that is away is
// waited for. It is store.ErrRiverSchema if the database is not made for it.
func (d *Deliverer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := d.run(ctx)
		if errors.Is(err, store.ErrRiverSchema) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			d.logger.Error("deliveries can't begin, trying again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(startPause):
			}
		}
	}
	return nil
}

func (d *Deliverer) run(ctx context.Context) error {
	if err := d.db.CheckRiver(ctx); err != nil {
		return err
	}
	pool, err := d.db.DeliveryPool(ctx)
	if err != nil {
		return err
	}
	defer closeSoon(pool)
	client, err := d.newClient(pool)
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return fmt.Errorf("starting River: %w", err)
	}
	defer d.awaitStop(client)
	have := make(map[string]int)
	for {
		var again <-chan time.Time
		switch isDone, err := d.keepQueues(ctx, client, have); {
		case err != nil && ctx.Err() == nil:
			d.logger.Error("a destination can't be served, trying again", "error", err)
			again = time.After(startPause)
		case !isDone:
			again = time.After(removeWithin)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.changed:
		case <-again:
		}
	}
}

// upkeep is a queue without jobs: River works only where it has one.
const upkeep = "upkeep"

// keptDone is for how long a delivery that was made is remembered, so that it isn't made
// again.
const keptDone = 24 * time.Hour

// fetchCooldown is between two looks for deliveries to one destination, so that each of its
// workers makes 50 a second at most.
const fetchCooldown = 20 * time.Millisecond

func (d *Deliverer) newClient(pool *pgxpool.Pool) (*river.Client[pgx.Tx], error) {
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, &worker{
		db: d.db, lines: d.lines, counts: d.counts, tempo: d.tempo, logger: d.logger,
	}); err != nil {
		return nil, fmt.Errorf("setting up River: %w", err)
	}
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:               map[string]river.QueueConfig{upkeep: {MaxWorkers: 1, FetchPollInterval: time.Hour}},
		Workers:              workers,
		Logger:               quiet(d.logger),
		FetchCooldown:        fetchCooldown,
		FetchPollInterval:    d.tempo.poll,
		JobTimeout:           d.tempo.jobTimeout,
		RescueStuckJobsAfter: d.tempo.rescueAfter,
		SoftStopTimeout:      d.tempo.softStop,
		// What is dead is kept until somebody deletes it.
		DiscardedJobRetentionPeriod: -1,
		CancelledJobRetentionPeriod: -1,
		CompletedJobRetentionPeriod: keptDone,
		ReindexerIndexNames:         []string{}, // which only an owner may do
		TestOnly:                    d.tempo.testOnly,
	})
	if err != nil {
		return nil, fmt.Errorf("setting up River: %w", err)
	}
	return client, nil
}

// going is what a queue has instead of workers while it ends what is under way.
const going = -1

// keepQueues has the client work as the lines say; have are the workers of the queues that
// it has. It is to be called again soon unless isDone: a queue that goes or changes first
// ends what is under way in it, for which the others do not wait.
func (d *Deliverer) keepQueues(ctx context.Context, client *river.Client[pgx.Tx], have map[string]int) (isDone bool, err error) {
	want := d.lines.workers()
	err = addQueues(ctx, client, have, want)
	isDone = true
	for queue, workers := range maps.Clone(have) {
		if want[queue] == workers {
			continue
		}
		isDone = false
		have[queue] = going
		if removeSoon(ctx, client, queue) {
			delete(have, queue)
		}
	}
	return isDone, err
}

func addQueues(ctx context.Context, client *river.Client[pgx.Tx], have, want map[string]int) error {
	var failed []error
	for _, queue := range slices.Sorted(maps.Keys(want)) {
		if have[queue] != 0 {
			continue
		}
		if err := client.Queues().Add(queue, river.QueueConfig{MaxWorkers: want[queue]}); err != nil {
			_ = client.Queues().Remove(ctx, queue) // River has it, though it does not run
			failed = append(failed, err)
			continue
		}
		have[queue] = want[queue]
	}
	return errors.Join(failed...)
}

// removeWithin is for how long a queue that goes is waited for before others have their
// turn.
const removeWithin = 50 * time.Millisecond

// removeSoon removes a queue, and reports whether it is gone. If not, it fetches no more,
// and is to be removed again.
func removeSoon(ctx context.Context, client *river.Client[pgx.Tx], queue string) bool {
	ctx, cancel := context.WithTimeout(ctx, removeWithin)
	defer cancel()
	return client.Queues().Remove(ctx, queue) == nil
}

// awaitStop waits for what is under way, but not for ever: the database may hang.
func (d *Deliverer) awaitStop(client *river.Client[pgx.Tx]) {
	select {
	case <-client.Stopped():
	case <-time.After(d.tempo.softStop + hardStop):
	}
}

// closeSoon closes a pool. Connections that hang are left to the end of the process.
func closeSoon(pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		pool.Close()
	}()
	select {
	case <-closed:
	case <-time.After(time.Second):
	}
}
