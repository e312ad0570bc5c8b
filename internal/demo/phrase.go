package demo

import (
	"math/rand/v2"
	"regexp"
	"strings"
)

// phrases gives texts their words.
type phrases struct {
	rng   *rand.Rand
	words map[string]string // chosen for the conversation
}

func newPhrases(s *script, rng *rand.Rand) *phrases {
	p := &phrases{rng: rng, words: make(map[string]string, len(s.words))}
	for _, w := range s.words {
		p.words[w.name] = fillDigits(choose(rng, w.choices), rng)
	}
	return p
}

// innermost is a pair of braces with no others inside.
var innermost = regexp.MustCompile(`\{[^{}]*\}`)

// say makes a text of what stands in a script, from the innermost braces on.
func (p *phrases) say(text string) string {
	for strings.Contains(text, "{") {
		text = innermost.ReplaceAllStringFunc(text, func(braces string) string {
			inside := braces[1 : len(braces)-1]
			if alternatives := strings.Split(inside, "|"); len(alternatives) > 1 {
				return choose(p.rng, alternatives)
			}
			return p.words[inside]
		})
	}
	return text
}

func choose[T any](rng *rand.Rand, choices []T) T { return choices[rng.IntN(len(choices))] }

func fillDigits(text string, rng *rand.Rand) string {
	digits := []byte(text)
	for i, c := range digits {
		if c == '#' {
			digits[i] = byte('0' + rng.IntN(10))
		}
	}
	return string(digits)
}
