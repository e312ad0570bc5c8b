package redact

import "bytes"

// phones finds phone numbers: international ones (+ or 00, then 8 to 15 digits, as
// E.164 has it), national ones with their leading 0 (9 to 12 digits with it), and
// North American ones in their three groups (415-555-2671). Groups may be divided
// by spaces, dashes, dots, slashes and brackets. A bare number without any of these
// signs may be anything, and is left.
func phones(text []byte) []span {
	var found []span
	for _, n := range numbersOf(text, minPhone) {
		for i := 0; i < len(n.groups); i++ {
			if n.isDate(i) {
				i += 2
			} else if s, last := n.phone(i); last >= 0 {
				found = append(found, s)
				i = last
			}
		}
	}
	return found
}

const minPhone = 8

// phone is the phone number that begins with a group, and its last group; -1 if none
// does.
func (n *numbers) phone(from int) (span, int) {
	start, plus := n.before(from)
	if !plus && (n.goesOn(from) || isHyphenated(n.text, start)) {
		return span{}, -1
	}
	last := -1
	for to := from; to < len(n.groups); to++ {
		digits := n.window(from, to)
		if len(digits) > 17 {
			break
		}
		if !isFree(n.text, span{start, n.groups[to].to}) {
			continue
		}
		if plus && isInternational(digits) || !plus && (n.isNational(from, to, digits) || n.isNorthAmerican(from, to)) {
			last = to
		}
	}
	if last < 0 {
		return span{}, -1
	}
	return span{start, n.groups[last].to}, last
}

// isHyphenated reports whether a place goes on from a word with a hyphen, as in an id.
func isHyphenated(text []byte, at int) bool {
	return at >= 2 && text[at-1] == '-' && isWord(text[at-2])
}

func isInternational(digits []byte) bool {
	return len(digits) >= minPhone && len(digits) <= 15 && digits[0] != 0
}

// isNational reports whether the groups are a number with its leading 0, or with 00.
func (n *numbers) isNational(from, to int, digits []byte) bool {
	switch {
	case len(digits) < 9 || digits[0] != 0 || n.isDecimal(from, to):
		return false
	case digits[1] == 0:
		return len(digits) > minPhone+2 && isInternational(digits[2:])
	default:
		return len(digits) <= 12
	}
}

// isDecimal reports whether the groups begin as 0.25 does, or the number of a book as
// 0-306-40615-2.
func (n *numbers) isDecimal(from, to int) bool {
	return n.size(from) == 1 && to > from && (string(n.between(from)) == "." || string(n.between(from)) == "-")
}

// isDate reports whether the groups begin as 01.02.2024 or 01 02 2024 does.
func (n *numbers) isDate(from int) bool {
	if from+2 >= len(n.groups) || n.size(from) > 2 || n.size(from+1) > 2 || n.size(from+2) != 4 {
		return false
	}
	if _, plus := n.before(from); plus || len(n.between(from)) != 1 || !bytes.Equal(n.between(from), n.between(from+1)) {
		return false
	}
	century := value(n.window(from+2, from+2)[:2])
	return value(n.window(from, from)) <= 31 && value(n.window(from+1, from+1)) <= 31 && (century == 19 || century == 20)
}

// value is what a few digits are as a number.
func value(digits []byte) int {
	v := 0
	for _, d := range digits {
		v = 10*v + int(d)
	}
	return v
}

// isNorthAmerican knows the plan of the numbers there (NANP): neither the area nor
// the exchange begins with 0 or 1.
func (n *numbers) isNorthAmerican(from, to int) bool {
	if to == from+3 && n.size(from) == 1 && n.window(from, from)[0] == 1 {
		from++
	}
	return to == from+2 && n.size(from) == 3 && n.size(from+1) == 3 && n.size(to) == 4 &&
		n.window(from, from)[0] >= 2 && n.window(from+1, from+1)[0] >= 2
}
