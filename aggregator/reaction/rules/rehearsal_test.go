package rules_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator/reaction/rules"
)

const sessionRules = `
rules:
  - {name: opened, on: session.opened, then: ops}
  - {name: closed, on: session.closed, then: ops}
  - {name: changed, on: session.changed, then: ops}
` + destinations

// comes is an event that occurred, and was received, at minutes.
type comes struct {
	occurred, received float64
	kind               string // chat.push if empty
}

func minute(m float64) time.Time { return noon.Add(time.Duration(m * float64(time.Minute))) }

func eventOf(i int, c comes) *rapport.Event {
	e := &rapport.Event{
		Position: int64(i + 1), Type: c.kind, AgentID: "agent-7", SessionID: "s", Role: rapport.RoleUser, Text: fmt.Sprint("text ", i),
		OccurredAt: minute(c.occurred), ReceivedAt: minute(c.received),
	}
	if e.Type == "" {
		e.Type = rapport.ChatPush
	}
	e.Fingerprint[0] = byte(i)
	return e
}

func show(firings []rules.Firing) (shown []string) {
	for _, f := range firings {
		text := fmt.Sprintf("%s@%g #%d", f.Rule, f.At.Sub(noon).Minutes(), f.Position)
		if _, replaces, _ := strings.Cut(string(f.Data), `"replaces":"`); replaces != "" {
			at, _ := time.Parse(time.RFC3339, replaces[:strings.Index(replaces, `"`)])
			text += fmt.Sprintf(" for %g", at.Sub(noon).Minutes())
		}
		shown = append(shown, text)
	}
	return shown
}

func TestSessionsOpenCloseAndChange(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		events []comes
		want   []string
	}{
		"a session closes when it is idle":           {[]comes{{0, 0, ""}, {5, 5, ""}}, []string{"opened@0 #1", "closed@35 #2"}},
		"at its end, once nothing comes any more":    {[]comes{{0, 0, ""}, {2, 2, "session.end"}}, []string{"opened@0 #1", "closed@2 #2"}},
		"two sessions of a conversation":             {[]comes{{0, 0, ""}, {31, 31, ""}}, []string{"opened@0 #1", "closed@30 #1", "opened@31 #2", "closed@61 #2"}},
		"a late event changes a closed one":          {[]comes{{0, 0, ""}, {1, 90, ""}}, []string{"opened@0 #1", "closed@30 #1", "changed@90 #2"}},
		"one that comes before it closes does not":   {[]comes{{10, 10, ""}, {5, 20, ""}}, []string{"opened@10 #1", "closed@40 #2"}},
		"an earlier one changes what it is known by": {[]comes{{10, 10, ""}, {0, 90, ""}}, []string{"opened@10 #1", "closed@40 #1", "changed@90 #2 for 10"}},
		"two sessions become one": {[]comes{{0, 0, ""}, {40, 40, ""}, {20, 120, ""}}, []string{
			"opened@0 #1", "closed@30 #1", "opened@40 #2", "closed@70 #2", "changed@120 #3",
		}},
		"a session that comes all at once, and late": {[]comes{{0, 600, ""}, {1, 600, ""}, {2, 600.5, ""}}, []string{"opened@600 #1", "closed@600.5 #3"}},
		"a test is of no session":                    {[]comes{{0, 0, "test"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log []*rapport.Event
			for i, c := range test.events {
				log = append(log, eventOf(i, c))
			}
			history := func(_ context.Context, _, _ string, before int64) ([]*rapport.Event, error) {
				return slices.Clone(log[:before-1]), nil
			}
			for how, r := range map[string]*rules.Rehearsal{
				"at one go":      rules.NewRehearsal(mustParse(t, sessionRules), rapport.NewFold(rapport.DefaultSettings()), nil),
				"by its history": rules.NewRehearsal(mustParse(t, sessionRules), rapport.NewFold(rapport.DefaultSettings()), history),
			} {
				if got := rehearse(t, r, log, minute(1000)); !slices.Equal(got, test.want) {
					t.Errorf("%s: %q, want %q", how, got, test.want)
				}
			}
		})
	}
}

func rehearse(t *testing.T, r *rules.Rehearsal, log []*rapport.Event, until time.Time) []string {
	t.Helper()
	var got []string
	for _, e := range log {
		firings, err := r.Add(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, show(firings)...)
	}
	firings, err := r.Advance(t.Context(), until)
	if err != nil {
		t.Fatal(err)
	}
	return append(got, show(firings)...)
}

// A stretch from the middle of the log tells what the whole tells of it.
func TestAStretchTellsWhatTheWholeDoes(t *testing.T) {
	t.Parallel()
	var log []*rapport.Event
	for i := range 40 {
		occurred := float64(i * 20)
		if i%7 == 3 {
			occurred -= 55
		}
		log = append(log, eventOf(i, comes{occurred: occurred, received: float64(i * 20)}))
	}
	set, fold := mustParse(t, sessionRules), rapport.NewFold(rapport.DefaultSettings())
	whole := rehearse(t, rules.NewRehearsal(set, fold, nil), log, minute(1000))
	history := func(_ context.Context, _, _ string, before int64) ([]*rapport.Event, error) {
		return slices.Clone(log[:before-1]), nil
	}
	for from := range log {
		part := rehearse(t, rules.NewRehearsal(set, fold, history), log[from:], minute(1000))
		// What closed before its first event is not its to tell.
		if !slices.Equal(part[1:], whole[len(whole)-len(part)+1:]) {
			t.Errorf("from %d on: %q, want %q", from, part, whole[len(whole)-len(part):])
		}
	}
}

func TestARehearsalSeesEachEventsSessionAsItStood(t *testing.T) {
	t.Parallel()
	set := mustParse(t, `
rules:
  - {name: third, on: chat.push, when: session.user_message_count == 3 && size(event.said_in_session) == 2, then: ops}
`+destinations)
	log := []*rapport.Event{eventOf(0, comes{}), eventOf(1, comes{1, 1, ""}), eventOf(2, comes{2, 2, ""}), eventOf(3, comes{3, 3, ""})}
	got := rehearse(t, rules.NewRehearsal(set, rapport.NewFold(rapport.DefaultSettings()), nil), log, minute(4))
	if want := []string{"third@2 #3"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestLookbackReachesAsFarAsAnyRule(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string]time.Duration{
		"{name: a, on: x, then: ops}": 61 * time.Minute,
		"{name: a, on: x, throttle: {per: 2h}, count: {over: 3h, more_than: 1}, then: ops}":     3 * time.Hour,
		"{name: a, on: x, when: 'similarity(event.text, event.said_by_user) > 0.5', then: ops}": 24 * time.Hour,
		"{name: a, on: metric, metric: sessions, window: 7d, above: 1, then: ops}":              7*24*time.Hour + time.Hour,
	} {
		if got := mustParse(t, "rules: ["+rule+"]"+destinations).Lookback(30 * time.Minute); got != want {
			t.Errorf("%s looks back %v", rule, got)
		}
	}
}
