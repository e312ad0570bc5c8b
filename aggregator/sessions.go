package aggregator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"rapport"
	"rapport/store"
)

// Sessions is the projection of the log into session rollups. There are two
// ways from events to sessions, and both use the same fold: events that come
// strictly after everything of their conversation carry its last session on;
// for others the sessions that they can touch are read again from the log and
// folded anew. A late event touches its own session and one neighbour on each
// side, no more: whether there is a cut depends on two neighbouring events only.
// Where messages were healed, it also touches what can pair with it, and so on.
type Sessions struct {
	fold *rapport.Fold
}

// ErrSettings says that the rollups were made with formulas of another version.
var ErrSettings = errors.New("the rollups are of another version of the formulas")

// NewSessions makes the projection with the settings of the database. Rollups
// of another score version than this binary's are ErrSettings: they could not
// be compared with what it would write.
func NewSessions(settings rapport.Settings) (*Sessions, error) {
	if settings.ScoreVersion != rapport.ScoreVersion {
		return nil, fmt.Errorf("%w: the database has %d, this rapport has %d; run `rapport rebuild` with this one, or a rapport of the database's version",
			ErrSettings, settings.ScoreVersion, rapport.ScoreVersion)
	}
	return &Sessions{fold: rapport.NewFold(settings)}, nil
}

// Name is that of the checkpoint.
func (p *Sessions) Name() string { return store.SessionsFollower }

// Apply folds the events into the sessions.
func (p *Sessions) Apply(ctx context.Context, tx *store.Tx, events []*rapport.Event) error {
	groups := groupByConversation(events)
	if len(groups) == 0 {
		return nil
	}
	var change store.Change
	if err := leaveFrozen(ctx, tx, groups, &change); err != nil {
		return fmt.Errorf("reading what is frozen: %w", err)
	}
	last, err := tx.LastSessions(ctx, slices.Collect(maps.Keys(groups)))
	if err != nil {
		return fmt.Errorf("reading the last sessions: %w", err)
	}
	carried := make(map[store.Conversation]rapport.Session)
	for conversation, group := range groups {
		session, known := last[conversation]
		switch {
		case !known:
			windows, err := p.foldAll(ctx, tx, group, &change)
			if err != nil {
				return err
			}
			change.Written = append(change.Written, windows...)
		case carriesOn(group, &session):
			carried[conversation] = session
		default:
			if err := p.foldAnew(ctx, tx, conversation, group, &change); err != nil {
				return fmt.Errorf("folding %q of agent %q anew: %w", conversation.SessionID, conversation.AgentID, err)
			}
		}
	}
	if err := p.carryOn(ctx, tx, carried, groups, &change); err != nil {
		return fmt.Errorf("carrying sessions on: %w", err)
	}
	if err := tx.Write(ctx, change, p.fold.Settings().IdleTimeout); err != nil {
		return fmt.Errorf("writing the sessions: %w", err)
	}
	return nil
}

func groupByConversation(events []*rapport.Event) map[store.Conversation][]*rapport.Event {
	groups := make(map[store.Conversation][]*rapport.Event)
	for _, e := range events {
		if e.InSession() {
			groups[conversationOf(e)] = append(groups[conversationOf(e)], e)
		}
	}
	return groups
}

// leaveFrozen takes the events out of the groups that come too late for a session
// that is frozen: what that was folded from may be gone.
func leaveFrozen(ctx context.Context, tx *store.Tx, groups map[store.Conversation][]*rapport.Event, change *store.Change) error {
	frozen, err := tx.FrozenUntil(ctx, slices.Collect(maps.Keys(groups)))
	if err != nil {
		return err
	}
	for conversation, until := range frozen {
		var left []*rapport.Event
		for _, e := range groups[conversation] {
			if e.OccurredAt.After(until) {
				left = append(left, e)
				continue
			}
			change.Healed = append(change.Healed, store.HealedMessage{Conversation: conversation, Position: e.Position, Superseded: true})
		}
		if groups[conversation] = left; len(left) == 0 {
			delete(groups, conversation)
		}
	}
	return nil
}

// carriesOn reports whether the events come strictly after the session, and after
// what they could pair with.
func carriesOn(events []*rapport.Event, s *rapport.Session) bool {
	after := s.LastEventAt
	if paired := s.HealedUntil.Add(rapport.HealedWithin); paired.After(after) {
		after = paired
	}
	return !slices.ContainsFunc(events, func(e *rapport.Event) bool { return e.IsHealed() || !e.OccurredAt.After(after) })
}

// carryOn folds groups onto the last sessions of their conversations.
func (p *Sessions) carryOn(ctx context.Context, tx *store.Tx, carried map[store.Conversation]rapport.Session, groups map[store.Conversation][]*rapport.Event, change *store.Change) error {
	asked := make(map[store.SessionKey][]rapport.TextHash, len(carried))
	for conversation, session := range carried {
		asked[store.KeyOf(&session)] = p.fold.TextHashes(groups[conversation])
	}
	said, err := tx.SaidTexts(ctx, asked)
	if err != nil {
		return err
	}
	for conversation, session := range carried {
		key := store.KeyOf(&session)
		windows, err := p.foldOnto(ctx, tx, rapport.Resume(session, said[key]), groups[conversation])
		if err != nil {
			return err
		}
		if windows[0].EventCount == session.EventCount {
			windows = windows[1:] // all went into new sessions: the last one stays as it is
		} else {
			change.Replaced = append(change.Replaced, key)
		}
		change.Written = append(change.Written, windows...)
	}
	return nil
}

// foldAnew reads the sessions that the events can touch again from the log.
func (p *Sessions) foldAnew(ctx context.Context, tx *store.Tx, conversation store.Conversation, events []*rapport.Event, change *store.Change) error {
	slices.SortFunc(events, rapport.Compare)
	stretches, err := touchedBy(ctx, tx, conversation, events)
	if err != nil {
		return err
	}
	for _, touched := range stretches {
		again, err := tx.EventsOfSpan(ctx, conversation, touched.span)
		if err != nil {
			return err
		}
		for _, s := range touched.sessions {
			key := store.SessionKey{Conversation: conversation, StartedAt: s.StartedAt}
			change.Replaced = append(change.Replaced, key)
			change.Refolded = append(change.Refolded, key)
		}
		windows, err := p.foldAll(ctx, tx, again, change)
		if err != nil {
			return err
		}
		change.Written = append(change.Written, windows...)
	}
	return nil
}

// touchedBy finds what has to be folded anew for the events, which are in order.
func touchedBy(ctx context.Context, tx *store.Tx, conversation store.Conversation, events []*rapport.Event) ([]touched, error) {
	since, until := events[0].OccurredAt, events[len(events)-1].OccurredAt
	spans, err := tx.SessionSpans(ctx, conversation, since, until)
	if err != nil {
		return nil, err
	}
	stretches := touchedSpans(spans, events)
	if !isHealedNear(stretches, events) {
		return stretches, nil
	}
	stretches = touchedClusters(spans, events)
	for further := pairReach; isOpen(stretches, since, until); further *= 4 {
		since, until = spans[0].StartedAt.Add(-further), spans[len(spans)-1].LastEventAt.Add(further)
		if spans, err = tx.SessionSpans(ctx, conversation, since, until); err != nil {
			return nil, err
		}
		stretches = touchedClusters(spans, events)
	}
	return stretches, nil
}

// foldAll folds events into new sessions. Their pairs are found first, over all of
// them: afterwards they are folded in stretches.
func (p *Sessions) foldAll(ctx context.Context, tx *store.Tx, events []*rapport.Event, change *store.Change) ([]*rapport.Window, error) {
	healed := rapport.HealedAmong(events)
	counted, healedAt := rapport.Reconcile(events)
	change.Healed = append(change.Healed, judged(healed, counted)...)
	windows, err := p.foldOnto(ctx, tx, nil, counted)
	rapport.NoteHealed(windows, healedAt)
	return windows, err
}

// stretchBytes is how much text is folded before the transaction shows a sign of
// life: the sentiment of a megabyte takes up to half a second.
const stretchBytes = 1 << 20

// foldOnto folds events onto the last session, or into new ones if there is
// none, in stretches.
func (p *Sessions) foldOnto(ctx context.Context, tx *store.Tx, last *rapport.Window, events []*rapport.Event) ([]*rapport.Window, error) {
	slices.SortFunc(events, rapport.Compare)
	var windows []*rapport.Window
	if last != nil {
		windows = append(windows, last)
	}
	for len(events) > 0 {
		n, bytes := 0, 0
		for n < len(events) && (n == 0 || bytes < stretchBytes) {
			bytes += len(events[n].Text)
			n++
		}
		more := p.fold.Continue(last, events[:n:n])
		if last != nil {
			more = more[1:] // it stands there already
		}
		windows, events = append(windows, more...), events[n:]
		last = windows[len(windows)-1]
		if bytes >= stretchBytes {
			if err := tx.KeepAlive(ctx); err != nil {
				return nil, err
			}
		}
	}
	return windows, nil
}
