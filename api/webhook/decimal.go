package webhook

import (
	"math"
	"strings"
)

const (
	// maxWholeDigits is how many digits always fit an int64.
	maxWholeDigits = 18
	// maxExponent is where exponents saturate: far beyond any time or count,
	// and far below an overflow when the length of a body is added.
	maxExponent = 1 << 40
)

// decimal is the number of a literal, exactly: 0.d₁d₂d₃… × 10^exponent, where
// d₁ is not 0. Of the digits only those are kept that can be asked for, so that
// a literal of a megabyte or of 1e999999999 costs no more than reading it.
type decimal struct {
	negative    bool
	digits      [maxWholeDigits + 1]byte
	significant int64 // digits up to the last that is not 0; none for zero
	exponent    int64
}

// parseDecimal reads a literal by the grammar of JSON numbers, and nothing
// laxer: no space, no plus sign, no leading zero, no bare point.
func parseDecimal(s string) (decimal, bool) {
	var d decimal
	s, d.negative = strings.CutPrefix(s, "-")
	whole, s := cutDigits(s)
	if whole == "" || whole[0] == '0' && len(whole) > 1 {
		return decimal{}, false
	}
	var fraction string
	if rest, ok := strings.CutPrefix(s, "."); ok {
		if fraction, s = cutDigits(rest); fraction == "" {
			return decimal{}, false
		}
	}
	exponent, ok := parseExponent(s)
	if !ok {
		return decimal{}, false
	}
	d.exponent = int64(len(whole)) + exponent
	d.take(whole, fraction)
	return d, true
}

func cutDigits(s string) (digits, rest string) {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return s[:n], s[n:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// parseExponent reads what follows the digits of a number: nothing, or e, a
// sign or none, and digits.
func parseExponent(s string) (int64, bool) {
	if s == "" {
		return 0, true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return 0, false
	}
	s = s[1:]
	sign := int64(1)
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		s, sign = rest, -1
	} else {
		s = strings.TrimPrefix(s, "+")
	}
	digits, rest := cutDigits(s)
	if digits == "" || rest != "" {
		return 0, false
	}
	n := int64(0)
	for _, c := range []byte(digits) {
		n = min(n*10+int64(c-'0'), maxExponent)
	}
	return sign * n, true
}

// take fills in the digits: each leading zero lowers the exponent instead.
func (d *decimal) take(whole, fraction string) {
	started, n := false, int64(0)
	for _, digits := range [2]string{whole, fraction} {
		for i := 0; i < len(digits); i++ {
			c := digits[i] - '0'
			if !started && c == 0 {
				d.exponent--
				continue
			}
			started = true
			if n < int64(len(d.digits)) {
				d.digits[n] = c
			}
			if n++; c != 0 {
				d.significant = n
			}
		}
	}
}

// isWhole reports whether the number is an integer.
func (d *decimal) isWhole() bool { return d.significant <= max(d.exponent, 0) }

// floor is the magnitude of the number × 10^shift without its fraction, and
// MaxInt64 where that has more than 18 digits.
func (d *decimal) floor(shift int64) int64 {
	places := d.exponent + shift
	if d.significant == 0 || places <= 0 {
		return 0
	}
	if places > maxWholeDigits {
		return math.MaxInt64
	}
	n := int64(0)
	for _, c := range d.digits[:places] {
		n = n*10 + int64(c)
	}
	return n
}

// round is floor, rounded half up.
func (d *decimal) round(shift int64) int64 {
	n := d.floor(shift)
	next := d.exponent + shift // the first digit that floor leaves out
	if next >= 0 && next < int64(len(d.digits)) && d.digits[next] >= 5 {
		n++
	}
	return n
}
