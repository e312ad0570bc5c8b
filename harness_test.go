package rapport_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"rapport"
	"rapport/internal/reference"
)

// conversation is what a session is cut from: one session_id of one agent.
type conversation struct{ agentID, sessionID string }

// foldRows folds everything at once, and shows the sessions as GET /sessions
// does.
func foldRows(fold *rapport.Fold, events []rapport.Event, now time.Time) []reference.Row {
	var sessions []rapport.Session
	for _, group := range byConversation(events) {
		for _, w := range fold.Windows(group) {
			sessions = append(sessions, w.Session)
		}
	}
	return rowsOf(sessions, fold.Settings(), now)
}

func byConversation(events []rapport.Event) map[conversation][]*rapport.Event {
	groups := map[conversation][]*rapport.Event{}
	for _, e := range events {
		if e.InSession() {
			id := conversation{e.AgentID, e.SessionID}
			groups[id] = append(groups[id], &e)
		}
	}
	return groups
}

// rollups keep sessions batch by batch, as the aggregator does: they carry on
// the stored session where a batch comes strictly after it, with nothing healed
// near, and fold anew otherwise.
type rollups struct {
	fold   *rapport.Fold
	stored map[conversation]*rollup
}

type rollup struct {
	log      []*rapport.Event
	sessions []rapport.Session
	said     []rapport.TextHash // in the last session
}

func newRollups(fold *rapport.Fold) *rollups {
	return &rollups{fold: fold, stored: map[conversation]*rollup{}}
}

func (r *rollups) add(batch []rapport.Event) {
	for id, events := range byConversation(batch) {
		kept := r.stored[id]
		if kept == nil {
			kept = &rollup{}
			r.stored[id] = kept
		}
		kept.log = append(kept.log, events...)
		if kept.isBefore(events) {
			kept.carryOn(r.fold, events)
		} else {
			kept.foldAnew(r.fold)
		}
	}
}

func (r *rollup) isBefore(events []*rapport.Event) bool {
	if len(r.sessions) == 0 {
		return false
	}
	last := r.sessions[len(r.sessions)-1]
	after := last.LastEventAt
	if alone := last.HealedUntil.Add(rapport.HealedWithin); alone.After(after) {
		after = alone
	}
	return !slices.ContainsFunc(events, func(e *rapport.Event) bool { return e.IsHealed() || !e.OccurredAt.After(after) })
}

// carryOn tells the fold of no more texts than it asks for.
func (r *rollup) carryOn(fold *rapport.Fold, events []*rapport.Event) {
	asked := fold.TextHashes(events)
	known := slices.DeleteFunc(slices.Clone(r.said), func(h rapport.TextHash) bool {
		return !slices.Contains(asked, h)
	})
	last := len(r.sessions) - 1
	windows := fold.Continue(rapport.Resume(r.sessions[last], known), events)
	r.said = append(r.said, windows[0].Added()...)
	r.sessions[last] = windows[0].Session
	r.keep(windows[1:])
}

func (r *rollup) foldAnew(fold *rapport.Fold) {
	r.sessions, r.said = nil, nil
	r.keep(fold.Windows(slices.Clone(r.log)))
}

func (r *rollup) keep(windows []*rapport.Window) {
	for _, w := range windows {
		r.sessions = append(r.sessions, w.Session)
		r.said = w.Added()
	}
}

func (r *rollups) rows(now time.Time) []reference.Row {
	var sessions []rapport.Session
	for _, kept := range r.stored {
		sessions = append(sessions, kept.sessions...)
	}
	return rowsOf(sessions, r.fold.Settings(), now)
}

// rowsOf shows sessions at a reader's now, in the order of GET /sessions.
func rowsOf(sessions []rapport.Session, settings rapport.Settings, now time.Time) []reference.Row {
	slices.SortFunc(sessions, func(a, b rapport.Session) int {
		return cmp.Or(
			b.StartedAt.Compare(a.StartedAt),
			cmp.Compare(a.AgentID, b.AgentID),
			cmp.Compare(a.SessionID, b.SessionID),
		)
	})
	var rows []reference.Row
	for _, s := range sessions {
		rows = append(rows, rowOf(s, settings, now))
	}
	return rows
}

func rowOf(s rapport.Session, settings rapport.Settings, now time.Time) reference.Row {
	closesAt := s.ClosesAt(settings.IdleTimeout)
	row := reference.Row{
		AgentID: s.AgentID, SessionID: s.SessionID,
		StartedAt: stamp(s.StartedAt), LastActivityAt: stamp(s.LastActivityAt), ClosesAt: stamp(closesAt),
		Status:    "open",
		DurationS: thousandths(s.DurationMs()), ActiveS: thousandths(s.ActiveMs()),
		EventCount: int(s.EventCount), JoinCount: int(s.JoinCount),
		MessageCount: int(s.MessageCount), ErrorCount: int(s.ErrorCount),
		UserMessageCount: int(s.UserMessageCount), AgentMessageCount: int(s.AgentMessageCount),
		UserCharCount: int(s.UserCharCount), AgentCharCount: int(s.AgentCharCount),
		TurnCount: int(s.TurnCount), AnsweredTurnCount: int(s.AnsweredTurnCount),
		QuickAnswerCount: int(s.QuickAnswerCount),
		RepeatCount:      int(s.RepeatCount), FrictionCount: int(s.FrictionCount),
		PeakParticipants: s.PeakParticipants, RoomName: s.RoomName, UserID: s.UserID, Rating: s.Rating,
		EngagementTier: s.EngagementTier(), EngagementScore: float64(s.EngagementScore()) / 10,
		ScoreVersion: s.ScoreVersion, FirstPosition: s.FirstPosition, LastPosition: s.LastPosition,
	}
	if !now.Before(closesAt) {
		row.Status = "closed"
		row.EndReason = new(cmp.Or(s.EndReason, rapport.EndReasonIdle))
	}
	if s.AnsweredTurnCount > 0 {
		row.ResponseMSTotal, row.ResponseMSMax = new(s.ResponseMsTotal), new(s.ResponseMsMax)
		row.FirstResponseMS = new(s.FirstResponseMs)
		row.AvgResponseS = new(thousandths(s.AvgResponseMs()))
	}
	if s.UserMessageCount > 0 {
		row.Sentiment = new(thousandths(s.SentimentMean()))
	}
	if tenths, ok := s.QualityScore(); ok {
		row.QualityScore = new(float64(tenths) / 10)
	}
	return row
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

func thousandths(n int64) float64 { return float64(n) / 1000 }

// arrival is one of the histories by which the same events may have come.
type arrival struct {
	name string
	rows []reference.Row
}

// arrivals folds the events at once and in batches, in several orders.
func arrivals(fold *rapport.Fold, events []rapport.Event, now time.Time) []arrival {
	random := rand.New(rand.NewPCG(1, 2))
	backwards := slices.Clone(events)
	slices.Reverse(backwards)
	shuffled := slices.Clone(events)
	random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	all := []arrival{
		{"as given", foldRows(fold, events, now)},
		{"backwards", foldRows(fold, backwards, now)},
		{"shuffled", foldRows(fold, shuffled, now)},
		{"twice", foldRows(fold, slices.Concat(events, shuffled), now)},
	}
	for range 10 {
		all = append(all,
			arrival{"as given, in batches", inBatches(fold, events, random).rows(now)},
			arrival{"in time, in batches", inBatches(fold, inTime(events), random).rows(now)},
			arrival{"shuffled, in batches", inBatches(fold, shuffled, random).rows(now)},
			arrival{"twice, in batches", inBatches(fold, slices.Concat(inTime(events), shuffled), random).rows(now)},
		)
	}
	return all
}

func inBatches(fold *rapport.Fold, events []rapport.Event, random *rand.Rand) *rollups {
	kept := newRollups(fold)
	for len(events) > 0 {
		n := 1 + random.IntN(min(len(events), 4))
		kept.add(events[:n])
		events = events[n:]
	}
	return kept
}

func inTime(events []rapport.Event) []rapport.Event {
	return slices.SortedStableFunc(slices.Values(events), func(a, b rapport.Event) int {
		return a.OccurredAt.Compare(b.OccurredAt)
	})
}
