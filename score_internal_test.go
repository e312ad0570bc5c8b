package rapport

import (
	"testing"

	"pgregory.net/rapid"
)

func TestTheQualityOfFewMessagesIsThatOfMany(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		count := func(name string, least, most int64) int64 { return rapid.Int64Range(least, most).Draw(t, name) }
		most := rapid.SampledFrom([]int64{5, 100, smallCount - 1}).Draw(t, "at most")
		s := Session{UserMessageCount: count("users", 1, most), TurnCount: count("turns", 1, most)}
		s.AnsweredTurnCount = count("answered", 0, s.TurnCount)
		s.QuickAnswerCount = count("quick", 0, s.AnsweredTurnCount)
		s.RepeatCount = count("repeat", 0, s.UserMessageCount)
		s.FrictionCount = count("friction", 0, s.UserMessageCount)
		if small, large := s.smallQuality(), s.largeQuality(); small != large {
			t.Errorf("%d tenths in integers, %d exactly, of %+v", small, large, s)
		}
	})
}
