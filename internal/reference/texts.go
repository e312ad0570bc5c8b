package reference

import (
	"math/big"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/jonreiter/govader"

	"rapport"
)

func messagesOf(w window, role string) []rapport.Event {
	return keep(w, func(e rapport.Event) bool { return e.Type == rapport.ChatPush && e.Role == role })
}

func charCount(messages []rapport.Event) int {
	count := 0
	for _, m := range messages {
		count += utf8.RuneCountInString(m.Text)
	}
	return count
}

// repeatCount counts the user messages that say what was said before.
func repeatCount(w window) int {
	var said []string
	count := 0
	for _, m := range messagesOf(w, rapport.RoleUser) {
		text := strings.Join(words(m.Text), " ")
		if text != "" && slices.Contains(said, text) {
			count++
		}
		said = append(said, text)
	}
	return count
}

// words are the runs of letters and digits of a text, in lower case.
func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

func frictionCount(w window, settings rapport.Settings) int {
	count := 0
	for _, m := range messagesOf(w, rapport.RoleUser) {
		unhappy := big.NewRat(int64(settings.FrustrationSentiment), 1000)
		if frustrated(m.Text, settings.FrustrationWords) || messageSentiment(m.Text).Cmp(unhappy) <= 0 {
			count++
		}
	}
	return count
}

// frustrated reports whether one of the phrases, most of them a single word,
// is among the words of a text.
func frustrated(text string, phrases []string) bool {
	said := words(text)
	for _, phrase := range phrases {
		wanted := words(phrase)
		for i := 0; len(wanted) > 0 && i+len(wanted) <= len(said); i++ {
			if slices.Equal(said[i:i+len(wanted)], wanted) {
				return true
			}
		}
	}
	return false
}

func sentiment(w window) *float64 {
	messages := messagesOf(w, rapport.RoleUser)
	if len(messages) == 0 {
		return nil
	}
	total := new(big.Rat)
	for _, m := range messages {
		total.Add(total, messageSentiment(m.Text))
	}
	mean := total.Quo(total, whole(len(messages)))
	return new(float(halfAway(mean, 3)))
}

var vader = sync.OnceValue(govader.NewSentimentIntensityAnalyzer)

// messageSentiment is VADER's compound, in thousandths.
func messageSentiment(text string) *big.Rat {
	compound := new(big.Rat)
	compound.SetFloat64(vader().PolarityScores(text).Compound)
	return halfAway(compound, 3)
}
