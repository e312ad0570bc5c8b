package store

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// CatchUp applies the next events that came to the log, at most limit, to the
// fresh tables, as Follow does to those in use. Dead letters stay aside. What
// apply refuses by itself is left out, and becomes a dead letter with Swap.
func (r *Rebuild) CatchUp(ctx context.Context, limit int, apply Apply) (Step, error) {
	var step Step
	var next reached
	var counted map[month]int64
	// One snapshot, so that the dead letters are those that the events are without.
	err := r.inFresh(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		head, err := dbsqlc.New(tx).LogHeadGet(ctx)
		if err != nil {
			return err
		}
		step.Head = head.Position
		if next, step.Events, err = r.step(ctx, tx, r.at, head.Position, limit, apply); err != nil {
			return err
		}
		counted, err = r.countMoved(ctx, dbsqlc.New(tx), next)
		return err
	})
	if err != nil {
		return Step{}, fmt.Errorf("catching up with the log: %w", err)
	}
	r.at, step.Position = next, next.position
	maps.Copy(r.counted, counted)
	clear(r.broken)
	return step, nil
}

// step brings the fresh tables from a place to the next one. Conversations whose
// dead letters are not those that they were folded without are folded again, and so
// are those that were erased meanwhile.
func (r *Rebuild) step(ctx context.Context, tx pgx.Tx, at reached, head int64, limit int, apply Apply) (reached, int, error) {
	q := dbsqlc.New(tx)
	aside, err := asideUpTo(ctx, q, head)
	if err != nil {
		return at, 0, err
	}
	events, stubs, err := eventsAfter(ctx, q, SessionsFollower, at.position, head, limit)
	if err != nil {
		return at, 0, err
	}
	next := reached{position: head, aside: aside, refused: maps.Clone(at.refused)}
	if len(events)+len(stubs) > 0 {
		next.position = lastPosition(events, stubs)
	}
	maps.DeleteFunc(next.aside, func(position int64, _ Conversation) bool { return position > next.position })
	if err := countStep(ctx, q, at, next, events, stubs); err != nil {
		return at, 0, err
	}

	again := maps.Clone(r.broken)
	maps.Copy(again, changedSince(at, aside))
	if next.erased, err = erasedSince(ctx, q, at.erased, again); err != nil {
		return at, 0, err
	}
	t := &taker{tx: tx, apply: apply, at: &next, again: again}
	if err := t.take(ctx, events); err != nil {
		return at, 0, err
	}
	for conversation := range again {
		if err := t.foldAnew(ctx, conversation); err != nil {
			return at, 0, fmt.Errorf("folding %q of agent %q anew: %w", conversation.SessionID, conversation.AgentID, err)
		}
	}
	return next, len(events), uncountRefused(ctx, q, at, next)
}

// countStep counts the events of a step, and those that are dead letters no more. What
// has become one since is taken away again.
func countStep(ctx context.Context, q *dbsqlc.Queries, at, next reached, events, stubs []*rapport.Event) error {
	var t tally
	t.add(1, events...)
	t.add(1, stubs...)
	var gone, back []int64
	for position := range next.aside {
		_, aside := at.aside[position]
		_, refused := at.refused[position]
		if position <= at.position && !aside && !refused {
			gone = append(gone, position)
		}
	}
	for position := range at.aside {
		_, still := next.aside[position]
		_, refused := at.refused[position]
		if !still && !refused {
			back = append(back, position)
		}
	}
	if err := t.countPositions(ctx, q, gone, -1); err != nil {
		return err
	}
	if err := t.countPositions(ctx, q, back, 1); err != nil {
		return err
	}
	return t.write(ctx, q)
}

// uncountRefused takes what was refused in a step away from what is counted.
func uncountRefused(ctx context.Context, q *dbsqlc.Queries, at, next reached) error {
	var t tally
	var refused []int64
	for position := range next.refused {
		if _, known := at.refused[position]; !known {
			refused = append(refused, position)
		}
	}
	if err := t.countPositions(ctx, q, refused, -1); err != nil {
		return err
	}
	return t.write(ctx, q)
}

// asideUpTo are the dead letters of the sessions up to a position.
func asideUpTo(ctx context.Context, q *dbsqlc.Queries, position int64) (map[int64]Conversation, error) {
	rows, err := q.AsideList(ctx, SessionsFollower)
	if err != nil {
		return nil, err
	}
	aside := make(map[int64]Conversation, len(rows))
	for _, row := range rows {
		if row.Position <= position {
			aside[row.Position] = Conversation{row.AgentID, row.SessionID}
		}
	}
	return aside, nil
}

// erasedSince adds the conversations that were erased behind a generation of the log,
// and tells up to which one it knows them.
func erasedSince(ctx context.Context, q *dbsqlc.Queries, generation int64, to map[Conversation]bool) (int64, error) {
	rows, err := q.ErasedSince(ctx, generation)
	for _, row := range rows {
		to[Conversation{row.AgentID, row.SessionID}] = true
		generation = max(generation, row.Generation)
	}
	return generation, err
}

// changedSince are the conversations of events up to a place that have become
// dead letters since, or are none any more.
func changedSince(at reached, aside map[int64]Conversation) map[Conversation]bool {
	changed := make(map[Conversation]bool)
	for position, conversation := range aside {
		if _, known := at.aside[position]; !known && position <= at.position {
			changed[conversation] = true
		}
	}
	for position, conversation := range at.aside {
		if _, still := aside[position]; !still {
			changed[conversation] = true
		}
	}
	return changed
}

// taker gives events to a projection, and finds out which of them it can't take.
type taker struct {
	tx    pgx.Tx
	apply Apply
	at    *reached
	again map[Conversation]bool // those that have to be folded anew
}

// give gives events to the projection. Nothing stays of what it refuses.
func (t *taker) give(ctx context.Context, events []*rapport.Event) error {
	err := pgx.BeginFunc(ctx, t.tx, func(savepoint pgx.Tx) error {
		return t.as(savepoint).give(ctx, events, t.apply)
	})
	if err != nil {
		err = refusal(err, 0, events)
	}
	return err
}

func (t *taker) as(tx pgx.Tx) *Tx {
	return &Tx{q: dbsqlc.New(tx), follower: SessionsFollower, upTo: t.at.position, refused: t.at.refused}
}

// isRefused reports whether a projection refused events for what they are.
func isRefused(err error) bool {
	refused, ok := errors.AsType[*RefusedError](err)
	return ok && !refused.IsSuspect()
}

// take gives events to the projection, if need be those of one conversation after
// the other, so that one that it refuses does not keep the others.
func (t *taker) take(ctx context.Context, events []*rapport.Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := t.give(ctx, events); !isRefused(err) {
		return err
	}
	groups := make(map[Conversation][]*rapport.Event)
	for _, e := range events {
		c := Conversation{e.AgentID, e.SessionID}
		groups[c] = append(groups[c], e)
	}
	for conversation, group := range groups {
		err := t.give(ctx, group)
		if isRefused(err) {
			t.again[conversation] = true
		} else if err != nil {
			return err
		}
	}
	return nil
}

// foldAnew replaces the sessions of a conversation by those of all its events, but
// for the ones that the projection refuses even when they are alone.
func (t *taker) foldAnew(ctx context.Context, conversation Conversation) error {
	tx := t.as(t.tx)
	if err := tx.dropConversation(ctx, conversation); err != nil {
		return err
	}
	if err := tx.tally.write(ctx, tx.q); err != nil {
		return err
	}
	all, err := tx.EventsOfSpan(ctx, conversation, Span{StartedAt: beforeAll, LastEventAt: afterAll})
	if err != nil {
		return err
	}
	events := t.without(all)
	if len(events) == 0 {
		return nil
	}
	refused := t.give(ctx, events)
	if !isRefused(refused) {
		return refused
	}
	for _, e := range events {
		if err := t.try(ctx, e); err != nil {
			return err
		}
	}
	rest := t.without(events)
	switch len(rest) {
	case len(events):
		return refused // it is none of them by itself
	case 0:
		return nil
	}
	return t.give(ctx, rest)
}

// without are the events but for the refused ones.
func (t *taker) without(events []*rapport.Event) []*rapport.Event {
	var kept []*rapport.Event
	for _, e := range events {
		if _, refused := t.at.refused[e.Position]; !refused {
			kept = append(kept, e)
		}
	}
	return kept
}

// maxRefused is how many events a rebuild puts aside. If there are more, it is
// rather the projection that is broken.
const maxRefused = 100

// try notes whether the projection refuses an event by itself. Nothing stays of it.
func (t *taker) try(ctx context.Context, e *rapport.Event) error {
	err := pgx.BeginFunc(ctx, t.tx, func(savepoint pgx.Tx) error {
		if err := t.as(savepoint).give(ctx, []*rapport.Event{e}, t.apply); err != nil {
			return err
		}
		return errTaken
	})
	if errors.Is(err, errTaken) {
		return nil
	}
	err = refusal(err, 0, []*rapport.Event{e})
	if !isRefused(err) {
		return err
	}
	if len(t.at.refused) >= maxRefused {
		return fmt.Errorf("more than %d events can't be folded, the last one because of: %w", maxRefused, err)
	}
	if t.at.refused == nil {
		t.at.refused = make(map[int64]refusedEvent)
	}
	t.at.refused[e.Position] = refusedEvent{event: e, reason: reasonOf(err)}
	return nil
}

// dropConversation deletes the sessions of a conversation.
func (tx *Tx) dropConversation(ctx context.Context, of Conversation) error {
	gone, err := tx.q.SessionDeleteOfConversation(ctx, dbsqlc.SessionDeleteOfConversationParams{
		SessionID: of.SessionID, AgentID: of.AgentID,
	})
	if err != nil {
		return err
	}
	tx.tally.subSessions(gone)
	if err := tx.q.SessionTextDeleteOfConversation(ctx, dbsqlc.SessionTextDeleteOfConversationParams{
		SessionID: of.SessionID, AgentID: of.AgentID,
	}); err != nil {
		return err
	}
	back, err := tx.q.SupersededDeleteOfConversation(ctx, dbsqlc.SupersededDeleteOfConversationParams{
		SessionID: of.SessionID, AgentID: of.AgentID,
	})
	if err != nil {
		return err
	}
	return tx.tally.countPositions(ctx, tx.q, back, 1)
}
