package rapport_test

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"rapport"
)

func TestQuotientsAreRoundedHalfAwayFromZero(t *testing.T) {
	t.Parallel()
	const decimals = 3
	integers := rapid.OneOf(rapid.Int64Range(-5000, 5000), rapid.Int64Range(-1<<52, 1<<52))
	rapid.Check(t, func(t *rapid.T) {
		num, den := integers.Draw(t, "num"), rapid.OneOf(integers, rapid.Int64()).Draw(t, "den")
		got, ok := rapport.Quotient(num, den, decimals)
		if ok != (den != 0) {
			t.Fatalf("%d/%d: %v", num, den, ok)
		}
		if !ok {
			return
		}
		// FloatString rounds half away from zero.
		exact := new(big.Rat).SetFrac(big.NewInt(num), big.NewInt(den)).FloatString(decimals)
		want, _ := new(big.Int).SetString(strings.Replace(exact, ".", "", 1), 10)
		if want.Cmp(big.NewInt(got)) != 0 {
			t.Errorf("%d/%d is %d thousandths, want %s", num, den, got, exact)
		}
	})
}
