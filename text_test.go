package rapport_test

import (
	"testing"
	"time"

	"rapport"
)

// said are the events of a user who says the texts, a second apart.
func said(texts ...string) []*rapport.Event {
	var events []*rapport.Event
	for i, text := range texts {
		events = append(events, &rapport.Event{
			OccurredAt: day.Add(time.Duration(i) * time.Second),
			AgentID:    "a", SessionID: "s",
			Type: rapport.ChatPush, Role: rapport.RoleUser, Text: text,
		})
	}
	return events
}

func TestRepetitionComparesLettersAndDigits(t *testing.T) {
	t.Parallel()
	fold := rapport.NewFold(rapport.DefaultSettings())
	for name, c := range map[string]struct {
		first, second string
		want          int64
	}{
		"the same text":                       {"Yes", "Yes", 1},
		"another text":                        {"Yes", "No", 0},
		"case":                                {"YES please", "yes PLEASE", 1},
		"case beyond ASCII":                   {"ÄRGER Ωmega", "ärger ωMEGA", 1},
		"an accent makes another letter":      {"resume", "résumé", 0},
		"punctuation at both ends":            {"...yes!", "yes", 1},
		"a run of punctuation is one space":   {"yes -- please", "yes please", 1},
		"punctuation parts words":             {"don't", "don t", 1},
		"no space is not a space":             {"yesplease", "yes please", 0},
		"lines and tabs are spaces":           {"yes\n\tplease", "yes please", 1},
		"a no-break space is a space":         {"yes\u00a0please", "yes please", 1},
		"an underscore is no letter":          {"yes_please", "yes please", 1},
		"digits count":                        {"order 1", "order 2", 0},
		"digits part no word":                 {"order1", "order 1", 0},
		"a superscript is no digit":           {"x²", "x", 1},
		"digits of another script are others": {"٣", "3", 0},
		"emoji are no letters":                {"yes 😀", "yes", 1},
		"emoji alone are empty":               {"😀", "😀", 0},
		"punctuation alone is empty":          {"?!", "?!", 0},
		"nothing is empty":                    {"", "", 0},
		"words in another order":              {"please yes", "yes please", 0},
		"U+FFFD is no letter":                 {"yes\ufffd", "yes", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fold.Windows(said(c.first, c.second))[0]
			if s.RepeatCount != c.want {
				t.Errorf("%q, %q: %d repetitions, want %d", c.first, c.second, s.RepeatCount, c.want)
			}
		})
	}
}

func TestFrustrationIsAWholeWord(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		word, text string
		want       int64
	}{
		"the word alone":                {"slow", "slow", 1},
		"first":                         {"slow", "slow today", 1},
		"last":                          {"slow", "it is slow", 1},
		"between":                       {"slow", "a slow one", 1},
		"between punctuation":           {"slow", "(slow!)", 1},
		"in capitals":                   {"slow", "SLOW", 1},
		"a setting in capitals":         {"SLOW", "slow", 1},
		"a setting with punctuation":    {" slow! ", "slow", 1},
		"the start of a word":           {"slow", "slowly", 0},
		"the end of a word":             {"slow", "tooslow", 0},
		"twice in one word":             {"slow", "slowslow", 0},
		"after twice in one word":       {"slow", "slowslow slow", 1},
		"before a digit":                {"slow", "slow2", 0},
		"a phrase":                      {"so slow", "it is so slow", 1},
		"a phrase over punctuation":     {"so slow", "it is so... slow", 1},
		"a phrase with a word between":  {"so slow", "so very slow", 0},
		"a phrase of the same word":     {"so so", "also so so", 1},
		"a phrase inside longer words":  {"so so", "also sober", 0},
		"an empty setting":              {"", "anything", 0},
		"a setting of punctuation only": {"?!", "?!", 0},
		"an empty text":                 {"slow", "", 0},
		"a word beyond ASCII":           {"доЛго", "Очень ДОЛГО!", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := rapport.DefaultSettings()
			settings.FrustrationWords = []string{c.word}
			s := rapport.NewFold(settings).Windows(said(c.text))[0]
			if s.FrictionCount != c.want {
				t.Errorf("%q in %q: friction %d, want %d", c.word, c.text, s.FrictionCount, c.want)
			}
		})
	}
}

func TestTextsAlreadySaid(t *testing.T) {
	t.Parallel()
	fold := rapport.NewFold(rapport.DefaultSettings())

	t.Run("are asked for once each, and not if empty", func(t *testing.T) {
		t.Parallel()
		events := said("Yes", "yes!", "", "?!", "No")
		events = append(events, &rapport.Event{Type: rapport.ChatPush, Role: rapport.RoleAgent, Text: "Maybe"})
		if asked := fold.TextHashes(events); len(asked) != 2 {
			t.Errorf("%d texts, want 2", len(asked))
		}
	})

	t.Run("are added once each", func(t *testing.T) {
		t.Parallel()
		w := fold.Windows(said("Yes", "yes!", "", "No"))[0]
		if added := w.Added(); len(added) != 2 {
			t.Errorf("%d texts, want 2", len(added))
		}
	})

	t.Run("are not added again where a session is carried on", func(t *testing.T) {
		t.Parallel()
		events := said("Yes", "yes!", "No")
		first := fold.Windows(events[:1])[0]
		w := fold.Continue(rapport.Resume(first.Session, first.Added()), events[1:])[0]
		added, no := w.Added(), fold.TextHashes(events[2:])
		if len(added) != 1 || added[0] != no[0] {
			t.Errorf("added %x, want %x", added, no)
		}
		if w.RepeatCount != 1 {
			t.Errorf("%d repetitions, want 1", w.RepeatCount)
		}
	})
}
