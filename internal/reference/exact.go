package reference

import "math/big"

// halfUp rounds to a number of decimals; a half goes up.
func halfUp(r *big.Rat, decimals int64) *big.Rat {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(decimals), nil)
	scaled := new(big.Rat).Mul(r, new(big.Rat).SetInt(scale))
	scaled.Add(scaled, big.NewRat(1, 2))
	// The denominator is positive, so Div rounds down.
	down := new(big.Int).Div(scaled.Num(), scaled.Denom())
	return new(big.Rat).SetFrac(down, scale)
}

// halfAway rounds to a number of decimals; a half goes away from zero.
func halfAway(r *big.Rat, decimals int64) *big.Rat {
	if r.Sign() < 0 {
		return new(big.Rat).Neg(halfUp(new(big.Rat).Neg(r), decimals))
	}
	return halfUp(r, decimals)
}

// float is the float64 nearest to an already rounded number. JSON writes it
// with that number's own decimals.
func float(r *big.Rat) float64 {
	f, _ := r.Float64()
	return f
}

func whole(n int) *big.Rat { return big.NewRat(int64(n), 1) }

func sum(terms ...*big.Rat) *big.Rat {
	total := new(big.Rat)
	for _, term := range terms {
		total.Add(total, term)
	}
	return total
}

func product(factors ...*big.Rat) *big.Rat {
	total := whole(1)
	for _, factor := range factors {
		total.Mul(total, factor)
	}
	return total
}

// share is part / of, and 0 of nothing.
func share(part, of int) *big.Rat {
	if of == 0 {
		return new(big.Rat)
	}
	return big.NewRat(int64(part), int64(of))
}
