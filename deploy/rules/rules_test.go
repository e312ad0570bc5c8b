// Package examples shows that each example fires when it should, and only then.
package examples

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator/reaction/rules"
)

var environment = map[string]string{
	"SLACK_WEBHOOK_URL": "https://hooks.slack.example/services/T/B/x", "SUPPORT_URL": "https://support.example", "OPERATIONS_URL": "https://operations.example",
	"HELP_URL": "https://help.example", "WELCOME_URL": "https://welcome.example", "CRM_URL": "https://crm.example", "CRM_TOKEN": "token",
	"HOOK_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
}

func shipped(t *testing.T) *rules.Set {
	t.Helper()
	text, err := os.ReadFile("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.ParseWith("rules.yaml", text, func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// occasion is an event of a conversation, so many seconds after the start.
type occasion struct {
	second  float64
	session string
	event   rapport.Event
}

func says(second float64, session, text string) occasion {
	return occasion{second, session, rapport.Event{Type: rapport.ChatPush, Role: rapport.RoleUser, Text: text}}
}

func by(user string, o occasion) occasion {
	o.event.UserID = user
	return o
}

func answers(second float64, session, text string) occasion {
	return occasion{second, session, rapport.Event{Type: rapport.ChatPush, Role: rapport.RoleAgent, Text: text}}
}

func joins(second float64, session string, participants int32, payload string) occasion {
	return occasion{second, session, rapport.Event{Type: rapport.RoomJoin, Participants: &participants, RoomName: "lobby", Payload: []byte(payload)}}
}

func fails(second float64, session, code, severity string) occasion {
	return occasion{second, session, rapport.Event{Type: rapport.AgentError, ErrorCode: code, ErrorSeverity: severity}}
}

// firings plays occasions on agent-7, and lets time pass until a second.
func firings(t *testing.T, set *rules.Set, until float64, occasions []occasion) []rules.Firing {
	t.Helper()
	at := func(second float64) time.Time { return start.Add(time.Duration(second * float64(time.Second))) }
	r := rules.NewRehearsal(set, rapport.NewFold(rapport.DefaultSettings()), nil)
	var all []rules.Firing
	for i, o := range occasions {
		e := o.event
		e.Position, e.AgentID, e.SessionID = int64(i+1), "agent-7", o.session
		e.OccurredAt, e.ReceivedAt = at(o.second), at(o.second)
		e.Fingerprint[0], e.Fingerprint[1] = byte(i), byte(i>>8)
		found, err := r.Add(t.Context(), &e)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	found, err := r.Advance(t.Context(), at(until))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failed()) > 0 {
		t.Errorf("conditions failed: %v", r.Failed())
	}
	all = append(all, found...)
	for _, f := range all {
		if body, err := set.Destination(f.Destination).Render(f.Data); err != nil || !json.Valid(body) {
			t.Errorf("%s makes %q, %v", f.ID, body, err)
		}
	}
	return all
}

func TestEachExampleFiresWhenItShould(t *testing.T) {
	t.Parallel()
	errors := func(n int, code string, apart float64) (of []occasion) {
		for i := range n {
			of = append(of, fails(float64(i)*apart, "s", code, "low"))
		}
		return of
	}
	crowd := func(sessions int) (of []occasion) {
		for i := range sessions {
			of = append(of, joins(float64(i), strconv.Itoa(i), 1, `{}`))
		}
		return of
	}
	for name, test := range map[string]struct {
		rule  string
		given []occasion
		until float64
		want  []string // destinations, with the second at which
	}{
		"a frustration word calls a human":          {"frustrated-visitor", []occasion{says(1, "s", "I am so ANGRY!")}, 1, []string{"support 1", "team 1"}},
		"so does a bad mood without such a word":    {"frustrated-visitor", []occasion{says(1, "s", "This is the worst, I hate it, it is horrible.")}, 1, []string{"support 1", "team 1"}},
		"part of a word does not":                   {"frustrated-visitor", []occasion{says(1, "s", "Angrylion is a renderer")}, 1, nil},
		"nor what the agent says":                   {"frustrated-visitor", []occasion{answers(1, "s", "You sound angry")}, 1, nil},
		"a human is called once in half an hour":    {"frustrated-visitor", []occasion{says(1, "s", "angry"), says(600, "s", "angry"), says(1801, "s", "angry")}, 1801, []string{"support 1", "team 1", "support 1801", "team 1801"}},
		"but for each conversation":                 {"frustrated-visitor", []occasion{says(1, "s", "angry"), says(2, "u", "angry")}, 2, []string{"support 1", "team 1", "support 2", "team 2"}},
		"a question again gets help":                {"repeated-question", []occasion{says(1, "s", "Where is my order?"), says(9, "s", "where is my ORDER")}, 9, []string{"help 9"}},
		"in other words too":                        {"repeated-question", []occasion{says(1, "s", "How can I reset my password?"), says(9, "s", "How do I reset my password?")}, 9, []string{"help 9"}},
		"by the same user in another session":       {"repeated-question", []occasion{by("u", says(1, "s", "Where is my order?")), by("u", says(9, "other", "Where is my order?"))}, 9, []string{"help 9"}},
		"not by somebody else":                      {"repeated-question", []occasion{by("u", says(1, "s", "Where is my order?")), by("v", says(9, "other", "Where is my order?"))}, 9, nil},
		"nor by two of whom nobody knows who":       {"repeated-question", []occasion{says(1, "s", "Where is my order?"), says(9, "other", "Where is my order?")}, 9, nil},
		"another question is none":                  {"repeated-question", []occasion{says(1, "s", "Where is my order?"), says(9, "s", "Do you ship to Norway?")}, 9, nil},
		"yes is no question":                        {"repeated-question", []occasion{says(1, "s", "yes"), says(9, "s", "yes")}, 9, nil},
		"six errors of a code alert operations":     {"error-burst", errors(6, "E", 60), 300, []string{"operations 300", "team 300"}},
		"five do not":                               {"error-burst", errors(5, "E", 60), 300, nil},
		"nor six in more than ten minutes":          {"error-burst", errors(6, "E", 120), 600, nil},
		"nor six of different codes":                {"error-burst", append(errors(5, "E", 1), fails(6, "s", "F", "low")), 6, nil},
		"they are alerted once in ten minutes":      {"error-burst", errors(12, "E", 1), 12, []string{"operations 5", "team 5"}},
		"one critical error is enough":              {"critical-error", []occasion{fails(1, "s", "E", "critical"), fails(2, "s", "E", "high")}, 2, []string{"operations 1", "team 1"}},
		"a visitor joins":                           {"visitor-joins", []occasion{joins(1, "s", 1, `{}`), says(2, "s", "hi")}, 2, []string{"team 1"}},
		"the first event of a session is welcomed":  {"welcome", []occasion{says(1, "s", "hi"), says(2, "s", "hi"), says(3, "u", "hi")}, 3, []string{"welcome 1", "welcome 3"}},
		"so is that of the next session":            {"welcome", []occasion{says(1, "s", "hi"), says(1802, "s", "hi")}, 1802, []string{"welcome 1", "welcome 1802"}},
		"a closed session goes to the CRM":          {"session-to-crm", []occasion{says(1, "s", "hi"), says(60, "s", "bye")}, 9999, []string{"crm 1860"}},
		"an open one does not":                      {"session-to-crm", []occasion{says(1, "s", "hi")}, 1800, nil},
		"nor one in which nobody spoke":             {"session-to-crm", []occasion{joins(1, "s", 1, `{}`)}, 9999, nil},
		"a keyword":                                 {"urgent-words", []occasion{says(1, "s", "I need it as soon  as POSSIBLE, please")}, 1, []string{"support 1", "team 1"}},
		"no keyword":                                {"urgent-words", []occasion{says(1, "s", "Is there insurgency right here now?")}, 1, nil},
		"a price is asked for":                      {"sales-lead", []occasion{says(1, "s", "How much is it?")}, 1, []string{"crm-lead 1", "team 1"}},
		"twenty open sessions are no crowd":         {"agent-at-capacity", crowd(20), 30, nil},
		"twenty-one are":                            {"agent-at-capacity", crowd(21), 30, []string{"operations 20", "team 20"}},
		"those that have closed do not count":       {"agent-at-capacity", append(crowd(20), joins(1900, "z", 1, `{}`)), 1900, nil},
		"ten people in a room":                      {"room-nearly-full", []occasion{joins(1, "s", 10, `{}`)}, 1, []string{"operations 1", "team 1"}},
		"nine in a room for ten":                    {"room-nearly-full", []occasion{joins(1, "s", 9, `{"room":{"capacity":10}}`)}, 1, []string{"operations 1", "team 1"}},
		"nine in a room of which nobody knows":      {"room-nearly-full", []occasion{joins(1, "s", 9, `{}`)}, 1, nil},
		"bad conversations, and then none any more": {"quality-drops", []occasion{says(60, "s", "This is awful"), says(61, "s", "This is awful")}, 7200, []string{"operations 120", "team 120"}},
		"better ones are told, too": {"quality-drops", []occasion{
			says(60, "s", "This is awful"), says(61, "s", "This is awful"), says(3700, "u", "hello"), answers(3701, "u", "hi"),
		}, 7200, []string{"operations 120", "team 120", "operations 3720 resolved", "team 3720 resolved"}},
		"slow answers, until there is no data": {"slow-answers", []occasion{says(60, "s", "hello"), answers(75, "s", "hi")}, 7200, []string{"operations 120", "team 120", "operations 1920 resolved", "team 1920 resolved"}},
		"nobody comes for two hours, and then somebody": {"nobody-comes", []occasion{says(1, "s", "hi"), says(9000, "s", "hi")}, 9100, []string{
			"operations 7260", "team 7260", "operations 9060 resolved", "team 9060 resolved",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range firings(t, shipped(t), test.until, test.given) {
				if f.Rule == test.rule {
					got = append(got, told(f))
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("fired %q, want %q", got, test.want)
			}
		})
	}
}

// told is where a firing goes, and in which second.
func told(f rules.Firing) string {
	text := f.Destination + " " + strconv.Itoa(int(f.At.Sub(start)/time.Second))
	if f.Resolved {
		text += " resolved"
	}
	return text
}

func TestTheCRMIsToldOfALateEventToo(t *testing.T) {
	t.Parallel()
	late := says(60, "s", "one more thing")
	set := shipped(t)
	r := rules.NewRehearsal(set, rapport.NewFold(rapport.DefaultSettings()), nil)
	var bodies []string
	for i, o := range []occasion{says(1, "s", "hi"), late} {
		e := o.event
		e.Position, e.AgentID, e.SessionID = int64(i+1), "agent-7", o.session
		e.OccurredAt = start.Add(time.Duration(o.second) * time.Second)
		e.ReceivedAt = e.OccurredAt.Add(time.Duration(i) * 2 * time.Hour) // the second one comes late
		e.Fingerprint[0] = byte(i)
		if _, err := r.Add(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
		found, err := r.Advance(t.Context(), e.ReceivedAt.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			body, err := set.Destination(f.Destination).Render(f.Data)
			if err != nil {
				t.Fatal(err)
			}
			bodies = append(bodies, f.On+strings.Join(strings.Fields(string(body)), ""))
		}
	}
	want := []string{
		`session.closed{"external_id":"s","contact":"","started_at":"2026-03-02T09:00:01.000000Z","seconds":0,"messages":1,"engagement":"engaged","quality":40,"version":1}`,
		`session.changed{"external_id":"s","contact":"","started_at":"2026-03-02T09:00:01.000000Z","seconds":59,"messages":2,"engagement":"engaged","quality":40,"version":2}`,
	}
	bodies = slices.DeleteFunc(bodies, func(body string) bool { return !strings.Contains(body, "external_id") })
	if !slices.Equal(bodies, want) {
		t.Errorf("told %q, want %q", bodies, want)
	}
}
