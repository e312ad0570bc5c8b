package ingest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"rapport"
	"rapport/store/ingest/spool"
)

// circuit is open while the database can't keep deliveries. They open it by
// failing; only Drain closes it, so that no delivery has to find out whether the
// database works again.
type circuit struct{ openSince atomic.Int64 } // ns since 1970; 0 if closed

func (c *circuit) isOpen() bool { return c.openSince.Load() != 0 }

// openFor is how long it has been open; 0 if it is closed.
func (c *circuit) openFor(now time.Time) time.Duration {
	since := c.openSince.Load()
	if since == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, since))
}

// open and shut report whether they changed anything.
func (c *circuit) open(now time.Time) bool { return c.openSince.CompareAndSwap(0, now.UnixNano()) }
func (c *circuit) shut() bool              { return c.openSince.Swap(0) != 0 }

// counts are since the start.
type counts struct {
	spooled, drained, refused atomic.Int64
}

func (in *Ingest) hasSpool() bool { return len(in.opts.Spools) > 0 }

// trip opens the circuit, if there is a spool to go to.
func (in *Ingest) trip(cause error) {
	if in.hasSpool() && in.circuit.open(time.Now()) {
		in.opts.Logger.Error("the database can't keep deliveries: they go to the spool until it can", "error", cause)
		signal(in.spooled)
	}
}

// spoolUnavailable takes to the spool what of a batch the log could not take.
func (in *Ingest) spoolUnavailable(b *batch) {
	var events []*rapport.Event
	var places []int
	var cause error
	for i, o := range b.outcomes {
		if errors.Is(o.err, ErrUnavailable) {
			events, places, cause = append(events, b.events[i]), append(places, i), o.err
		}
	}
	switch {
	case len(events) == 0:
		return
	case !in.hasSpool():
		in.opts.Logger.Error("deliveries could not be kept", "count", len(events), "error", cause)
		return
	}
	in.trip(cause)
	for i, o := range in.spoolEvents(events) {
		b.outcomes[places[i]] = o
	}
}

func (in *Ingest) spoolEvents(events []*rapport.Event) []outcome {
	records := make([][]byte, len(events))
	for i, e := range events {
		records[i] = eventRecord(e)
	}
	return in.spoolRecords(records)
}

// spoolRecords has the same outcome for all: they are one write.
func (in *Ingest) spoolRecords(records [][]byte) []outcome {
	if _, err := in.opts.Spools[0].Append(records, time.Now()); err != nil {
		in.counts.refused.Add(int64(len(records)))
		in.complaints.Do(func() {
			in.opts.Logger.Error("the spool can't keep deliveries: THEY ARE REFUSED, and most senders send once",
				"count", len(records), "refused_so_far", in.counts.refused.Load(), "error", err)
		})
		if errors.Is(err, spool.ErrFull) {
			return failed(len(records), fmt.Errorf("%w (%w)", ErrFull, ErrUnavailable))
		}
		return failed(len(records), fmt.Errorf("%w, and the spool can't be written", ErrUnavailable))
	}
	in.counts.spooled.Add(int64(len(records)))
	signal(in.spooled)
	outcomes := make([]outcome, len(records))
	for i := range outcomes {
		outcomes[i].kept.Spooled = true
	}
	return outcomes
}

// Status tells how deliveries are kept.
type Status struct {
	Enabled   bool      // there is a spool
	OpenSince time.Time // the database can't keep deliveries since then; zero if it can

	Waiting spool.Stats // records that are in a spool, summed
	Room    error       // why the spool can't keep more; nil if it can

	Spooled int64 // deliveries that went to the spool since the start
	Drained int64 // records that went from a spool to the database since the start
	Refused int64 // deliveries that the spool could not keep since the start
}

// Status is the status now.
func (in *Ingest) Status() Status {
	s := Status{
		Enabled: in.hasSpool(),
		Spooled: in.counts.spooled.Load(), Drained: in.counts.drained.Load(), Refused: in.counts.refused.Load(),
	}
	if since := in.circuit.openSince.Load(); since != 0 {
		s.OpenSince = time.Unix(0, since)
	}
	for _, sp := range in.opts.Spools {
		stats := sp.Stats()
		s.Waiting.Records += stats.Records
		s.Waiting.Bytes += stats.Bytes
		s.Waiting.Damaged += stats.Damaged
		s.Waiting.Lost += stats.Lost
		if oldest := stats.OldestAt; !oldest.IsZero() && (s.Waiting.OldestAt.IsZero() || oldest.Before(s.Waiting.OldestAt)) {
			s.Waiting.OldestAt = oldest
		}
	}
	if s.Enabled {
		s.Room = in.opts.Spools[0].Room()
	}
	return s
}
