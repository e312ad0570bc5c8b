package rules

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestWordsAreWholeInEveryScript(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text, word string
		want       bool
	}{
		{"I am ANGRY!", "angry", true},
		{"hangry", "angry", false},
		{"angry's", "angry", false}, // one word, by UAX #29
		{"don't do that", "don’t", true},
		{"customer-service", "Customer Service", true},
		{"GROSSE STRASSE", "straße", true},
		{"cafe\u0301 au lait", "CAFÉ", true},
		{"ΌΔΟΣ", "όδος", true},
		{"İstanbul", "istanbul", false}, // a dotted I is none without a dot
		{"我要退款", "退款", true},
		{"退货款", "退款", false},
		{"ขอคืนเงิน", "คืนเงิน", true},
		{"أريد استرداد المال", "استرداد", true},
		{"मुझे पैसे वापस चाहिए", "पैसे", true},
		{"환불 해주세요", "환불", true},
		{"so 😡", "😡", true},
		{"5 Euro", "5", true},
		{"55 Euro", "5", false},
		{"...", "...", false},
		{"", "", false},
		{"a", "a b", false},
	} {
		if got := hasWord(test.text, []string{"nothing", test.word}); got != test.want {
			t.Errorf("%q has %q: %v", test.text, test.word, got)
		}
	}
}

func TestWordsInASCIIAreThoseOfUnicode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab09_.',;:!-+$^~ \n\r\t\"\x00\x7f")), 0, 30, -1).Draw(t, "text")
		if got, want := asciiWords(text), unicodeWords(text); !slices.Equal(got, want) {
			t.Fatalf("%q has the words %q, and not %q", text, want, got)
		}
	})
}

func TestSimilarityIsThatOfTrigrams(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want float64
	}{
		{"word", "two words", 0.363636}, // as pg_trgm's documentation has it
		{"Where is it?", "where IS it", 1},
		{"abc", "xyz", 0},
		{"", "", 0},
		{"?", "!", 0},
	} {
		got := mostSimilar(test.a, []string{"", test.b})
		back := mostSimilar(test.b, []string{test.a})
		if math.Abs(got-test.want) > 1e-6 || got != back {
			t.Errorf("%q and %q: %v and %v", test.a, test.b, got, back)
		}
	}
}
