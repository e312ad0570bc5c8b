package heal_test

import (
	"testing"
	"time"

	"rapport/internal/heal"
	"rapport/internal/heal/recordtest"
	"rapport/internal/redact"
	"rapport/store"
	"rapport/store/storetest"
)

func mask(t *testing.T, builtin []string, patterns ...string) *redact.Rules {
	t.Helper()
	rules, err := redact.New(builtin, patterns)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestHealedMessagesAreMasked(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	server := recordtest.New(t, said("s", line(0, "user", "I am jo@example.org"), line(0, "user", "I am al@example.org")))
	h := newHealer(t, db, server)
	h.Redact = mask(t, []string{"email"})
	requireHealed(t, h, 2)
	events, _, err := db.Events(t.Context(), store.TranscriptQuery{SessionID: "s", Limit: 10})
	if err != nil || len(events) != 2 {
		t.Fatal(events, err)
	}
	for _, e := range events {
		if e.Text != "I am [email]" {
			t.Errorf("kept %q", e.Text)
		}
		again, err := heal.Decode(e.Payload, e.HealedFrom, e.ReceivedAt)
		if err != nil || again.Fingerprint != e.Fingerprint {
			t.Errorf("the payload %s is %+v, %v", e.Payload, again, err)
		}
	}
	requireHealed(t, h, 0)
	requireMessages(t, db, "s", 2)
}

// TestOtherRulesHealNothingTwice changes the rules between what the log has and what
// the record is read with.
func TestOtherRulesHealNothingTwice(t *testing.T) {
	t.Parallel()
	const said1, said2 = "I am jo@example.org, T-77", "call +49 151 1234567"
	rules := []*redact.Rules{
		nil, mask(t, []string{"email"}), mask(t, redact.BuiltIn), mask(t, []string{"phone"}, `ticket=T-\d+`),
	}
	for i, before := range rules {
		for j, after := range rules {
			if i == 3 && j != 3 {
				continue // a pattern that is gone can't be known
			}
			db := storetest.New(t)
			deliver(t, db, delivered("s", 100*time.Millisecond, "user", before.Text(said1)))
			server := recordtest.New(t, said("s", line(0, "user", said1), line(time.Minute, "user", said2), line(2*time.Minute, "user", "no")))
			h := newHealer(t, db, server)
			h.Redact = before
			requireHealed(t, h, 2)
			h.Redact = after
			requireHealed(t, h, 0)
			requireMessages(t, db, "s", 3)
		}
	}
}

func TestWhatIsBelowTheHorizonIsNotHealed(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	at := func(month time.Month, day int, text string) recordtest.Message {
		return recordtest.Message{At: time.Date(2024, month, day, 0, 0, 0, 0, time.UTC), Role: "user", Text: text}
	}
	server := recordtest.New(t, said("s", at(1, 31, "gone"), at(2, 1, "at the horizon"), at(2, 2, "lost")))
	if done, err := db.Retain(t.Context(), store.Retention{Messages: store.MinRetention}, "cli:test", time.Date(2024, 2, 5, 0, 0, 0, 0, time.UTC)); err != nil || !done.HorizonMoved {
		t.Fatalf("%+v, %v", done, err)
	}
	h := newHealer(t, db, server)
	report := run(t, h)
	if report.Healed != 1 || report.Skipped != 2 {
		t.Errorf("%s", &report)
	}
	requireHealed(t, h, 0)
}
