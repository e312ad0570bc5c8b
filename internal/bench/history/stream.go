package history

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"rapport"
)

// block is a stretch of conversations, in the order of their beginnings.
type block struct {
	events []*rapport.Event
	next   time.Time // what follows begins then or later
}

// blockSize is how many conversations one worker makes at a time.
const blockSize = 100

// Events makes the log in the order of receipt, a stretch at a time, with positions
// from 1 on. An error of take ends it.
func (p Plan) Events(ctx context.Context, take func([]*rapport.Event) error) error {
	group, ctx := errgroup.WithContext(ctx)
	ahead := make(chan chan block, 2*runtime.GOMAXPROCS(0)) // the blocks in their order
	group.Go(func() error { return p.makeBlocks(ctx, group, ahead) })
	group.Go(func() error {
		m := merger{take: take}
		for made := range ahead {
			select {
			case b := <-made:
				if err := m.add(b); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return m.emit(p.Until.Add(time.Hour))
	})
	return group.Wait()
}

// makeBlocks has workers make the blocks, as many ahead as the channel holds.
func (p Plan) makeBlocks(ctx context.Context, group *errgroup.Group, ahead chan<- chan block) error {
	defer close(ahead)
	w := newWriter(p)
	for first := 0; first < p.Sessions; first += blockSize {
		made := make(chan block, 1)
		select {
		case ahead <- made:
		case <-ctx.Done():
			return ctx.Err()
		}
		group.Go(func() error {
			b, err := w.block(first, min(first+blockSize, p.Sessions))
			made <- b
			return err
		})
	}
	return nil
}

func (w *writer) block(first, end int) (block, error) {
	b := block{next: w.plan.startsAt(w.calendar, end)}
	for i := first; i < end; i++ {
		events, err := w.events(i)
		if err != nil {
			return b, err
		}
		b.events = append(b.events, events...)
	}
	return b, nil
}

// merger puts what overlaps in order.
type merger struct {
	take     func([]*rapport.Event) error
	pending  []*rapport.Event
	position int64
}

func (m *merger) add(b block) error {
	m.pending = append(m.pending, b.events...)
	return m.emit(b.next)
}

// emit hands on what came before a time: everything that did is known.
func (m *merger) emit(before time.Time) error {
	slices.SortFunc(m.pending, byReceipt)
	n, _ := slices.BinarySearchFunc(m.pending, before, func(e *rapport.Event, at time.Time) int { return e.ReceivedAt.Compare(at) })
	if n == 0 {
		return nil
	}
	stretch := m.pending[:n:n]
	m.pending = slices.Clone(m.pending[n:])
	for _, e := range stretch {
		m.position++
		e.Position = m.position
	}
	return m.take(stretch)
}

func byReceipt(a, b *rapport.Event) int {
	return cmp.Or(a.ReceivedAt.Compare(b.ReceivedAt), slices.Compare(a.Fingerprint[:], b.Fingerprint[:]))
}
