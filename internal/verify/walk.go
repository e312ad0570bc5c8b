package verify

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"rapport"
	"rapport/store"
)

// chunk is a stretch of the log in the order of its keys, and what was found in
// it. Chunks are worked on side by side and taken in order.
type chunk struct {
	rows  []*store.LogRow
	bytes int

	// A session_id may go on from one chunk into the next, and its group with it.
	before <-chan *group // nil if the chunk begins with a new session_id
	behind chan *group   // nil if the chunk ends with the end of a session_id

	done        chan struct{} // closed when what follows is complete
	differences []Difference
	counts      Counts
	superseded  []store.HealedMessage
	windows     []*rapport.Window // of the session_ids that end here, in the order of their keys
	graves      []*grave          // in the same order
}

// Bounds of a chunk.
const (
	chunkRows  = 500
	chunkBytes = 1 << 20 // of payloads
)

func newChunk(before <-chan *group) *chunk {
	return &chunk{before: before, done: make(chan struct{})}
}

func (c *chunk) isFull() bool { return len(c.rows) >= chunkRows || c.bytes >= chunkBytes }

func (c *chunk) add(kind, format string, args ...any) {
	c.differences = append(c.differences, Difference{Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// walk reads the log by its keys: one reads, some decode and fold, one compares
// with the rollups.
func (v *verifier) walk(ctx context.Context) error {
	workers := runtime.GOMAXPROCS(0)
	ordered, todo := make(chan *chunk, 2*workers), make(chan *chunk, 2*workers)
	fold := rapport.NewFold(v.recorded.Settings)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return v.read(ctx, ordered, todo) })
	for range workers {
		g.Go(func() error {
			for c := range todo {
				if err := v.work(ctx, fold, c); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error { return v.compare(ctx, ordered) })
	return g.Wait()
}

// read cuts the log into chunks. Each goes to where they are taken in order first,
// so that the one that a worker may wait for is always under way.
func (v *verifier) read(ctx context.Context, ordered, todo chan<- *chunk) error {
	defer close(ordered)
	defer close(todo)
	send := func(c *chunk) error {
		for _, to := range []chan<- *chunk{ordered, todo} {
			select {
			case to <- c:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	c := newChunk(nil)
	for {
		row, ok, err := v.events.Next()
		if err != nil {
			return err
		}
		if !ok {
			return send(c)
		}
		if c.isFull() {
			full := c
			if row.SessionID == full.rows[len(full.rows)-1].SessionID {
				full.behind = make(chan *group, 1)
			}
			c = newChunk(full.behind)
			if err := send(full); err != nil {
				return err
			}
		}
		c.rows = append(c.rows, row)
		c.bytes += len(row.Payload)
	}
}

// work decodes the rows of a chunk, and folds what ends in it.
func (v *verifier) work(ctx context.Context, fold *rapport.Fold, c *chunk) error {
	prints, stubs := make([]rapport.Fingerprint, len(c.rows)), make([]bool, len(c.rows))
	for i, row := range c.rows {
		prints[i] = v.checkEvent(row, c)
		stubs[i] = row.IsStub()
		row.Payload = nil // it is not needed any more
	}
	var g *group
	if c.before != nil {
		select {
		case g = <-c.before:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for i, row := range c.rows {
		if row.Erasure != nil && !stubs[i] {
			c.counts.Announced++
		}
		if g != nil && g.sessionID != row.SessionID {
			g.end(fold, c)
			g = nil
		}
		if g == nil {
			g = newGroup(row.SessionID)
		}
		if twin := g.twins.find(&row.Event, prints[i]); twin != 0 {
			c.add("event", "event %d: is the same as event %d", row.Position, twin)
		}
		switch counts := v.isFolded(&row.Event, stubs[i], c); {
		case counts && stubs[i]:
			g.bury(&row.Event)
		case counts:
			g.add(fold, &row.Event)
		}
	}
	if c.behind != nil {
		c.behind <- g
	} else if g != nil {
		g.end(fold, c)
	}
	close(c.done)
	return nil
}

// isFolded reports whether the event is one that the sessions are folded from by
// now, and counts it.
func (v *verifier) isFolded(e *rapport.Event, stub bool, c *chunk) bool {
	if e.HealedFrom != "" {
		c.counts.Healed++
	}
	if stub {
		c.counts.Stubs++
	}
	of := store.Conversation{AgentID: e.AgentID, SessionID: e.SessionID}
	dead, putAside := v.putAside[e.Position]
	if putAside {
		checkDeadLetter(dead, e, c)
	}
	switch {
	case !e.InSession():
		c.counts.NoSession++
	case putAside:
		c.counts.PutAside++
	case e.Position > v.follower.Position:
		c.counts.NotFolded++
	case v.recorded.Retained.IsFrozen(of, e.OccurredAt):
		c.counts.Frozen++
		if v.uncounted[e.Position] {
			c.superseded = append(c.superseded, store.HealedMessage{Conversation: of, Position: e.Position, Superseded: true})
		}
	case stub && v.uncounted[e.Position]:
		c.superseded = append(c.superseded, store.HealedMessage{Conversation: of, Position: e.Position, Superseded: true})
	default:
		return true
	}
	return false
}

// compare takes the chunks in order, and the rollups beside them.
func (v *verifier) compare(ctx context.Context, ordered <-chan *chunk) error {
	rollups, err := v.openRollups()
	if err != nil {
		return err
	}
	for c := range ordered {
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		v.take(c)
		if err := rollups.compareAll(c.graves, c.windows); err != nil {
			return err
		}
		if v.Progress != nil {
			v.Progress(v.report.Events, v.report.Counts.InLog)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return rollups.end()
}

func (v *verifier) take(c *chunk) {
	v.report.take(c.differences...)
	v.report.Events += int64(len(c.rows))
	for _, row := range c.rows {
		if row.ReceivedAt.After(v.newest) {
			v.newest = row.ReceivedAt
		}
		if row.Erasure != nil && row.OccurredAt.After(v.lastStub) && row.Type != store.ErasedEvent {
			v.lastStub = row.OccurredAt
		}
	}
	sum := &v.report.Counts
	sum.Healed += c.counts.Healed
	sum.Stubs += c.counts.Stubs
	sum.Frozen += c.counts.Frozen
	sum.Announced += c.counts.Announced
	sum.NoSession += c.counts.NoSession
	sum.PutAside += c.counts.PutAside
	sum.NotFolded += c.counts.NotFolded
	sum.Superseded += int64(len(c.superseded))
	for _, m := range c.superseded {
		v.superseded[m] = true
	}
}
