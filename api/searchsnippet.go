package api

import (
	"html"
	"slices"
	"strings"
	"unicode"
)

// The size of a snippet, in characters.
const (
	maxSnippet = 240
	maxLead    = 60 // before the first word that is marked
)

// span is a stretch of a text, in characters; word is which of the words it has.
type span struct{ from, to, word int }

// snippet is the part of a text that has most of some words, which are in lower case, as
// HTML: the words are in <mark>, and nothing else of it is markup. (ts_headline would
// take seconds for some texts, and its words are in no certain place.)
func snippet(text string, words []string) string {
	plain := []rune(text)
	found := spansOf(plain, words)
	from := 0
	if len(found) > 0 {
		if from = bestStart(found) - maxLead; from < maxLead {
			from = 0
		}
	}
	to := min(from+maxSnippet, len(plain))
	var b strings.Builder
	if from > 0 {
		b.WriteString("…")
	}
	at := from
	for _, s := range found {
		if s.from < at || s.from >= to {
			continue
		}
		b.WriteString(html.EscapeString(string(plain[at:s.from])))
		at = min(s.to, to)
		b.WriteString("<mark>" + html.EscapeString(string(plain[s.from:at])) + "</mark>")
	}
	b.WriteString(html.EscapeString(string(plain[at:to])))
	if to < len(plain) {
		b.WriteString("…")
	}
	return b.String()
}

// spansOf finds whole words, in order; of two that begin at one place the longer one first.
func spansOf(text []rune, words []string) []span {
	lower := make([]rune, len(text))
	for i, r := range text {
		lower[i] = unicode.ToLower(r)
	}
	starts := make(map[rune][]int) // words by how they begin
	for i, word := range words {
		if word != "" {
			first := []rune(word)[0]
			starts[first] = append(starts[first], i)
		}
	}
	var found []span
	for at, r := range lower {
		if at > 0 && isOfWord(lower[at-1]) && isOfWord(r) {
			continue
		}
		for _, i := range starts[r] {
			word := []rune(words[i])
			if end := at + len(word); end <= len(lower) && slices.Equal(lower[at:end], word) && !goesOn(lower, end) {
				found = append(found, span{at, end, i})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b span) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return b.to - a.to
	})
	return found
}

func isOfWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

func goesOn(text []rune, end int) bool {
	return end < len(text) && isOfWord(text[end-1]) && isOfWord(text[end])
}

// bestStart is where the stretch begins that has the most different words; of equal ones
// the first.
func bestStart(found []span) int {
	best, most := found[0].from, 0
	counts := make(map[int]int) // of the words within the stretch
	last := 0
	for _, first := range found {
		for ; last < len(found) && found[last].to <= first.from+maxSnippet-maxLead; last++ {
			counts[found[last].word]++
		}
		if len(counts) > most {
			best, most = first.from, len(counts)
		}
		if counts[first.word]--; counts[first.word] <= 0 {
			delete(counts, first.word)
		}
	}
	return best
}
