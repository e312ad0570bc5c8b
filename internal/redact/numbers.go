package redact

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// numbers are groups of digits with little between them: what a phone number or a
// card number may be written as.
type numbers struct {
	text   []byte
	groups []group
	digits []byte // of all groups, as values
}

// group is digits without anything between them.
type group struct {
	span
	first int // the index of its first digit
}

// maxBetween bounds what stands between two groups, in characters.
const maxBetween = 3

// numbersOf finds the groups that may belong together, with at least minDigits.
func numbersOf(text []byte, minDigits int) []numbers {
	var all []numbers
	n := numbers{text: text}
	end := func() {
		if len(n.digits) >= minDigits {
			all = append(all, n)
		}
		n = numbers{text: text}
	}
	inGroup, between := false, 0
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		digit, isDigit := digitOf(r)
		switch {
		case isDigit:
			if !inGroup {
				n.groups = append(n.groups, group{span{i, i}, len(n.digits)})
			}
			n.digits = append(n.digits, digit)
			n.groups[len(n.groups)-1].to = i + size
			inGroup, between = true, 0
		case len(n.groups) > 0:
			inGroup, between = false, between+1
			if between > maxBetween || !mayBetween(r) {
				end()
			}
		}
		i += size
	}
	end()
	return all
}

// zeros begin the scripts whose digits are read.
var zeros = [...]rune{'0', '٠', '۰', '०', '０'}

func digitOf(r rune) (byte, bool) {
	if r < utf8.RuneSelf {
		return byte(r - '0'), '0' <= r && r <= '9'
	}
	for _, zero := range zeros {
		if zero <= r && r <= zero+9 {
			return byte(r - zero), true
		}
	}
	return 0, false
}

func mayBetween(r rune) bool {
	switch r {
	case '.', '/', '(', ')':
		return true
	}
	return isSpacing(r)
}

// isSpacing reports whether a character only divides: a space, or a dash of any kind.
func isSpacing(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Pd, r) }

// between is what stands after a group, up to the next one.
func (n *numbers) between(i int) []byte { return n.text[n.groups[i].to:n.groups[i+1].from] }

// goesOn reports whether a group goes on from the one before it, with neither a space
// nor a bracket right before it: as in an id, or a date.
func (n *numbers) goesOn(i int) bool {
	if i == 0 {
		return false
	}
	r, _ := utf8.DecodeLastRune(n.between(i - 1))
	return !unicode.IsSpace(r) && r != '('
}

// before is where a number begins that has its first digit in a group: with a plus or
// an opening bracket, if there are any.
func (n *numbers) before(i int) (start int, plus bool) {
	start = n.groups[i].from
	if start > 0 && n.text[start-1] == '(' && i+1 < len(n.groups) && bytes.IndexByte(n.between(i), ')') >= 0 {
		start--
	}
	if start > 0 && n.text[start-1] == '+' {
		return start - 1, true
	}
	if bytes.HasSuffix(n.text[:start], []byte("＋")) {
		return start - len("＋"), true
	}
	return start, false
}

// window are the digits from one group to another, both included.
func (n *numbers) window(from, to int) []byte {
	if to+1 < len(n.groups) {
		return n.digits[n.groups[from].first:n.groups[to+1].first]
	}
	return n.digits[n.groups[from].first:]
}

// size is how many digits a group has.
func (n *numbers) size(i int) int { return len(n.window(i, i)) }

// isFree reports whether nothing is written right before a place and right after
// another that would make a part of a word or an id of what is between.
func isFree(text []byte, s span) bool {
	return (s.from == 0 || !isWord(text[s.from-1]) && text[s.from-1] != '#') && (s.to == len(text) || !isWord(text[s.to]))
}

// isWord is about ASCII alone: other scripts need no space between words.
func isWord(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

// cards finds card numbers: 13 to 19 digits as the networks give them out (ISO/IEC
// 7812), with a check digit that is right (Luhn). Groups may be divided by spaces
// or dashes.
func cards(text []byte) []span {
	var found []span
	for _, n := range numbersOf(text, minCard) {
		for i := 0; i < len(n.groups); i++ {
			if last := n.card(i); last >= 0 {
				found = append(found, span{n.groups[i].from, n.groups[last].to})
				i = last
			}
		}
	}
	return found
}

const minCard, maxCard = 13, 19

// card is the last group of the longest card number that begins with a group, -1 if
// there is none.
func (n *numbers) card(from int) int {
	if _, plus := n.before(from); plus || n.goesOn(from) {
		return -1
	}
	last := -1
	for to := from; to < len(n.groups); to++ {
		if to > from && len(bytes.TrimFunc(n.between(to-1), isSpacing)) > 0 {
			break
		}
		digits := n.window(from, to)
		if len(digits) > maxCard {
			break
		}
		if isCard(digits) && isFree(n.text, span{n.groups[from].from, n.groups[to].to}) {
			last = to
		}
	}
	return last
}

// isCard knows that short numbers are of few networks. None begins with 0, and 1 is
// left to unix times.
func isCard(digits []byte) bool {
	switch n := len(digits); {
	case n < minCard:
		return false
	case n == 13:
		return digits[0] == 4 && isLuhn(digits)
	case n <= 15:
		return digits[0] == 3 && isLuhn(digits)
	default:
		return digits[0] >= 2 && isLuhn(digits)
	}
}

// isLuhn checks the last digit as ISO/IEC 7812-1, annex B has it.
func isLuhn(digits []byte) bool {
	sum := 0
	for i, digit := range digits {
		d := int(digit)
		if (len(digits)-i)%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
