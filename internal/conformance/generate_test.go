package conformance_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rapport"
	"rapport/api/webhook"
	"rapport/internal/conformance"
	"rapport/internal/reference"
)

// generate makes deliveries of n dialogues of a few turns.
func generate(t *testing.T, n int, base time.Time) []conformance.Delivery {
	t.Helper()
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `{"id":"d-%d","services":["Shops_1"],"turns":[["user","Do you sell \"shoes\" <%d>?"],["assistant","Yes, in size %d."],["user","Great, thanks!"],["assistant","Is that all?"],["user","Yes."]]}`+"\n", i, i, i)
	}
	dialogues, err := conformance.ReadDialogues(strings.NewReader(text.String()))
	if err != nil || len(dialogues) != n {
		t.Fatalf("read %d dialogues: %v", len(dialogues), err)
	}
	return conformance.Generate(dialogues, conformance.Options{Seed: 1, Base: base, Days: 3})
}

var base = time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)

func TestGenerate(t *testing.T) {
	t.Parallel()
	deliveries := generate(t, 400, base)

	t.Run("the same seed gives the same deliveries", func(t *testing.T) {
		t.Parallel()
		if !reflect.DeepEqual(deliveries, generate(t, 400, base)) {
			t.Error("they differ")
		}
	})

	t.Run("no body comes twice", func(t *testing.T) {
		t.Parallel()
		seen := map[string]bool{}
		for _, d := range deliveries {
			if seen[string(d.Body)] {
				t.Fatalf("twice: %s", d.Body)
			}
			seen[string(d.Body)] = true
		}
	})

	t.Run("all is within the days before the base", func(t *testing.T) {
		t.Parallel()
		for _, d := range deliveries {
			if at := d.Truth.OccurredAt; at.After(base) || at.Before(base.AddDate(0, 0, -4)) {
				t.Fatalf("at %v: %s", at, d.Body)
			}
		}
	})

	t.Run("events of one instant are of different kinds", func(t *testing.T) {
		t.Parallel()
		type place struct {
			session string
			at      time.Time
			rank    int
		}
		seen := map[place]bool{}
		for _, d := range deliveries {
			p := place{d.Truth.SessionID, d.Truth.OccurredAt, rapport.Rank(d.Truth.Type, d.Truth.Role)}
			if d.Truth.InSession() && seen[p] {
				t.Fatalf("a tie: %s", d.Body)
			}
			seen[p] = true
		}
	})
}

func TestGenerateCoversWhatMatters(t *testing.T) {
	t.Parallel()
	deliveries := generate(t, 400, base)

	t.Run("every case that matters occurs", func(t *testing.T) {
		t.Parallel()
		for name, occurs := range map[string]func(conformance.Delivery) bool{
			"legacy":         func(d conformance.Delivery) bool { return bytes.Contains(d.Body, []byte(`"event":"chat_push"`)) },
			"snake case":     func(d conformance.Delivery) bool { return bytes.Contains(d.Body, []byte(`"event_type":"chat.push"`)) },
			"agent_code":     func(d conformance.Delivery) bool { return bytes.Contains(d.Body, []byte(`"agent_code"`)) },
			"another zone":   func(d conformance.Delivery) bool { return bytes.Contains(d.Body, []byte(`+02:00"`)) },
			"account events": func(d conformance.Delivery) bool { return d.Truth.Type == "agent.ready" && d.Truth.SessionID == "" },
			"joins":          func(d conformance.Delivery) bool { return d.Truth.Type == rapport.RoomJoin },
			"errors":         func(d conformance.Delivery) bool { return d.Truth.Type == rapport.AgentError },
			"probes":         func(d conformance.Delivery) bool { return d.Truth.Type == rapport.Test },
			"other roles":    func(d conformance.Delivery) bool { return d.Truth.Role == "system" },
			"other types":    func(d conformance.Delivery) bool { return d.Truth.Type == "avatar.gesture" },
			"ratings":        func(d conformance.Delivery) bool { return d.Truth.Rating != nil },
		} {
			if !slices.ContainsFunc(deliveries, occurs) {
				t.Errorf("none: %s", name)
			}
		}
	})

	t.Run("pauses of exactly the idle timeout occur, and a microsecond more", func(t *testing.T) {
		t.Parallel()
		pauses := map[time.Duration]int{}
		for i, d := range deliveries[1:] {
			if before := deliveries[i].Truth; before.SessionID == d.Truth.SessionID {
				pauses[d.Truth.OccurredAt.Sub(before.OccurredAt)]++
			}
		}
		if pauses[0] == 0 || pauses[30*time.Minute] == 0 || pauses[30*time.Minute+time.Microsecond] == 0 {
			t.Errorf("%d ties, %d of the timeout, %d of more", pauses[0], pauses[30*time.Minute], pauses[30*time.Minute+time.Microsecond])
		}
	})
}

func TestGenerateCoversEveryNumber(t *testing.T) {
	t.Parallel()
	var events []rapport.Event
	for _, d := range generate(t, 400, base) {
		events = append(events, d.Truth)
	}
	rows := reference.Sessions(events, rapport.DefaultSettings(), base)
	windows := map[string]int{}
	for _, row := range rows {
		windows[row.SessionID]++
	}
	for name, occurs := range map[string]func(reference.Row) bool{
		"split":      func(r reference.Row) bool { return windows[r.SessionID] > 1 },
		"open":       func(r reference.Row) bool { return r.Status == "open" },
		"idle":       func(r reference.Row) bool { return r.EndReason != nil && *r.EndReason == "idle" },
		"ended":      func(r reference.Row) bool { return r.EndReason != nil && *r.EndReason == "ended" },
		"friction":   func(r reference.Row) bool { return r.FrictionCount > 0 },
		"repetition": func(r reference.Row) bool { return r.RepeatCount > 0 },
		"slow":       func(r reference.Row) bool { return r.QuickAnswerCount < r.AnsweredTurnCount },
		"unanswered": func(r reference.Row) bool { return r.AnsweredTurnCount < r.TurnCount },
		"no quality": func(r reference.Row) bool { return r.QualityScore == nil },
		"no room":    func(r reference.Row) bool { return r.RoomName == "" },
	} {
		if !slices.ContainsFunc(rows, occurs) {
			t.Errorf("none: %s", name)
		}
	}
}

func TestBodiesSayWhatIsTrue(t *testing.T) {
	t.Parallel()
	unlike := cmpopts.IgnoreFields(rapport.Event{}, "Fingerprint", "ReceivedAt", "Payload")
	for _, d := range generate(t, 400, base) {
		e, err := webhook.Decode(d.Body, base, time.Time{})
		if err != nil {
			t.Fatalf("%v: %s", err, d.Body)
		}
		if diff := cmp.Diff(d.Truth, e, unlike); diff != "" {
			t.Fatalf("%s\n%s", d.Body, diff)
		}
	}
}

func TestReadDialogues(t *testing.T) {
	t.Parallel()
	const line = `{"id":"1","turns":[["user","Hello"],["assistant","Hi"]]}` + "\n"
	want := []conformance.Turn{{Role: "user", Text: "Hello"}, {Role: "assistant", Text: "Hi"}}

	t.Run("gzipped or plain", func(t *testing.T) {
		t.Parallel()
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write([]byte(line + line)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{line + line, packed.String()} {
			dialogues, err := conformance.ReadDialogues(strings.NewReader(text))
			if err != nil || len(dialogues) != 2 || !slices.Equal(dialogues[1].Turns, want) {
				t.Errorf("read %v: %v", dialogues, err)
			}
		}
	})

	t.Run("a turn that is no pair is an error that names its dialogue", func(t *testing.T) {
		t.Parallel()
		_, err := conformance.ReadDialogues(strings.NewReader(line + `{"turns":[["user"]]}`))
		if err == nil || !strings.Contains(err.Error(), "dialogue 2: a turn is [role, text], not 1 values") {
			t.Errorf("got %v", err)
		}
	})
}
