package aggregator

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"rapport"
	"rapport/store"
)

// bulk folds the log in the order of the conversations: one goroutine reads, some
// fold, one writes. What is in memory are some pages of the log, and of each
// conversation at work what can't be folded yet.
type bulk struct {
	rebuild *store.Rebuild
	fold    *rapport.Fold
	show    func(RebuildProgress)

	pages   chan []*rapport.Event      // the log, by session_id and time
	streams chan chan []*rapport.Event // a session_id each, as stretches in the order of time
	folded  chan folded
}

// folded is what becomes of a conversation, or of a part of it.
type folded struct {
	windows []*rapport.Window
	healed  []store.HealedMessage
	broken  *store.Conversation // could not be folded
}

// The sizes of the pieces that are handed on.
const (
	stretchEvents = 2000   // of a session_id, besides stretchBytes
	readAhead     = 16     // streams
	loadWindows   = 2000   // written at once
	loadMessages  = 50_000 // of their users, at about as many texts
)

func newBulk(r *store.Rebuild, fold *rapport.Fold, show func(RebuildProgress)) *bulk {
	return &bulk{
		rebuild: r, fold: fold, show: show,
		pages: make(chan []*rapport.Event, 1), streams: make(chan chan []*rapport.Event, readAhead), folded: make(chan folded, readAhead),
	}
}

func (b *bulk) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.fetch(ctx) })
	group.Go(func() error { return b.split(ctx) })
	group.Go(func() error {
		defer close(b.folded)
		var workers errgroup.Group
		for range runtime.GOMAXPROCS(0) {
			workers.Go(func() error { return b.foldStreams(ctx) })
		}
		return workers.Wait()
	})
	group.Go(func() error { return b.write(ctx) })
	return group.Wait()
}

// fetch reads the log, a page ahead of those who fold it.
func (b *bulk) fetch(ctx context.Context) error {
	defer close(b.pages)
	log, err := b.rebuild.Log(ctx)
	if err != nil {
		return err
	}
	defer log.Close()
	var read int64
	for {
		events, n, err := log.Next(ctx)
		if err != nil || n == 0 {
			return err
		}
		read += int64(n)
		b.show(RebuildProgress{Phase: PhaseFold, Done: read, Total: log.Head()})
		select {
		case b.pages <- events:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// split hands each session_id's events to whoever is free to fold them.
func (b *bulk) split(ctx context.Context) error {
	defer close(b.streams)
	s := &splitter{ctx: ctx, streams: b.streams}
	defer s.end()
	for page := range b.pages {
		for _, event := range page {
			if err := s.add(event); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.flush()
}

// splitter makes a stream of each session_id.
type splitter struct {
	ctx     context.Context
	streams chan chan []*rapport.Event
	stream  chan []*rapport.Event // of the present session_id; nil until something is sent
	id      string
	events  []*rapport.Event // not yet sent
	bytes   int
}

func (s *splitter) add(event *rapport.Event) error {
	if event.SessionID != s.id {
		if err := s.flush(); err != nil {
			return err
		}
		s.end()
		s.id = event.SessionID
	}
	s.events = append(s.events, event)
	s.bytes += len(event.Text)
	if len(s.events) < stretchEvents && s.bytes < stretchBytes {
		return nil
	}
	return s.flush()
}

func (s *splitter) flush() error {
	if len(s.events) == 0 {
		return nil
	}
	if s.stream == nil {
		s.stream = make(chan []*rapport.Event, 1)
		select {
		case s.streams <- s.stream:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
	select {
	case s.stream <- s.events:
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
	s.events, s.bytes = nil, 0
	return nil
}

// end tells the one who folds that the session_id has no more events.
func (s *splitter) end() {
	if s.stream != nil {
		close(s.stream)
		s.stream = nil
	}
}

// foldStreams folds one session_id after the other.
func (b *bulk) foldStreams(ctx context.Context) error {
	for stream := range b.streams {
		conversations := make(map[string]*partial) // by agent: few share a session_id
		for stretch := range stream {
			for _, event := range stretch {
				c, ok := conversations[event.AgentID]
				if !ok {
					c = &partial{fold: b.fold, of: store.Conversation{AgentID: event.AgentID, SessionID: event.SessionID}}
					conversations[event.AgentID] = c
				}
				c.add(event)
			}
			for _, c := range conversations {
				if err := b.hand(ctx, c.advance()); err != nil {
					return err
				}
			}
		}
		for _, c := range conversations {
			if err := b.hand(ctx, c.finish()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bulk) hand(ctx context.Context, f folded) error {
	if len(f.windows) == 0 && len(f.healed) == 0 && f.broken == nil {
		return nil
	}
	select {
	case b.folded <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// partial is a conversation on its way through the fold.
type partial struct {
	fold   *rapport.Fold
	of     store.Conversation
	events []*rapport.Event      // not yet folded, in the order of time
	cut    int                   // so many of them can be folded without the others
	last   *rapport.Window       // that the next event may belong to
	healed []time.Time           // of the healed messages so far
	judged []store.HealedMessage // those of them that were not handed on yet
	broken bool
}

// add takes the next event. Before a pause in which no healed message and its
// delivery can be apart, a conversation can be cut: see rapport.Reconcile.
func (p *partial) add(event *rapport.Event) {
	if n := len(p.events); n > 0 && event.OccurredAt.Sub(p.events[n-1].OccurredAt) > 2*rapport.HealedWithin {
		p.cut = n
	}
	p.events = append(p.events, event)
}

// advance folds what can be folded, and gives the windows that are complete.
func (p *partial) advance() folded {
	if p.cut == 0 || p.broken {
		return folded{}
	}
	events := p.events[:p.cut:p.cut]
	p.events, p.cut = p.events[p.cut:], 0
	return p.calmly(func() []*rapport.Window {
		windows := p.next(events)
		complete := windows[:len(windows)-1]
		p.last = windows[len(complete)]
		rapport.NoteHealed(complete, p.healed)
		return complete
	})
}

// finish folds the rest.
func (p *partial) finish() folded {
	if p.broken {
		return folded{}
	}
	return p.calmly(func() []*rapport.Window {
		windows := p.next(p.events)
		rapport.NoteHealed(windows, p.healed)
		return windows
	})
}

// next folds the next events onto the last window, with which the result begins.
func (p *partial) next(events []*rapport.Event) []*rapport.Window {
	healed := rapport.HealedAmong(events)
	counted, healedAt := rapport.Reconcile(events)
	p.healed = append(p.healed, healedAt...)
	p.judged = append(p.judged, judged(healed, counted)...)
	return p.fold.Continue(p.last, counted)
}

// calmly keeps a panic of the fold to its conversation.
func (p *partial) calmly(fold func() []*rapport.Window) (f folded) {
	defer func() {
		if recover() != nil {
			p.broken, p.events, p.last = true, nil, nil
			f = folded{broken: &p.of}
		}
	}()
	windows := fold()
	f = folded{windows: windows, healed: p.judged}
	p.judged = nil
	return f
}

// write puts the windows into the fresh tables, many at once.
func (b *bulk) write(ctx context.Context) error {
	var windows []*rapport.Window
	var healed []store.HealedMessage
	var messages int64
	load := func() error {
		err := b.rebuild.Load(ctx, windows, healed, b.fold.Settings().IdleTimeout)
		windows, healed, messages = nil, nil, 0
		return err
	}
	for f := range b.folded {
		if f.broken != nil {
			b.rebuild.Broken(*f.broken)
		}
		healed = append(healed, f.healed...)
		for _, w := range f.windows {
			windows, messages = append(windows, w), messages+w.UserMessageCount
		}
		if len(windows) >= loadWindows || messages+int64(len(healed)) >= loadMessages {
			if err := load(); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil || len(windows)+len(healed) == 0 {
		return ctx.Err()
	}
	return load()
}
