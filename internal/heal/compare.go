package heal

import (
	"math"
	"strings"
	"unicode/utf8"

	"rapport"
	"rapport/internal/redact"
)

// comparison finds out which messages the log lacks. What the log has may have been
// masked by other rules than today's, or by none. So texts are compared as the widest
// rules mask them, wherever there is something to mask.
type comparison struct {
	widest   *redact.Rules // nil if nothing has to be masked
	maxChars int           // of the log's texts
}

func compareBy(mask *redact.Rules, events []*rapport.Event) comparison {
	c, widest := comparison{}, mask.Widest()
	for _, e := range events {
		c.maxChars = max(c.maxChars, utf8.RuneCountInString(e.Text))
		if strings.Contains(e.Text, "[") || widest.Text(e.Text) != e.Text {
			return comparison{widest, math.MaxInt32} // masking changes lengths
		}
	}
	return c
}

// missing are those of the record's messages that are to be healed.
func (c *comparison) missing(record, log []*rapport.Event) []*rapport.Event {
	masked := make(map[*rapport.Event]*rapport.Event, len(record)) // and what it is of
	var compared []*rapport.Event
	for _, e := range record {
		m := c.masked(e)
		compared, masked[m] = append(compared, m), e
	}
	var there []*rapport.Event
	for _, e := range log {
		there = append(there, c.masked(e))
	}
	has := healedBefore(compared, there)
	var missing []*rapport.Event
	for _, m := range rapport.Missing(compared, there) {
		if !has(m) {
			missing = append(missing, masked[m])
		}
	}
	return missing
}

func (c *comparison) masked(e *rapport.Event) *rapport.Event {
	m := *e
	m.Text = c.widest.Text(e.Text)
	return &m
}

// utterance is what is the same of a message whenever it is healed.
type utterance struct {
	role, text string
	at         int64 // in µs
}

func utteranceOf(e *rapport.Event) utterance {
	return utterance{e.Role, e.Text, e.OccurredAt.UnixMicro()}
}

// healedBefore tells which messages the log has as healed ones: the same event, or one
// that was masked otherwise.
func healedBefore(record, log []*rapport.Event) func(*rapport.Event) bool {
	same := make(map[rapport.Fingerprint]bool)
	for _, e := range log {
		same[e.Fingerprint] = e.IsHealed()
	}
	asked := make(map[rapport.Fingerprint]bool)
	for _, e := range record {
		asked[e.Fingerprint] = true
	}
	others := make(map[utterance]int)
	for _, e := range log {
		if e.IsHealed() && !asked[e.Fingerprint] {
			others[utteranceOf(e)]++
		}
	}
	return func(e *rapport.Event) bool {
		if same[e.Fingerprint] {
			return true
		}
		u := utteranceOf(e)
		others[u]--
		return others[u] >= 0
	}
}
