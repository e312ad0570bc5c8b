package reference

import (
	"math/big"

	"rapport"
)

func engagementTier(w window) string {
	turnCount := len(turns(w))
	switch {
	case len(messagesOf(w, rapport.RoleUser)) == 0:
		return "bounced"
	case turnCount < 2:
		return "engaged"
	case turnCount < 4:
		return "continued"
	default:
		return "deep"
	}
}

// engagementScore is 100·(0.5·min(turns, 8)/8 + 0.3·min(active_s, 300)/300 +
// 0.2·[turns ≥ 2]), of active_s in whole milliseconds.
func engagementScore(w window, settings rapport.Settings) float64 {
	turnCount := len(turns(w))
	returned := 0
	if turnCount >= 2 {
		returned = 1
	}
	score := product(whole(100), sum(
		product(big.NewRat(5, 10), big.NewRat(int64(min(turnCount, 8)), 8)),
		product(big.NewRat(3, 10), big.NewRat(min(activeMS(w, settings), 300_000), 300_000)),
		product(big.NewRat(2, 10), whole(returned)),
	))
	return float(halfUp(score, 1))
}

// qualityScore is 100·(0.4·answered + 0.2·quick + 0.2·(1−repeat) +
// 0.2·(1−friction)), and null where no user spoke.
func qualityScore(w window, settings rapport.Settings) *float64 {
	userMessages := len(messagesOf(w, rapport.RoleUser))
	if userMessages == 0 {
		return nil
	}
	answered := share(len(responses(w)), len(turns(w)))
	quick := share(quickAnswerCount(w, settings), len(responses(w)))
	fresh := share(userMessages-repeatCount(w), userMessages)
	smooth := share(userMessages-frictionCount(w, settings), userMessages)
	score := product(whole(100), sum(
		product(big.NewRat(4, 10), answered),
		product(big.NewRat(2, 10), quick),
		product(big.NewRat(2, 10), fresh),
		product(big.NewRat(2, 10), smooth),
	))
	return new(float(halfUp(score, 1)))
}
