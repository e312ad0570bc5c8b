package webhook

import (
	"strings"
	"time"

	"rapport"
)

// maxAhead is how far an event may be ahead of the newest receipt.
const maxAhead = 24 * time.Hour

// earliest is before the sender existed: no event can be older.
func earliest() time.Time { return time.Date(2015, time.January, 1, 0, 0, 0, 0, time.UTC) }

// date sets OccurredAt from the first place that tells a time, and to the time
// of receipt if none does. A time that is told but impossible is refused: the
// log keeps a partition for each month.
func (d *delivery) date(e *rapport.Event, newest time.Time) error {
	for _, place := range []struct {
		name  string
		value any
	}{
		{"data.timestamp", d.data["timestamp"]},
		{"timestamp", d.root["timestamp"]},
		{"created", d.root["created"]},
	} {
		literal, at, ok := readTime(place.value)
		if !ok {
			continue
		}
		if at.Before(earliest()) {
			return refuse("%s %s is before 2015: send the time of the event, as unix seconds or RFC 3339",
				place.name, excerpt(literal))
		}
		if at.After(later(e.ReceivedAt, newest).Add(maxAhead)) {
			return refuse("%s %s is more than a day ahead: send the time of the event, and check the sender's clock",
				place.name, excerpt(literal))
		}
		e.OccurredAt = at
		return nil
	}
	e.OccurredAt, e.Undated = e.ReceivedAt, true
	return nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// readTime reads a number, a numeric string or an RFC 3339 string, to the
// microsecond in UTC.
func readTime(place any) (literal string, at time.Time, ok bool) {
	if literal, number, ok := numeric(place); ok {
		return literal, time.UnixMicro(unixMicros(&number)).UTC(), true
	}
	literal, ok = place.(string)
	if !ok {
		return "", time.Time{}, false
	}
	at, ok = parseRFC3339(literal)
	return literal, at, ok
}

// unixMicros reads a number as unix time, rounded half up to the microsecond:
// seconds, from 1e11 on milliseconds, from 1e14 on microseconds. Any negative
// number is -1 and one too great is MaxInt64: both are equally impossible.
func unixMicros(number *decimal) int64 {
	if number.negative {
		return -1
	}
	shift := int64(6)
	switch {
	case number.exponent >= 15: // 0.1 × 10^15 is 1e14
		shift = 0
	case number.exponent >= 12:
		shift = 3
	}
	return number.round(shift)
}

// parseRFC3339 reads an RFC 3339 time, rounded half up to the microsecond. T
// and Z may be lower case (section 5.6), and a leap second is the second after
// it. time.Parse takes more than the RFC does (an hour of one digit, a comma, an
// offset of 99:99), so the form is checked first.
func parseRFC3339(s string) (time.Time, bool) {
	if !isRFC3339(s) {
		return time.Time{}, false
	}
	s = strings.ToUpper(s)
	leap := s[17:19] == "60"
	if leap {
		s = s[:17] + "59" + s[19:]
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, false
	}
	at = at.UTC()
	if leap {
		if at.Hour() != 23 || at.Minute() != 59 {
			return time.Time{}, false
		}
		at = at.Add(time.Second)
	}
	return at.Round(time.Microsecond), true
}

// isRFC3339 reports whether s has the form of an RFC 3339 time. Whether the day
// exists is left to the calendar.
func isRFC3339(s string) bool {
	const dateTime, offset = "0000-00-00t00:00:00", "00:00"
	if len(s) <= len(dateTime) || !hasForm(s[:len(dateTime)], dateTime) {
		return false
	}
	s = s[len(dateTime):]
	if rest, ok := strings.CutPrefix(s, "."); ok {
		fraction, zone := cutDigits(rest)
		if fraction == "" {
			return false
		}
		s = zone
	}
	if s == "Z" || s == "z" {
		return true
	}
	return s != "" && (s[0] == '+' || s[0] == '-') &&
		hasForm(s[1:], offset) && s[1:3] < "24" && s[4:6] < "60"
}

// hasForm compares a text with a form, in which 0 stands for a digit and t for
// either case of it.
func hasForm(s, form string) bool {
	if len(s) != len(form) {
		return false
	}
	for i := range len(form) {
		switch c := s[i]; form[i] {
		case '0':
			if !isDigit(c) {
				return false
			}
		case 't':
			if c != 't' && c != 'T' {
				return false
			}
		default:
			if c != form[i] {
				return false
			}
		}
	}
	return true
}
