package rapport_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rapport"
	"rapport/internal/reference"
)

func TestFoldIsAFunctionOfTheSetOfEvents(t *testing.T) {
	t.Parallel()

	t.Run("every field is what its definition says", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			settings, events, now := drawSettings(t), drawEvents(t), drawNow(t)
			requireRows(t, reference.Sessions(events, settings, now), foldRows(rapport.NewFold(settings), events, now))
		})
	})

	t.Run("any order and any duplication give the same sessions", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			fold, events, now := rapport.NewFold(drawSettings(t)), drawEvents(t), drawNow(t)
			requireRows(t, foldRows(fold, events, now), foldRows(fold, drawDeliveries(t, events), now))
		})
	})

	t.Run("any split of any order into batches gives the same sessions", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			fold, events, now := rapport.NewFold(drawSettings(t)), drawEvents(t), drawNow(t)
			requireRows(t, foldRows(fold, events, now), addDrawnBatches(t, fold, drawDeliveries(t, events)).rows(now))
		})
	})

	t.Run("events in time are carried on to the same sessions", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			fold, events, now := rapport.NewFold(drawSettings(t)), drawEvents(t), drawNow(t)
			requireRows(t, foldRows(fold, events, now), addDrawnBatches(t, fold, inTime(events)).rows(now))
		})
	})
}

func requireRows(t *rapid.T, want, got []reference.Row) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("sessions differ (-want +got):\n%s", diff)
	}
}

// drawDeliveries puts the events in any order, some of them twice.
func drawDeliveries(t *rapid.T, events []rapport.Event) []rapport.Event {
	if len(events) == 0 {
		return nil
	}
	again := rapid.SliceOfN(rapid.SampledFrom(events), 0, 5).Draw(t, "again")
	return rapid.Permutation(append(again, events...)).Draw(t, "arrival")
}

func addDrawnBatches(t *rapid.T, fold *rapport.Fold, events []rapport.Event) *rollups {
	kept := newRollups(fold)
	for len(events) > 0 {
		n := rapid.IntRange(1, len(events)).Draw(t, "batch")
		kept.add(events[:n])
		events = events[n:]
	}
	return kept
}

// gaps make ties, neighbours at each limit, and sessions apart.
var gaps = []time.Duration{
	0, 0, time.Microsecond, 999 * time.Microsecond, time.Millisecond, time.Second, 1500 * time.Millisecond,
	2 * time.Second, 2 * time.Second,
	3*time.Second - time.Microsecond, 3 * time.Second, 3*time.Second + time.Microsecond,
	59 * time.Second, time.Minute, time.Minute + time.Microsecond, 10 * time.Minute, 15 * time.Minute,
	30*time.Minute - time.Microsecond, 30 * time.Minute, 30*time.Minute + time.Microsecond, 2 * time.Hour,
}

// closeGaps are at and around those by which messages pair.
var closeGaps = []time.Duration{
	0, 0, 0, time.Microsecond, 200 * time.Millisecond, 500 * time.Millisecond, 999_999 * time.Microsecond,
	time.Second, time.Second + time.Microsecond,
}

// beginnings begin with each other.
var beginnings = []string{"", "y", "yes", "yes", "yes", "yes, but", "yes, but why", "yet"}

// texts are few, so that they are repeated, sad, and empty.
var texts = []string{
	"Yes", "yes.", " YES ", "I am angry", "", "?!", "yes yes", "no", "Thanks, that was great!", "The book was good.",
	"1", "1.", "2", "angryangry", "awful-awful", "so so", "xso so so", "Today SUX!", "It is somewhat of a crime.",
	"Sentiment analysis has never been good.", "I hate this horrible thing", "İstanbul ÇOK güzel", "istanbul çok güzel",
	"日本、語", "日本 語", "e\u0301te\u0301", "Ⅷ ⅷ", "x² ٣", "😀", "😡 bad", "a\tb\nc", "\ufffd",
}

func drawEvents(t *rapid.T) []rapport.Event {
	moment := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	positions := map[rapport.Fingerprint]int64{}
	var events []rapport.Event
	calm, healed := rapid.Bool().Draw(t, "calm"), rapid.Bool().Draw(t, "healed")
	for range rapid.SampledFrom([]int{60, 40, 20, 10, 5, 3, 2, 1, 0}).Draw(t, "events") {
		moment = moment.Add(drawGap(t, calm, healed))
		e := drawEvent(t, moment, drawType(t, calm))
		if healed && e.Type == rapport.ChatPush {
			drawHealed(t, &e)
		}
		e.Fingerprint = fingerprint(e)
		if _, isTwin := positions[e.Fingerprint]; !isTwin {
			positions[e.Fingerprint] = int64(1 + len(positions))
		}
		e.Position = positions[e.Fingerprint]
		events = append(events, e)
	}
	return events
}

// drawGap stays away from the timeout in a calm conversation, and drawType
// from its end, so that there are long sessions too. Where messages are healed,
// most come within the second in which they pair.
func drawGap(t *rapid.T, calm, healed bool) time.Duration {
	if healed && rapid.IntRange(0, 9).Draw(t, "is close") > 0 {
		return rapid.SampledFrom(closeGaps).Draw(t, "gap")
	}
	if calm {
		return rapid.SampledFrom(gaps[:15]).Draw(t, "gap")
	}
	return rapid.SampledFrom(gaps).Draw(t, "gap")
}

// drawHealed makes one message of two a healed one, and most texts such that
// they begin with each other.
func drawHealed(t *rapid.T, e *rapport.Event) {
	if rapid.IntRange(0, 4).Draw(t, "pairs") > 0 {
		e.Role, e.Text = rapport.RoleUser, rapid.SampledFrom(beginnings).Draw(t, "beginning")
	}
	if rapid.Bool().Draw(t, "is healed") {
		e.HealedFrom = "https://record.test/messages"
	}
}

func drawType(t *rapid.T, calm bool) string {
	if rapid.Bool().Draw(t, "is message") {
		return rapport.ChatPush
	}
	types := []string{rapport.RoomJoin, rapport.AgentError, "video.completed", rapport.Test, rapport.Ping, rapport.ChatPush}
	if !calm {
		types = append(types, rapport.SessionEnd, rapport.SessionEnd, rapport.SessionEnd)
	}
	return rapid.SampledFrom(types).Draw(t, "type")
}

func drawEvent(t *rapid.T, moment time.Time, eventType string) rapport.Event {
	e := rapport.Event{
		OccurredAt: moment,
		AgentID:    rapid.SampledFrom([]string{"a", "a", "a", "a", "a", "b"}).Draw(t, "agent"),
		SessionID:  rapid.SampledFrom([]string{"s", "s", "s", "s", "s", "s", "t", ""}).Draw(t, "session"),
		UserID:     rapid.SampledFrom([]string{"", "", "u-1", "u-2"}).Draw(t, "user"),
		RoomName:   rapid.SampledFrom([]string{"", "", "lobby", "hall"}).Draw(t, "room"),
		Type:       eventType,
	}
	if rapid.IntRange(0, 3).Draw(t, "tells participants") == 0 {
		e.Participants = new(rapid.Int32Range(0, 3).Draw(t, "participants"))
	}
	switch e.Type {
	case rapport.ChatPush:
		e.Role = rapid.SampledFrom([]string{"user", "agent", "user", "agent", "user", "agent", "system", ""}).Draw(t, "role")
		e.Text = rapid.OneOf(rapid.SampledFrom(texts[:5]), rapid.SampledFrom(texts), rapid.String()).Draw(t, "text")
	case rapport.SessionEnd:
		e.EndReason = rapid.SampledFrom([]string{"", "timeout", "error"}).Draw(t, "reason")
		if rapid.IntRange(0, 3).Draw(t, "rates") > 0 {
			e.Rating = new(rapid.Float64Range(0, 5).Draw(t, "rating"))
		}
	}
	return e
}

// fingerprint is of everything, so that only equal events are duplicates.
func fingerprint(e rapport.Event) rapport.Fingerprint {
	participants, rating := int32(-1), -1.0
	if e.Participants != nil {
		participants = *e.Participants
	}
	if e.Rating != nil {
		rating = *e.Rating
	}
	return sha256.Sum256(fmt.Appendf(nil, "%v %q %q %q %q %q %q %q %q %q %v %v", e.OccurredAt, e.Type, e.AgentID,
		e.SessionID, e.UserID, e.RoomName, e.Role, e.Text, e.EndReason, e.HealedFrom, participants, rating))
}

func drawSettings(t *rapid.T) rapport.Settings {
	settings := rapport.DefaultSettings()
	if rapid.IntRange(0, 3).Draw(t, "has other settings") == 0 {
		settings.IdleTimeout = rapid.SampledFrom(gaps).Draw(t, "idle timeout")
		settings.ActiveGapCap = rapid.SampledFrom(gaps).Draw(t, "active gap cap")
		settings.QuickAnswer = rapid.SampledFrom(gaps).Draw(t, "quick answer")
		settings.FrustrationWords = rapid.SliceOfN(rapid.SampledFrom(texts), 0, 3).Draw(t, "frustration words")
		settings.FrustrationSentiment = rapid.IntRange(-1000, 1000).Draw(t, "frustration sentiment")
	}
	return settings
}

func drawNow(t *rapid.T) time.Time {
	after := rapid.IntRange(0, 20*3600).Draw(t, "now")
	return time.Date(2026, 1, 5, 9, 0, after, 0, time.UTC)
}
