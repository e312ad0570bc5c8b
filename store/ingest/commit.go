package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rapport"
	"rapport/store"
)

// commit appends events to the log, and has an outcome for each.
func (in *Ingest) commit(events []*rapport.Event) []outcome {
	start := time.Now()
	ctx, cancel := context.WithTimeout(in.base, in.opts.Deadline)
	defer cancel()
	outcomes := in.append(ctx, events)
	commit := Commit{Took: time.Since(start)}
	for _, o := range outcomes {
		if o.err != nil {
			continue
		}
		commit.Events++
		if o.kept.Duplicate || o.kept.Erased {
			commit.Duplicates++
		}
	}
	if commit.Events > 0 {
		in.opts.OnCommit(commit)
	}
	return outcomes
}

// append has an outcome for each event. A row that the database refuses must
// not harm the others: the batch is halved until that row is alone.
func (in *Ingest) append(ctx context.Context, events []*rapport.Event) []outcome {
	var appended []store.Appended
	err := in.persist(ctx, len(events), func() (err error) {
		appended, err = in.log.Append(ctx, events)
		return err
	})
	switch {
	case err == nil:
		outcomes := make([]outcome, len(events))
		for i := range appended {
			outcomes[i].kept.Appended = appended[i]
		}
		return outcomes
	case store.IsDataError(err) && len(events) == 1:
		return []outcome{{err: in.refuse(ctx, events[0], err)}}
	case store.IsDataError(err):
		half := len(events) / 2
		return append(in.append(ctx, events[:half]), in.append(ctx, events[half:])...)
	default:
		return failed(len(events), err)
	}
}

func failed(n int, err error) []outcome {
	outcomes := make([]outcome, n)
	for i := range outcomes {
		outcomes[i].err = err
	}
	return outcomes
}

const (
	// firstPause is between the first two tries of a batch; each further one is
	// twice as long.
	firstPause = 10 * time.Millisecond

	// maxTries is how often the database may fail before the spool has its
	// turn: once for each pooled connection that a restart has left dead.
	maxTries = 4
)

// persist does something again and again until it succeeds, the data is at
// fault, or the context ends: the last error is then ErrUnavailable. With a spool
// to go to, it does not insist. An append whose answer was lost is neither kept
// nor lost: the fingerprints make it safe to repeat.
func (in *Ingest) persist(ctx context.Context, deliveries int, do func() error) error {
	pause := firstPause
	for tries := 1; ; tries++ {
		err := do()
		switch {
		case err == nil && tries > 1:
			in.opts.Logger.Info("the database works again", "deliveries", deliveries)
			return nil
		case err == nil || store.IsDataError(err):
			return err
		case ctx.Err() != nil || in.hasSpool() && tries == maxTries:
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		in.opts.Logger.Warn("the database failed, trying again", "deliveries", deliveries, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		pause = min(2*pause, time.Second)
	}
}

// refuse puts an event that the database refused into the quarantine.
func (in *Ingest) refuse(ctx context.Context, event *rapport.Event, cause error) error {
	reason := "the database refused it: " + cause.Error()
	q := quarantined{event.Payload, reason, event.Headers, event.ReceivedAt}
	if err := in.quarantine(ctx, q); err != nil {
		return err
	}
	return &RefusedError{Reason: reason}
}

// Quarantine keeps an authentic body that is no event, with the reason. It
// returns when that is durable, in the quarantine or in the spool; ErrUnavailable,
// ErrOverloaded or ErrClosed if it could not be kept.
func (in *Ingest) Quarantine(ctx context.Context, body []byte, reason string, headers map[string]string, seenAt time.Time) error {
	q := quarantined{body, reason, headers, seenAt}
	if !in.circuit.isOpen() {
		within, cancel := context.WithTimeout(ctx, in.opts.Deadline)
		defer cancel()
		err := in.quarantine(within, q)
		if err == nil || !in.hasSpool() || !errors.Is(err, ErrUnavailable) {
			return err
		}
		in.trip(err)
	}
	_, err := in.appendAside(ctx, quarantineRecord(q))
	return err
}

// quarantine is Quarantine in the database.
func (in *Ingest) quarantine(ctx context.Context, q quarantined) error {
	err := in.persist(ctx, 1, func() error {
		_, err := in.log.Quarantine(ctx, q.body, q.reason, q.headers, q.seenAt)
		return err
	})
	if err != nil && !errors.Is(err, ErrUnavailable) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err == nil {
		in.prune(ctx, len(q.body), q.seenAt)
	}
	return err
}

// prune keeps the quarantine within its bounds, now and then.
func (in *Ingest) prune(ctx context.Context, added int, now time.Time) {
	if in.quarantined.Add(int64(added)) <= in.opts.Quarantine.MaxBytes/16 {
		return
	}
	in.quarantined.Store(0)
	if _, err := in.log.QuarantinePrune(ctx, in.opts.Quarantine, now); err != nil {
		in.opts.Logger.Warn("the quarantine could not be pruned", "error", err)
	}
}
