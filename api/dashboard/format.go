package dashboard

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// nbsp keeps a number and its unit on one line; minus is as wide as plus.
const (
	nbsp  = "\u00a0"
	minus = "\u2212"
	none  = "–"
)

// Date is the day of an instant, by the clock of the state.
func (s State) Date(t time.Time) string {
	return t.In(s.place).Format("2" + nbsp + "Jan" + nbsp + "2006")
}

// DateTime is an instant by the clock of the state, to the minute.
func (s State) DateTime(t time.Time) string {
	return t.In(s.place).Format("2" + nbsp + "Jan" + nbsp + "2006, 15:04")
}

// Clock is the time of day of an instant, to the second.
func (s State) Clock(t time.Time) string { return t.In(s.place).Format("15:04:05") }

// DateClock is an instant to the second.
func (s State) DateClock(t time.Time) string {
	return t.In(s.place).Format("2" + nbsp + "Jan" + nbsp + "2006, 15:04:05")
}

// Moment is an instant of today by its time of day, and any other with its date.
func (s State) Moment(t time.Time) string {
	if s.Date(t) == s.Date(s.now) {
		return s.Clock(t)
	}
	return s.DateClock(t)
}

// machineTime is what the attribute datetime of <time> takes.
func machineTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// whole shows all digits of a count.
func whole[N int | int32 | int64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = minus, digits[1:]
	}
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return sign + strings.Join(append([]string{digits}, groups...), ",")
}

// compact shows a count in a few characters: 9,876, 12.3 k, 4.56 M.
func compact(n float64) string {
	size := math.Abs(n)
	for _, unit := range []struct {
		of   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if size >= 10_000 && size >= unit.of*0.99995 {
			return decimal(n/unit.of, digitsOf(size/unit.of)) + nbsp + unit.name
		}
	}
	return signed(whole(int64(math.Round(size))), n)
}

// digitsOf is how many decimals make three digits.
func digitsOf(size float64) int {
	switch {
	case size >= 99.95:
		return 0
	case size >= 9.995:
		return 1
	}
	return 2
}

// decimal shows a number with so many decimals.
func decimal(n float64, decimals int) string {
	text := strconv.FormatFloat(math.Abs(n), 'f', decimals, 64)
	if strings.Trim(text, "0.") == "" {
		return text
	}
	return signed(text, n)
}

func signed(text string, n float64) string {
	if n < 0 {
		return minus + text
	}
	return text
}

// percent shows a share, 0 to 1.
func percent(share float64) string { return decimal(100*share, 1) + nbsp + "%" }

// duration shows seconds: 420 ms, 3.2 s, 1 m 20 s, 2 h 5 m, 3 d 4 h.
func duration(seconds float64) string {
	if seconds < 0 {
		return minus + duration(-seconds)
	}
	whole := int64(math.Round(seconds))
	switch {
	case seconds == 0:
		return "0" + nbsp + "s"
	case seconds < 0.9995:
		return decimal(1000*seconds, 0) + nbsp + "ms"
	case seconds < 9.95:
		return decimal(seconds, 1) + nbsp + "s"
	case whole < 60:
		return strconv.FormatInt(whole, 10) + nbsp + "s"
	case whole < 3600:
		return pairOf(whole/60, "m", whole%60, "s")
	case whole < 86400:
		return pairOf(whole/3600, "h", whole%3600/60, "m")
	}
	return pairOf(whole/86400, "d", whole%86400/3600, "h")
}

func pairOf(a int64, unitA string, b int64, unitB string) string {
	text := strconv.FormatInt(a, 10) + nbsp + unitA
	if b > 0 {
		text += nbsp + strconv.FormatInt(b, 10) + nbsp + unitB
	}
	return text
}

// plural is a count and its noun: 1 session, 2 sessions.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1" + nbsp + one
	}
	return whole(n) + nbsp + many
}

// bytesOf shows a size in bytes.
func bytesOf(n int64) string {
	switch {
	case n < 1000:
		return plural(n, "byte", "bytes")
	case n < 1_000_000:
		return decimal(float64(n)/1e3, 1) + nbsp + "kB"
	case n < 1_000_000_000:
		return decimal(float64(n)/1e6, 1) + nbsp + "MB"
	}
	return decimal(float64(n)/1e9, 1) + nbsp + "GB"
}

// known shows a number by one of the functions above, and a dash for one that isn't.
func known(n *float64, show func(float64) string) string {
	if n == nil {
		return none
	}
	return show(*n)
}

// points shows a score.
func points(n float64) string { return decimal(n, 1) }

// sentiment shows one with its sign.
func sentiment(n float64) string {
	text := decimal(n, 2)
	if n > 0 && strings.Trim(text, "0.") != "" {
		return "+" + text
	}
	return text
}
