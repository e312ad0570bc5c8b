package rapport

import "time"

// The engagement tiers of a session, by what its visitor did.
const (
	TierBounced   = "bounced"   // no user message
	TierEngaged   = "engaged"   // fewer than 2 turns
	TierContinued = "continued" // 2 or 3 turns
	TierDeep      = "deep"      // 4 turns or more
)

// Why a session is closed, where its session.end does not say.
const (
	EndReasonEnded = "ended" // a session.end without a reason
	EndReasonIdle  = "idle"  // no session.end: the idle timeout passed
)

// Session is the fold of one window of events of one (agent_id, session_id).
// It is at once the numbers and the state from which the next event is folded:
// what it holds are sums and extremes, so that carrying on costs the same
// however long the session is. What is derived from them are methods.
type Session struct {
	AgentID        string
	SessionID      string
	StartedAt      time.Time // first occurred_at
	LastActivityAt time.Time // last occurred_at, session.end aside
	LastEventAt    time.Time // last occurred_at of all
	EndedAt        time.Time // of the first session.end; zero if there is none
	EndReason      string    // of the first session.end; empty if there is none

	EventCount        int64
	EndCount          int64 // session.end
	JoinCount         int64 // room.join
	ErrorCount        int64 // agent.error
	MessageCount      int64 // chat.push
	UserMessageCount  int64
	AgentMessageCount int64
	UserCharCount     int64 // Unicode code points
	AgentCharCount    int64

	ActiveUs          int64 // µs; sum of min(gap, ActiveGapCap)
	TurnCount         int64
	AnsweredTurnCount int64
	QuickAnswerCount  int64
	ResponseMsTotal   int64 // ms; each response cut to whole ms before it is summed
	ResponseMsMax     int64 // ms
	FirstResponseMs   int64 // ms; meaningful if AnsweredTurnCount > 0
	AwaitsAnswer      bool  // the last of the user and agent messages is a user's
	LastUserMessageAt time.Time

	RepeatCount   int64
	FrictionCount int64
	SentimentSum  int64 // thousandths, over the user messages

	PeakParticipants int32 // 0 if never told
	RoomName         string
	UserID           string
	Rating           *float64 // nil if never told

	FirstPosition int64
	LastPosition  int64
	HealedUntil   time.Time // last healed message within a second of its events, counted or not; zero if there is none
	ScoreVersion  int
	ErasedAt      time.Time // when its events were erased: its numbers are frozen since; zero for any other
}

// ClosesAt is when the session closes, or closed: after the idle timeout, or at
// its first session.end if that is earlier.
func (s *Session) ClosesAt(idleTimeout time.Duration) time.Time {
	idle := s.LastActivityAt.Add(idleTimeout)
	if !s.EndedAt.IsZero() && s.EndedAt.Before(idle) {
		return s.EndedAt
	}
	return idle
}

// DurationMs is the time from the first to the last activity, in whole
// milliseconds; the idle timeout is no part of it.
func (s *Session) DurationMs() int64 {
	return s.LastActivityAt.Sub(s.StartedAt).Milliseconds()
}

// ActiveMs is ActiveUs in whole milliseconds, cut.
func (s *Session) ActiveMs() int64 { return s.ActiveUs / 1000 }

// AvgResponseMs is the mean response in milliseconds, rounded half up. It is
// meaningful if AnsweredTurnCount > 0.
func (s *Session) AvgResponseMs() int64 {
	if s.AnsweredTurnCount == 0 {
		return 0
	}
	return (2*s.ResponseMsTotal + s.AnsweredTurnCount) / (2 * s.AnsweredTurnCount)
}

// SentimentMean is the mean sentiment of the user messages in thousandths,
// rounded half away from zero. It is meaningful if UserMessageCount > 0.
func (s *Session) SentimentMean() int64 {
	n := s.UserMessageCount
	switch {
	case n == 0:
		return 0
	case s.SentimentSum < 0:
		return (2*s.SentimentSum - n) / (2 * n)
	default:
		return (2*s.SentimentSum + n) / (2 * n)
	}
}

// EngagementTier is one of the four tiers.
func (s *Session) EngagementTier() string {
	switch {
	case s.UserMessageCount == 0:
		return TierBounced
	case s.TurnCount < 2:
		return TierEngaged
	case s.TurnCount < 4:
		return TierContinued
	default:
		return TierDeep
	}
}
