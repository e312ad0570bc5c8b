package rapport

import "math/big"

// ScoreVersion is the version of the two scores. Whoever changes a weight, a
// cap or a formula of this file raises it; rollups of the old version are then
// refused until they are rebuilt.
const ScoreVersion = 1

// The weights are in thousandths of the whole (they add up to 1000), so that a
// score is computed in integers, in tenths of a point, and rounded once.
const (
	engagementTurnsWeight  = 500
	engagementActiveWeight = 300
	engagementReturnWeight = 200 // for a second turn
	engagementTurnsCap     = 8
	engagementActiveCapMs  = 300_000

	qualityAnsweredWeight = 400
	qualityQuickWeight    = 200
	qualityRepeatWeight   = 200
	qualityFrictionWeight = 200
)

// EngagementScore is 0…1000, in tenths of a point, rounded half up:
//
//	100·(0.5·min(turns, 8)/8 + 0.3·min(active_s, 300)/300 + 0.2·[turns ≥ 2])
func (s *Session) EngagementScore() int64 {
	turns := min(s.TurnCount, engagementTurnsCap)
	active := min(s.ActiveMs(), engagementActiveCapMs)
	const den = engagementTurnsCap * engagementActiveCapMs
	num := engagementTurnsWeight*turns*engagementActiveCapMs +
		engagementActiveWeight*active*engagementTurnsCap
	if s.TurnCount >= 2 {
		num += engagementReturnWeight * den
	}
	return (2*num + den) / (2 * den)
}

// QualityScore is 0…1000, in tenths of a point, rounded half up; false without
// a user message:
//
//	100·(0.4·answered + 0.2·quick + 0.2·(1−repeat) + 0.2·(1−friction))
//
// answered is answered turns / turns, quick is quick answers / answered turns
// (0 if none), repeat and friction are their counts / user messages.
func (s *Session) QualityScore() (int64, bool) {
	switch {
	case s.UserMessageCount == 0 || s.TurnCount == 0:
		return 0, false
	case s.isSmall():
		return s.smallQuality(), true
	}
	return s.largeQuality(), true
}

func (s *Session) largeQuality() int64 {
	users := s.UserMessageCount
	sum := ratio(qualityAnsweredWeight*s.AnsweredTurnCount, s.TurnCount)
	if s.AnsweredTurnCount > 0 {
		sum.Add(sum, ratio(qualityQuickWeight*s.QuickAnswerCount, s.AnsweredTurnCount))
	}
	sum.Add(sum, ratio(qualityRepeatWeight*(users-s.RepeatCount), users))
	sum.Add(sum, ratio(qualityFrictionWeight*(users-s.FrictionCount), users))
	return roundHalfUp(sum)
}

// smallCount bounds the counts with which the quality fits into integers.
const smallCount = 100_000

func (s *Session) isSmall() bool {
	return max(s.UserMessageCount, s.TurnCount, s.AnsweredTurnCount, s.QuickAnswerCount, s.RepeatCount, s.FrictionCount) < smallCount
}

// smallQuality is the same sum over a common denominator: nearly every session has
// it, and a list shows many.
func (s *Session) smallQuality() int64 {
	users, turns, answered := s.UserMessageCount, s.TurnCount, max(1, s.AnsweredTurnCount)
	num := qualityAnsweredWeight*s.AnsweredTurnCount*answered*users +
		(qualityRepeatWeight*(users-s.RepeatCount)+qualityFrictionWeight*(users-s.FrictionCount))*turns*answered
	if s.AnsweredTurnCount > 0 {
		num += qualityQuickWeight * s.QuickAnswerCount * turns * users
	}
	den := users * turns * answered
	return (2*num + den) / (2 * den)
}

func ratio(num, den int64) *big.Rat { return big.NewRat(num, den) }

// roundHalfUp rounds a ratio that is not negative.
func roundHalfUp(r *big.Rat) int64 {
	twice := new(big.Int).Lsh(r.Num(), 1)
	twice.Add(twice, r.Denom())
	return twice.Quo(twice, new(big.Int).Lsh(r.Denom(), 1)).Int64()
}
