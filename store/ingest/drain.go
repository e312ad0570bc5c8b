package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"rapport"
	"rapport/store"
	"rapport/store/ingest/spool"
)

// A batch of the drainer is small enough that the deliveries that come
// meanwhile, which need the same lock, hardly wait for it.
const (
	drainRecords = 500
	drainBytes   = 1 << 20
	drainTimeout = 20 * time.Second // longer than a lock may be waited for

	maxDrainPause = time.Second // between tries while the database is away
	pollSpools    = 5 * time.Second
)

// Drain appends the spools to the log, in order, whenever the database works,
// and closes the circuit when it works again. It returns nil when ctx ends.
func (in *Ingest) Drain(ctx context.Context) error {
	pause, told := firstPause, rate.Sometimes{Interval: 10 * time.Second}
	for ctx.Err() == nil {
		more, err := in.drainOnce(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			told.Do(func() {
				in.opts.Logger.Warn("the spool can't be drained yet", "records", in.Status().Waiting.Records, "error", err)
			})
			idle(ctx, nil, pause)
			pause = min(2*pause, maxDrainPause)
		case more:
			pause = firstPause
		default:
			idle(ctx, in.spooled, in.restPause())
		}
	}
	return nil
}

// restPause is for how long there may be nothing to do.
func (in *Ingest) restPause() time.Duration {
	if in.circuit.isOpen() {
		return maxDrainPause
	}
	return pollSpools
}

// idle waits for a time, or until woken or ended.
func idle(ctx context.Context, woken <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}

// drainOnce drains one batch of records, and reports whether there may be more. The
// circuit closes when events came into the log, or when there are none to try with.
func (in *Ingest) drainOnce(ctx context.Context) (more bool, err error) {
	if in.opts.Ready != nil { // it may migrate, for as long as that takes
		if err := in.opts.Ready(ctx); err != nil {
			return false, err
		}
		in.opts.Ready = nil
		in.recovered()
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	var unreadable error
	for _, sp := range in.opts.Spools {
		batch, err := sp.Next(drainRecords, drainBytes)
		if err != nil {
			unreadable = fmt.Errorf("reading the spool: %w", err)
		}
		if err == nil && len(batch.Records) > 0 {
			return true, in.drainBatch(ctx, sp, batch)
		}
	}
	// Nothing is left whose way into the log would show that it works, nor is what
	// opened the circuit still on its way into the spool.
	if in.circuit.openFor(time.Now()) > maxDrainPause {
		if err := in.log.Ping(ctx); err != nil {
			return false, err
		}
		in.recovered()
	}
	return false, unreadable
}

func (in *Ingest) recovered() {
	if in.circuit.shut() {
		in.opts.Logger.Info("the database keeps deliveries again", "spooled_records", in.Status().Waiting.Records)
	}
}

// drainBatch takes records to where they belong, in order. Where it fails, it is
// repeated: the log recognises what it has, and the quarantine counts by number.
func (in *Ingest) drainBatch(ctx context.Context, sp Spool, batch spool.Batch) error {
	var events []*rapport.Event
	flush := func() error {
		err := in.drainEvents(ctx, events)
		events = nil
		return err
	}
	for i, r := range batch.Records {
		event, q, err := readRecord(r)
		if event != nil {
			events = append(events, event)
			continue
		}
		if err != nil { // kept all the same, for people to look at
			q = &quarantined{r, err.Error(), nil, time.Now()}
		}
		if err := flush(); err != nil {
			return err
		}
		from := store.SpoolRecord{Spool: sp.ID(), Sequence: batch.First + uint64(i)}
		if err := in.log.QuarantineDrained(ctx, from, q.body, q.reason, q.headers, q.seenAt); err != nil {
			return err
		}
		in.prune(ctx, len(q.body), q.seenAt)
	}
	if err := flush(); err != nil {
		return err
	}
	if err := in.log.SpoolDrained(ctx, store.SpoolRecord{Spool: sp.ID(), Sequence: batch.Last}); err != nil {
		return err
	}
	in.counts.drained.Add(int64(len(batch.Records)))
	return sp.Drained(batch.Last)
}

// drainEvents appends events. Those that the database refuses are in the
// quarantine then, which is as good.
func (in *Ingest) drainEvents(ctx context.Context, events []*rapport.Event) error {
	if len(events) == 0 {
		return nil
	}
	for _, o := range in.append(ctx, events) {
		if _, refused := errors.AsType[*RefusedError](o.err); o.err != nil && !refused {
			return o.err
		}
	}
	in.recovered()
	return nil
}
