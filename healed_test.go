package rapport_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"rapport"
)

func TestHealedMessagesArePairedWithDeliveredOnes(t *testing.T) {
	t.Parallel()

	t.Run("healed_until is the last healed message within a second of the session", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			for _, events := range byConversation(drawEvents(t)) {
				for _, w := range rapport.NewFold(drawSettings(t)).Windows(slices.Clone(events)) {
					if want := lastHealed(events, w.StartedAt, w.LastEventAt); !want.Equal(w.HealedUntil) {
						t.Fatalf("session of %v: healed until %v, want %v", w.StartedAt, w.HealedUntil, want)
					}
				}
			}
		})
	})

	t.Run("one more delivered message brings no healed one back", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			record, log, late := drawDense(t, "record", true), drawDense(t, "log", false), drawDense(t, "late", false)
			before, _ := rapport.Reconcile(slices.Concat(record, log))
			after, _ := rapport.Reconcile(slices.Concat(record, log, late))
			for _, e := range after {
				if e.IsHealed() && !slices.Contains(before, e) {
					t.Fatalf("%v counts only since more was delivered", e.OccurredAt)
				}
			}
		})
	})

	t.Run("healing what is missing counts like healing the whole record, whatever comes later", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			record, log, late := drawDense(t, "record", true), drawDense(t, "log", false), drawDense(t, "late", false)
			for range 3 { // several servers may heal, each by the log as it sees it
				seen := log[:rapid.IntRange(0, len(log)).Draw(t, "seen")]
				requireCount(t, record, rapport.Missing(record, seen), slices.Concat(log, late))
			}
			seen := log[:rapid.IntRange(0, len(log)).Draw(t, "seen")]
			both := slices.Concat(rapport.Missing(record, seen), rapport.Missing(record, log))
			requireCount(t, record, both, slices.Concat(log, late))
		})
	})

	t.Run("what is delivered is not missing", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			record := drawDense(t, "record", true)
			var log []*rapport.Event
			for _, e := range record {
				d := *e
				d.HealedFrom, d.Text = "", e.Text+rapid.SampledFrom([]string{"", " on"}).Draw(t, "goes on")
				d.OccurredAt = e.OccurredAt.Add(time.Duration(rapid.IntRange(-1000, 1000).Draw(t, "rounding")) * time.Millisecond)
				log = append(log, &d)
			}
			if missing := rapport.Missing(record, log); len(missing) > 0 {
				t.Fatalf("%d of %d are missing", len(missing), len(record))
			}
		})
	})
}

func lastHealed(events []*rapport.Event, from, to time.Time) time.Time {
	var last time.Time
	for _, e := range events {
		if e.HealedFrom != "" && !e.OccurredAt.Before(from.Add(-time.Second)) && !e.OccurredAt.After(to.Add(time.Second)) &&
			e.OccurredAt.After(last) {
			last = e.OccurredAt
		}
	}
	return last
}

// requireCount compares how many messages count, which tells how many were lost.
func requireCount(t *rapid.T, record, healed, log []*rapport.Event) {
	t.Helper()
	want, _ := rapport.Reconcile(slices.Concat(record, log))
	got, _ := rapport.Reconcile(slices.Concat(healed, log))
	if len(got) != len(want) {
		t.Fatalf("%d messages count with %d healed, want %d", len(got), len(healed), len(want))
	}
}

// drawDense draws messages of one role within some seconds.
func drawDense(t *rapid.T, name string, healed bool) []*rapport.Event {
	var events []*rapport.Event
	for i := range rapid.IntRange(0, 25).Draw(t, name) {
		at := day.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "at")) * 100 * time.Millisecond)
		e := message(at, rapid.SampledFrom(beginnings).Draw(t, "text"), fmt.Sprint(name, i))
		if healed {
			e.OccurredAt, e.HealedFrom = at.Truncate(time.Second), "record"
		}
		events = append(events, e)
	}
	return events
}

func message(at time.Time, text, print string) *rapport.Event {
	return &rapport.Event{
		Fingerprint: sha256.Sum256([]byte(print)), OccurredAt: at, Type: rapport.ChatPush, AgentID: "a", SessionID: "s",
		Role: rapport.RoleUser, Text: text,
	}
}

// Pairing everything with everything would take minutes here.
func TestThousandsOfMessagesInASecondArePairedQuickly(t *testing.T) {
	t.Parallel()
	const n = 8000
	for name, textOf := range map[string]func(i int) string{
		"equal texts":                       func(int) string { return "yes" },
		"texts that begin with each other":  func(i int) string { return strings.Repeat("y", i*7919%97) },
		"texts that nearly begin the other": func(i int) string { return strings.Repeat("y", i%50) + fmt.Sprint(i%3) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var events []*rapport.Event
			for i := range n {
				h := message(day.Add(time.Duration(i)*300*time.Microsecond), textOf(i), fmt.Sprint("healed ", i))
				h.HealedFrom = "record"
				events = append(events, h)
				if i%3 > 0 { // and so a third is missing
					events = append(events, message(day.Add(time.Duration(i)*299*time.Microsecond), textOf(i*31), fmt.Sprint(i)))
				}
			}
			counted, healedAt := rapport.Reconcile(events)
			if len(healedAt) != n || len(counted) < n {
				t.Errorf("%d of %d events count, %d healed", len(counted), len(events), len(healedAt))
			}
		})
	}
}
