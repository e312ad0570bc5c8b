package rules

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// words are those of a text, by the word boundaries of Unicode (UAX #29), case-folded
// and composed (NFC). What is only spaces and punctuation is no word; an emoji is one.
func words(text string) []string {
	if isASCII(text) {
		return asciiWords(strings.ToLower(text))
	}
	return unicodeWords(norm.NFC.String(cases.Fold().String(norm.NFC.String(strings.ReplaceAll(text, "’", "'")))))
}

func unicodeWords(text string) []string {
	var found []string
	state := -1
	for text != "" {
		var word string
		word, text, state = uniseg.FirstWordInString(text, state)
		if strings.ContainsFunc(word, isOfWord) {
			found = append(found, word)
		}
	}
	return found
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// asciiWords is unicodeWords for texts in ASCII, in a fiftieth of the time: a word is a
// run of letters, digits and _, with single marks inside that join letters, or digits.
func asciiWords(text string) []string {
	var found []string
	for at := 0; at < len(text); at++ {
		if !isASCIIWord(text[at]) {
			continue
		}
		from := at
		for at++; at < len(text) && (isASCIIWord(text[at]) || joins(text, at)); at++ {
		}
		if word := text[from:at]; strings.Trim(word, "_") != "" {
			found = append(found, word)
		}
	}
	return found
}

func isASCIIWord(c byte) bool { return isASCIILetter(c) || isASCIIDigit(c) || c == '_' }

func isASCIILetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func isASCIIDigit(c byte) bool { return c >= '0' && c <= '9' }

// joins reports whether a mark stands between two letters, or two digits, that it joins.
func joins(text string, at int) bool {
	if at+1 == len(text) {
		return false
	}
	before, after := text[at-1], text[at+1]
	switch text[at] {
	case '.', '\'':
		return isASCIILetter(before) && isASCIILetter(after) || isASCIIDigit(before) && isASCIIDigit(after)
	case ':':
		return isASCIILetter(before) && isASCIILetter(after)
	case ',', ';':
		return isASCIIDigit(before) && isASCIIDigit(after)
	}
	return false
}

func isOfWord(r rune) bool {
	return unicode.In(r, unicode.Letter, unicode.Number, unicode.So)
}

// hasWord reports whether a text has any of the words, or phrases, as whole words.
func hasWord(text string, wanted []string) bool {
	said := texts.of(text).words()
	return slices.ContainsFunc(wanted, func(phrase string) bool { return containsRun(said, texts.of(phrase).words()) })
}

// containsRun reports whether run, which is not empty, is in the list without a gap.
func containsRun(list, run []string) bool {
	for at := 0; len(run) > 0 && at+len(run) <= len(list); at++ {
		if slices.Equal(list[at:at+len(run)], run) {
			return true
		}
	}
	return false
}

// sameWords is equal for texts of the same words; empty if there are none.
func sameWords(text string) string { return strings.Join(texts.of(text).words(), " ") }

// comparedRunes is how much of a text is compared with others, in characters.
const comparedRunes = 1000

// trigrams are the runs of three characters of a text's words, each of which begins
// behind two spaces and ends before one, as in Postgres's pg_trgm: in order, each once,
// as a number of three times 21 bits.
func trigrams(text string) []uint64 {
	if len(text) > comparedRunes {
		if runes := []rune(text); len(runes) > comparedRunes {
			text = string(runes[:comparedRunes])
		}
	}
	const mask = 1<<63 - 1
	var found []uint64
	for _, word := range words(text) {
		last := uint64(' ')<<21 | uint64(' ')
		for _, r := range word + " " {
			last = (last<<21 | uint64(r)) & mask
			found = append(found, last)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// similarity is how alike two texts are, from 0 to 1: the trigrams that they share, of
// all that they have (Jaccard's index). Two texts without a word share nothing.
func similarity(a, b []uint64) float64 {
	shared, all := 0, len(a)+len(b)
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			a = a[1:]
		case a[0] > b[0]:
			b = b[1:]
		default:
			shared++
			a, b = a[1:], b[1:]
		}
	}
	if all == 0 {
		return 0
	}
	return float64(shared) / float64(all-shared)
}

// mostSimilar is the similarity to that of some texts which is the most alike; 0 if
// there are none.
func mostSimilar(text string, others []string) float64 {
	mine, most := texts.of(text).trigrams(), 0.0
	for _, other := range others {
		most = max(most, similarity(mine, texts.of(other).trigrams()))
	}
	return most
}
