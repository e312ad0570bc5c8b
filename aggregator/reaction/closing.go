package reaction

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"rapport/aggregator/reaction/rules"
	"rapport/store"
)

// settleSessions is how many closed sessions a step tells, about.
const settleSessions = 500

// settle tells the rules of sessions that have closed. It reports whether there may be more
// of them.
//
// Most sessions close by resting: their closes_at passes, behind everything that came of
// them. So it suffices to look, now and then, which have closed since the last look. Where
// something comes to a session that is closed already, or will be within a minute, its
// conversation is due a minute later.
func (r *Reaction) settle(ctx context.Context, limit int) (more bool, err error) {
	if set := r.set.Load(); !set.IsOn(rules.SessionClosed) && !set.IsOn(rules.SessionChanged) {
		return false, nil
	}
	if r.faults.most > 0 {
		limit = min(limit, r.faults.most)
	}
	_, _, err = r.transact(ctx, func(ctx context.Context, s *step) (err error) {
		more, err = s.settle(ctx, limit)
		return err
	})
	switch {
	case err != nil:
		r.faults.most = max(1, limit/2)
	case r.faults.most > 0:
		r.faults.most = 2 * limit
	}
	return more, err
}

func (s *step) settle(ctx context.Context, limit int) (more bool, err error) {
	if s.after.Position != s.tx.Position || s.tx.ClosedTo.IsZero() { // it begins just now
		return false, nil
	}
	now, err := s.foldedTo(ctx)
	if err != nil {
		return false, err
	}
	due, err := s.tx.Due(ctx, now, limit)
	if err != nil {
		return false, err
	}
	sessions, err := s.tx.SessionsDue(ctx, due, now)
	if err != nil {
		return false, err
	}
	if all, err := s.close(ctx, sessions, byTalk(due), limit); err != nil || !all {
		return true, err
	}
	if err := s.tx.DropDue(ctx, due); err != nil {
		return false, err
	}
	if len(due) == limit {
		return true, nil
	}
	since := s.tx.ClosedTo
	if oldest := s.now.Add(-MaxAge); since.Before(oldest) {
		since = oldest
	}
	if !since.Before(now) {
		s.isIdle = len(due) == 0
		return false, nil
	}
	sessions, reached, err := s.tx.ClosedSessions(ctx, since, now, limit)
	if err != nil {
		return false, err
	}
	if all, err := s.close(ctx, sessions, nil, limit); err != nil || !all {
		return true, err
	}
	if len(due)+len(sessions) == 0 && reached.Sub(since) < noteEvery {
		s.isIdle = true
		return false, nil
	}
	s.after.ClosedTo = reached
	return reached.Before(now), nil
}

// foldedTo is the time up to which it is known what sessions have closed: now, unless events
// wait to be folded, of which one may be theirs.
func (s *step) foldedTo(ctx context.Context) (time.Time, error) {
	if s.tx.Folded >= s.tx.Head {
		return s.now, nil
	}
	since, err := s.tx.WaitsSince(ctx, s.tx.Folded)
	if err != nil || since.After(s.now) {
		return s.now, err
	}
	return since, nil
}

// noteEvery is how often it is written down how far it was looked, where nothing has closed.
const noteEvery = time.Minute

func byTalk(due []store.DueConversation) map[store.Conversation]*store.DueConversation {
	found := make(map[store.Conversation]*store.DueConversation, len(due))
	for i := range due {
		found[due[i].Conversation] = &due[i]
	}
	return found
}

// close tells the rules that sessions have closed, or have changed since they were told. It
// reports whether these were all: many may close at the same time.
func (s *step) close(ctx context.Context, sessions []store.SessionRow, due map[store.Conversation]*store.DueConversation, limit int) (all bool, err error) {
	told, err := s.tx.Told(ctx, sessions)
	if err != nil {
		return false, fmt.Errorf("reading which sessions were told: %w", err)
	}
	var versions []store.ToldSessionVersion
	var gone []store.SessionKey
	all = true
	for i := range sessions {
		session := &sessions[i]
		o := closing(session, told[i])
		came := due[conversationOf(session)]
		if o == nil || o.On == rules.SessionClosed && came != nil && session.LastPosition < came.Position && !s.isOfOurTime(session) {
			continue
		}
		if all = len(versions) < limit; !all {
			break
		}
		if o.At = session.ClosesAt; came != nil && came.ReceivedAt.After(o.At) {
			o.At = came.ReceivedAt
		}
		versions = append(versions, store.ToldSessionVersion{SessionKey: store.KeyOf(&session.Session), LastPosition: session.LastPosition})
		for _, other := range told[i] {
			if !other.StartedAt.Equal(session.StartedAt) {
				gone = append(gone, other.SessionKey)
			}
		}
		of := fault("the session whose last event is " + strconv.FormatInt(session.LastPosition, 10))
		s.about = append(s.about, of)
		if s.set.IsOn(o.On) {
			s.add(of, o)
		}
	}
	if err := s.match(ctx); err != nil {
		return false, err
	}
	s.occasions = nil
	return all, s.tx.SetTold(ctx, s.now, versions, gone)
}

// isOfOurTime reports whether a session closed while there were rules, and not so long ago
// that it is forgotten whether it was told.
func (s *step) isOfOurTime(session *store.SessionRow) bool {
	return session.ClosesAt.After(s.tx.BeganAt) && session.ClosesAt.After(s.now.Add(-ToldFor))
}

// closing is what has happened to a closed session since it was told, if it was; nil if
// nothing has.
func closing(session *store.SessionRow, told []store.ToldSessionVersion) *rules.Occasion {
	o := &rules.Occasion{On: rules.SessionClosed, Session: sessionOf(session)}
	isKnown := false
	for _, version := range told { // in the order of time
		switch {
		case version.StartedAt.Equal(session.StartedAt):
			if len(told) == 1 && version.LastPosition == session.LastPosition {
				return nil
			}
			isKnown = true
		case !isKnown && o.Replaces.IsZero():
			o.Replaces = version.StartedAt
		}
		o.On = rules.SessionChanged
	}
	return o
}

func conversationOf(s *store.SessionRow) store.Conversation {
	return store.Conversation{AgentID: s.AgentID, SessionID: s.SessionID}
}
