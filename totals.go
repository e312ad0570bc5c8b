package rapport

import "math"

// Totals are sums over sessions. Those of parts add up to those of the whole, and can
// be taken away from it again. Times are milliseconds.
type Totals struct {
	Sessions int64

	// Sessions by their tier.
	Bounced, Engaged, Continued, Deep int64

	Joined int64 // sessions with a room.join

	Events, Joins, Messages     int64
	UserMessages, AgentMessages int64
	UserChars, AgentChars       int64 // Unicode code points
	Errors                      int64
	Turns, AnsweredTurns        int64
	QuickAnswers                int64
	Repeats, Friction           int64 // user messages
	DurationMS, ActiveMS        int64 // of each session its whole milliseconds
	ResponseMS                  int64 // over the answered turns
	EngagementTenths            int64 // of the scores, over all sessions
	QualityTenths, Judged       int64 // of the scores, over the sessions that have one, and how many these are
	SentimentThousandths, Felt  int64 // of each session's mean as it is shown, over the sessions that have one
	RatingThousandths, Rated    int64 // over the sessions that have a rating: see MaxRating

	Duration Histogram // of the sessions' durations in milliseconds
	Response Histogram // of the mean responses, in milliseconds, of the sessions with an answered turn
}

// MaxRating is the greatest rating, of either sign, that a sum takes: what is beyond
// counts as this. A rating is whatever the sender has told.
const MaxRating = 1_000_000

// TotalsOf are those of one session.
func TotalsOf(s *Session) Totals {
	if quality, ok := s.QualityScore(); ok {
		return TotalsOfScored(s, s.EngagementScore(), &quality)
	}
	return TotalsOfScored(s, s.EngagementScore(), nil)
}

// TotalsOfScored are those of a session with the scores that it was given, in tenths;
// quality is nil if it has none.
func TotalsOfScored(s *Session, engagement int64, quality *int64) Totals {
	t := Totals{
		Sessions: 1, Events: s.EventCount, Joins: s.JoinCount, Messages: s.MessageCount,
		UserMessages: s.UserMessageCount, AgentMessages: s.AgentMessageCount,
		UserChars: s.UserCharCount, AgentChars: s.AgentCharCount, Errors: s.ErrorCount,
		Turns: s.TurnCount, AnsweredTurns: s.AnsweredTurnCount, QuickAnswers: s.QuickAnswerCount,
		Repeats: s.RepeatCount, Friction: s.FrictionCount,
		DurationMS: s.DurationMs(), ActiveMS: s.ActiveMs(), ResponseMS: s.ResponseMsTotal,
		EngagementTenths: engagement,
	}
	switch s.EngagementTier() {
	case TierBounced:
		t.Bounced = 1
	case TierEngaged:
		t.Engaged = 1
	case TierContinued:
		t.Continued = 1
	default:
		t.Deep = 1
	}
	if s.JoinCount > 0 {
		t.Joined = 1
	}
	if quality != nil {
		t.QualityTenths, t.Judged = *quality, 1
	}
	if s.UserMessageCount > 0 {
		t.SentimentThousandths, t.Felt = s.SentimentMean(), 1
	}
	if s.Rating != nil && !math.IsNaN(*s.Rating) {
		rating := min(max(*s.Rating, -MaxRating), MaxRating)
		t.RatingThousandths, t.Rated = int64(math.Round(rating*1000)), 1
	}
	t.Duration.Add(s.DurationMs())
	if s.AnsweredTurnCount > 0 {
		t.Response.Add(s.AvgResponseMs())
	}
	return t
}

// Talked is how many sessions have a user message.
func (t *Totals) Talked() int64 { return t.Sessions - t.Bounced }

// Returned is how many sessions have a second turn.
func (t *Totals) Returned() int64 { return t.Continued + t.Deep }

// Sums are all numbers but the histograms, by their names in the database, in the
// order of their columns.
func (t *Totals) Sums() []Sum {
	return []Sum{
		{"sessions", &t.Sessions}, {"bounced", &t.Bounced}, {"engaged", &t.Engaged}, {"continued", &t.Continued},
		{"deep", &t.Deep}, {"joined", &t.Joined}, {"events", &t.Events}, {"joins", &t.Joins}, {"messages", &t.Messages},
		{"user_messages", &t.UserMessages}, {"agent_messages", &t.AgentMessages}, {"user_chars", &t.UserChars},
		{"agent_chars", &t.AgentChars}, {"errors", &t.Errors}, {"turns", &t.Turns}, {"answered_turns", &t.AnsweredTurns},
		{"quick_answers", &t.QuickAnswers}, {"repeats", &t.Repeats}, {"friction", &t.Friction},
		{"duration_ms", &t.DurationMS}, {"active_ms", &t.ActiveMS}, {"response_ms", &t.ResponseMS},
		{"engagement_tenths", &t.EngagementTenths}, {"quality_tenths", &t.QualityTenths}, {"judged", &t.Judged},
		{"sentiment_thousandths", &t.SentimentThousandths}, {"felt", &t.Felt},
		{"rating_thousandths", &t.RatingThousandths}, {"rated", &t.Rated},
	}
}

// Sum is one number of Totals.
type Sum struct {
	Column string
	Value  *int64
}

// Add adds the totals of other sessions.
func (t *Totals) Add(other Totals) {
	t.addSums(&other, 1)
	t.Duration.Merge(other.Duration)
	t.Response.Merge(other.Response)
}

// AddAll adds the totals of many others at once, which none of them notices.
func (t *Totals) AddAll(others []*Totals) {
	durations, responses := make([]Histogram, len(others)), make([]Histogram, len(others))
	for i, o := range others {
		t.addSums(o, 1)
		durations[i], responses[i] = o.Duration, o.Response
	}
	t.Duration.MergeAll(durations)
	t.Response.MergeAll(responses)
}

// Sub takes away the totals of sessions that are among these.
func (t *Totals) Sub(other Totals) {
	t.addSums(&other, -1)
	t.Duration.Sub(other.Duration)
	t.Response.Sub(other.Response)
}

func (t *Totals) addSums(o *Totals, sign int64) {
	t.Sessions += sign * o.Sessions
	t.Bounced += sign * o.Bounced
	t.Engaged += sign * o.Engaged
	t.Continued += sign * o.Continued
	t.Deep += sign * o.Deep
	t.Joined += sign * o.Joined
	t.Events += sign * o.Events
	t.Joins += sign * o.Joins
	t.Messages += sign * o.Messages
	t.UserMessages += sign * o.UserMessages
	t.AgentMessages += sign * o.AgentMessages
	t.UserChars += sign * o.UserChars
	t.AgentChars += sign * o.AgentChars
	t.Errors += sign * o.Errors
	t.Turns += sign * o.Turns
	t.AnsweredTurns += sign * o.AnsweredTurns
	t.QuickAnswers += sign * o.QuickAnswers
	t.Repeats += sign * o.Repeats
	t.Friction += sign * o.Friction
	t.DurationMS += sign * o.DurationMS
	t.ActiveMS += sign * o.ActiveMS
	t.ResponseMS += sign * o.ResponseMS
	t.EngagementTenths += sign * o.EngagementTenths
	t.QualityTenths += sign * o.QualityTenths
	t.Judged += sign * o.Judged
	t.SentimentThousandths += sign * o.SentimentThousandths
	t.Felt += sign * o.Felt
	t.RatingThousandths += sign * o.RatingThousandths
	t.Rated += sign * o.Rated
}

// IsZero reports whether they are those of no session.
func (t *Totals) IsZero() bool { return t.Equal(Totals{}) }

// Equal reports whether all numbers are the same.
func (t *Totals) Equal(other Totals) bool {
	theirs := other.Sums()
	for i, sum := range t.Sums() {
		if *sum.Value != *theirs[i].Value {
			return false
		}
	}
	return t.Duration.Equal(other.Duration) && t.Response.Equal(other.Response)
}
