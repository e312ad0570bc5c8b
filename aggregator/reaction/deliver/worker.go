package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"rapport/store"
)

// limitedFor is for how long a delivery may be told to come back later (429) without
// using attempts up.
const limitedFor = 24 * time.Hour

// worker does River's jobs. It holds no connection to the database while it sends.
type worker struct {
	river.WorkerDefaults[store.DeliveryJob]
	db     *store.DB
	lines  *lines
	counts *Metrics
	tempo  tempo
	logger *slog.Logger
}

// Work makes one attempt.
func (w *worker) Work(ctx context.Context, job *river.Job[store.DeliveryJob]) error {
	line := w.lines.ofQueue(job.Queue)
	if line == nil { // it has just gone
		return river.JobSnooze(spread(w.tempo.breakerDelay))
	}
	if wait := w.holdBack(ctx, line); wait > 0 {
		w.counts.count(line, resultHeld)
		return river.JobSnooze(spread(wait))
	}
	isJudged := false
	defer func() {
		if !isJudged { // nothing was sent; or it panics, of which River tells
			line.release()
		}
	}()
	// As late as can be: what is erased isn't sent.
	delivery, ok, err := w.db.DeliveryOf(ctx, job.ID)
	if err != nil || !ok {
		return w.unread(ctx, err)
	}
	began := time.Now()
	err = line.destination.send(ctx, line.client, &delivery)
	isJudged = true
	return w.judge(line, job, &delivery, err, time.Since(began))
}

// unread is what becomes of a delivery that could not be read: it is erased, or the
// database is away, for which no attempt is used up.
func (w *worker) unread(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	w.logger.Warn("a delivery can't be read, trying again", "error", err)
	return river.JobSnooze(spread(w.tempo.firstRetry))
}

// holdBack waits for some time where the destination can't be told anything now. It is for
// how long to wait longer, or 0 with the permit to go.
func (w *worker) holdBack(ctx context.Context, line *line) time.Duration {
	until := time.Now().Add(w.tempo.hold)
	for {
		wait, left := line.blocked(), time.Until(until)
		if wait == 0 || left <= 0 {
			return wait
		}
		select {
		case <-time.After(min(wait, left)):
		case <-ctx.Done():
			return wait
		}
	}
}

// judge makes of how an attempt went what River is to do.
func (w *worker) judge(line *line, job *river.Job[store.DeliveryJob], delivery *Delivery, err error, took time.Duration) error {
	var failed *sendError
	switch {
	case err == nil:
		line.record(nil)
		w.counts.delivered(line, took)
		return nil
	case errors.Is(err, errUnrenderable):
		line.release()
		w.counts.count(line, resultDead)
		w.log(slog.LevelError, delivery, job, "a delivery is dead", err)
		return river.JobCancel(err)
	case !errors.As(err, &failed): // we are called back
		line.release()
		return err
	}
	line.record(failed)
	if failed.isLimit && time.Since(job.CreatedAt) < limitedFor {
		w.counts.count(line, resultHeld)
		return river.JobSnooze(spread(min(max(failed.wait, w.tempo.limitWait), maxWait)))
	}
	if job.Attempt >= job.MaxAttempts {
		w.counts.count(line, resultDead)
		w.log(slog.LevelError, delivery, job, "a delivery is dead", err)
	} else {
		w.counts.count(line, resultFailed)
		if line.mayTell(time.Now()) {
			w.log(slog.LevelWarn, delivery, job, "a delivery failed, trying again", err)
		}
	}
	return err
}

func (w *worker) log(level slog.Level, delivery *Delivery, job *river.Job[store.DeliveryJob], message string, err error) {
	w.logger.Log(context.Background(), level, message, "destination", delivery.Destination, "rule", delivery.Rule, "id", delivery.ID,
		"attempts", job.Attempt, "error", err)
}

// NextRetry is after which time a delivery that failed is tried again.
func (w *worker) NextRetry(job *river.Job[store.DeliveryJob]) time.Time {
	var metadata struct {
		TriedBefore int `json:"tried_before"` // attempts that it had when it was dead
	}
	_ = json.Unmarshal(job.Metadata, &metadata)
	return time.Now().Add(w.tempo.retryIn(job.Attempt - metadata.TriedBefore))
}
