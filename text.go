package rapport

import (
	"crypto/sha256"
	"math"
	"strings"
	"sync"
	"unicode"

	"github.com/jonreiter/govader"
)

// TextHash stands for a text that a user has said, after normalization. 128
// bits of SHA-256 are enough to tell the texts of one session apart.
type TextHash [16]byte

// normalize makes texts comparable: in lower case, with every run of characters
// that are neither letters nor digits as one space, trimmed.
func normalize(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	gap := false
	for _, r := range text {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte(' ')
		}
		gap = false
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// hasWord reports whether a normalized text holds a normalized word or phrase
// as whole words.
func hasWord(text, word string) bool {
	return strings.Contains(" "+text+" ", " "+word+" ")
}

// hashText is false for a text that is empty once normalized: such a one never
// counts as a repetition.
func hashText(normalized string) (TextHash, bool) {
	if normalized == "" {
		return TextHash{}, false
	}
	sum := sha256.Sum256([]byte(normalized))
	return TextHash(sum[:16]), true
}

// analyzer has VADER's lexicon. It is built once, and only read afterwards.
var analyzer = sync.OnceValue(govader.NewSentimentIntensityAnalyzer)

// sentiment is the VADER compound of a text in thousandths, −1000…1000, rounded
// half away from zero (Hutto & Gilbert, ICWSM 2014).
func sentiment(text string) int64 {
	return int64(math.Round(analyzer().PolarityScores(text).Compound * 1000))
}
