package rules_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator/reaction/rules"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func message(position int64, text string) *rapport.Event {
	return &rapport.Event{
		Position: position, Type: rapport.ChatPush, AgentID: "agent-7", SessionID: "s", Role: rapport.RoleUser, Text: text,
		OccurredAt: noon, ReceivedAt: noon,
	}
}

func eventOccasion(e *rapport.Event, at time.Time) *rules.Occasion {
	return &rules.Occasion{On: e.Type, At: at, Event: e}
}

// when makes a set of one rule, with a condition, on messages.
func when(t *testing.T, condition string) *rules.Set {
	t.Helper()
	return mustParse(t, "rules:\n  - name: a\n    on: chat.push\n    then: ops\n    when: |\n      "+condition+"\n"+destinations)
}

func fires(t *testing.T, set *rules.Set, o *rules.Occasion) bool {
	t.Helper()
	firings, err := set.Match(t.Context(), o, rules.NewInMemory())
	if err != nil {
		t.Fatal(err)
	}
	return len(firings) > 0
}

func TestConditionsLookAtEventSessionAndAgent(t *testing.T) {
	t.Parallel()
	participants := int32(4)
	event := message(5, "I'm SO angry, where is my Straße?")
	event.Participants, event.ErrorCode = &participants, "E1"
	event.Payload = []byte(`{"room":{"capacity":50,"tags":["a","b"]},"big":12345678901234567,"none":null}`)
	session := &rules.Session{ClosesAt: noon.Add(time.Minute), Session: rapport.Session{
		AgentID: "agent-7", SessionID: "s", StartedAt: noon.Add(-time.Hour), LastActivityAt: noon, TurnCount: 2, UserMessageCount: 2, SentimentSum: -700,
	}}
	o := &rules.Occasion{On: rapport.ChatPush, At: noon, Event: event, Session: session, Background: background{}}
	for condition, want := range map[string]bool{
		`event.type == "chat.push" && event.position == 5 && event.agent_id == "agent-7"`: true,
		`event.text.hasWord(["ANGRY"])`:                                       true,
		`event.text.hasWord(["ang"])`:                                         false,
		`event.text.hasWord(["nothing", "strasse"])`:                          true,
		`event.text.hasWord(["so angry where"])`:                              true,
		`event.text.hasWord(["where angry"])`:                                 false,
		`event.text.hasWord([])`:                                              false,
		`event.text.hasWord([""])`:                                            false,
		`sentiment(event.text) < 0`:                                           true,
		`sentiment("") == 0.0`:                                                true,
		`similarity(event.text, event.text) == 1.0`:                           true,
		`similarity(event.text, "") == 0.0`:                                   true,
		`similarity(event.text, event.said_in_session) == 1.0`:                true,
		`event.said_by_user.exists(t, t.contains("else"))`:                    true,
		`event.participants >= 4`:                                             true,
		`event.rating > 3.0`:                                                  false,
		`!(event.rating > 3.0)`:                                               false, // it is not known
		`event.rating > 3.0 || true`:                                          true,
		`has(event.rating)`:                                                   false,
		`has(event.participants)`:                                             true,
		`event.error.code == "E1"`:                                            true,
		`event.payload.room.capacity == 50`:                                   true,
		`event.payload.big == 12345678901234567`:                              true,
		`event.payload.room.tags.exists(x, x == "b")`:                         true,
		`event.payload.room.nothing == 5`:                                     false,
		`has(event.payload.room) && !has(event.payload.door)`:                 true,
		`event.payload.none == null`:                                          true,
		`event.received_at - session.started_at >= duration("1h")`:            true,
		`session.turn_count >= 2 && session.status == "open"`:                 true,
		`session.sentiment == -0.35 && session.sentiment < 0`:                 true,
		`has(session.end_reason) || has(session.avg_response_s)`:              false,
		`session.started_at < timestamp("2026-03-02T11:30:00Z")`:              true,
		`session.engagement_tier in ["continued", "deep"]`:                    true,
		`agent.id == "agent-7" && agent.open_sessions == 3`:                   true,
		`agent.participants + agent.all_open_sessions > 10`:                   true,
		`event.text.matches("(?i)straße") && size(event.text) > 10`:           true,
		`event.session_id.startsWith("s") && !event.user_id.startsWith("u")`:  true,
		`[1, 2, 3].all(n, n < 4) && event.role == "user" ? true : 1 / 0 == 1`: true,
	} {
		if got := fires(t, when(t, condition), o); got != want {
			t.Errorf("%s is %v", condition, got)
		}
	}
}

type background struct{ err error }

func (b background) Agent(context.Context, *rules.Occasion) (rules.Agent, error) {
	return rules.Agent{OpenSessions: 3, Participants: 5, AllOpenSessions: 7}, b.err
}

func (b background) SaidInSession(context.Context, *rules.Occasion) ([]string, error) {
	return []string{"Hello", "I'm so angry: where is my straße"}, b.err
}

func (b background) SaidByUser(context.Context, *rules.Occasion) ([]string, error) {
	return []string{"something else"}, b.err
}

func TestWhatIsNotThereMakesNoConditionTrue(t *testing.T) {
	t.Parallel()
	o := eventOccasion(&rapport.Event{Type: rapport.ChatPush, Position: 1, Payload: []byte("\xff{")}, noon)
	for _, condition := range []string{
		`session.turn_count < 5`, `session.turn_count >= 0`, `has(session.session_id)`, `agent.open_sessions < 5`, `event.payload.a == 1`,
		`has(event.payload)`, `similarity(event.text, event.said_by_user) > 0.0`,
	} {
		if fires(t, when(t, condition), o) {
			t.Errorf("%s is true", condition)
		}
	}
}

func TestABrokenConditionStopsNoOtherRule(t *testing.T) {
	t.Parallel()
	set := mustParse(t, `
rules:
  - {name: broken, on: chat.push, when: "1 / (size(event.text) - 2) > 0", then: ops}
  - {name: dear, on: chat.push, when: "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, a+b+c+d+e+f > 0))))))", then: ops}
  - {name: good, on: chat.push, then: ops}
`+destinations)
	firings, err := set.Match(t.Context(), eventOccasion(message(1, "hi"), noon), rules.NewInMemory())
	wrong, ok := errors.AsType[rules.ConditionErrors](err)
	if !ok || len(wrong) != 2 || wrong[0].Rule != "broken" || wrong[1].Rule != "dear" {
		t.Errorf("got the errors %v", err)
	}
	if len(firings) != 1 || firings[0].Rule != "good" {
		t.Errorf("fired %v", firings)
	}
}

func TestAFailingBackgroundEndsTheMatch(t *testing.T) {
	t.Parallel()
	broken := errors.New("no database")
	for _, condition := range []string{`agent.open_sessions > 1 || true`, `similarity(event.text, event.said_by_user) > 0.5`} {
		o := eventOccasion(message(1, "hi"), noon)
		o.Background = background{broken}
		if firings, err := when(t, condition).Match(t.Context(), o, rules.NewInMemory()); !errors.Is(err, broken) || firings != nil {
			t.Errorf("%s: got %v, %v", condition, firings, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := when(t, "true").Match(ctx, eventOccasion(message(1, "hi"), noon), rules.NewInMemory()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// play tells at which minutes a set fires, for errors at minutes.
func play(t *testing.T, set *rules.Set, minutes ...float64) []float64 {
	t.Helper()
	memory := rules.NewInMemory()
	var fired []float64
	for i, minute := range minutes {
		e := &rapport.Event{Position: int64(i + 1), Type: rapport.AgentError, AgentID: "agent-7", ErrorCode: "E"}
		firings, err := set.Match(t.Context(), eventOccasion(e, noon.Add(time.Duration(minute*float64(time.Minute)))), memory)
		if err != nil {
			t.Fatal(err)
		}
		for range firings {
			fired = append(fired, minute)
		}
	}
	return fired
}

func TestCountsSlideByTheTimeOfReceipt(t *testing.T) {
	t.Parallel()
	set := mustParse(t, `
rules:
  - {name: a, on: agent.error, count: {over: 10m, by: [agent_id, error.code], more_than: 2}, then: ops}
`+destinations)
	for name, test := range map[string]struct{ minutes, want []float64 }{
		"the third within ten minutes":       {[]float64{0, 4, 9.99}, []float64{9.99}},
		"ten minutes later is too late":      {[]float64{0, 4, 10}, nil},
		"each above the number fires":        {[]float64{0, 1, 2, 3, 30}, []float64{2, 3}},
		"one that comes late counts":         {[]float64{5, 6, 1}, nil},
		"and is counted by those after it":   {[]float64{5, 1, 6}, []float64{6}},
		"it sees those before it alone":      {[]float64{1, 2, 9, 3}, []float64{9, 3}},
		"but not if it comes an hour late":   {[]float64{1, 2, 73, 3}, nil},
		"those of one instant count as well": {[]float64{0, 0, 0}, []float64{0}},
	} {
		if got := play(t, set, test.minutes...); !slices.Equal(got, test.want) {
			t.Errorf("%s: fired at %v, want %v", name, got, test.want)
		}
	}
}

func TestAThrottleLetsOneThroughInAWhile(t *testing.T) {
	t.Parallel()
	set := mustParse(t, `
rules:
  - {name: a, on: agent.error, throttle: {per: 10m, by: agent_id}, then: ops}
`+destinations)
	for name, test := range map[string]struct{ minutes, want []float64 }{
		"from the first on":            {[]float64{0, 1, 9.99, 10, 19, 20}, []float64{0, 10, 20}},
		"what comes late is throttled": {[]float64{10, 5, 20}, []float64{10, 20}},
		"what comes very late is not":  {[]float64{20, 5, 25, 30}, []float64{20, 5, 30}},
	} {
		if got := play(t, set, test.minutes...); !slices.Equal(got, test.want) {
			t.Errorf("%s: fired at %v, want %v", name, got, test.want)
		}
	}
}

func TestKeysTellApartWhatIsCounted(t *testing.T) {
	t.Parallel()
	for by, test := range map[string]struct {
		change func(*rules.Occasion)
		same   bool
	}{
		"agent_id":               {func(o *rules.Occasion) { o.Event.AgentID = "other" }, false},
		"session_id":             {func(o *rules.Occasion) { o.Event.AgentID = "other" }, false}, // another conversation
		"user_id":                {func(o *rules.Occasion) { o.Event.SessionID = "other" }, true},
		"text":                   {func(o *rules.Occasion) { o.Event.Text = "  WHERE is it?!" }, true},
		"[text]":                 {func(o *rules.Occasion) { o.Event.Text = "where was it" }, false},
		"[agent_id, session_id]": {func(o *rules.Occasion) { o.Event.AgentID, o.Event.SessionID = "agent-7s", "" }, false},
		"error.code":             {func(o *rules.Occasion) { o.Event.ErrorCode = "other" }, false},
		"[room_name]":            {func(o *rules.Occasion) { o.Session = &rules.Session{Session: rapport.Session{RoomName: "lobby"}} }, false},
		"[user_id, role]":        {func(o *rules.Occasion) { o.Event.UserID = "" }, false}, // nobody knows who
		"[ user_id ]": {func(o *rules.Occasion) {
			o.Event.UserID, o.Session = "", &rules.Session{Session: rapport.Session{UserID: "u"}}
		}, true},
		"[type, language, role]":           {func(o *rules.Occasion) { o.Event.ErrorCode = "other" }, true},
		"[error.severity, error.category]": {func(o *rules.Occasion) { o.Event.ErrorCategory = "other" }, false},
	} {
		set := mustParse(t, "rules:\n  - {name: a, on: chat.push, count: {over: 1m, by: "+by+", more_than: 1}, then: ops}"+destinations)
		memory := rules.NewInMemory()
		fired := 0
		for i := range int64(2) {
			e := message(i+1, "Where is it?")
			e.UserID = "u"
			o := eventOccasion(e, noon)
			if i == 1 {
				test.change(o)
			}
			firings, err := set.Match(t.Context(), o, memory)
			if err != nil {
				t.Fatal(err)
			}
			fired += len(firings)
		}
		if fired == 1 != test.same {
			t.Errorf("by %s: fired %d times", by, fired)
		}
	}
}

func TestIDsAreStableAndTellFiringsApart(t *testing.T) {
	t.Parallel()
	set := mustParse(t, `
rules:
  - {name: a, on: [chat.push, room.join], then: [ops, team]}
  - {name: b, on: [session.opened, session.closed, session.changed], then: ops}
destinations:
  ops: {http: {url: https://ops.example}}
  team: {slack: {url: https://slack.example}}
`)
	session := func(agent, id string, last int64) *rules.Session {
		return &rules.Session{ClosesAt: noon, Session: rapport.Session{AgentID: agent, SessionID: id, StartedAt: noon, LastPosition: last}}
	}
	hostile := strings.Repeat("\"\n:ä.", 100)
	occasions := []*rules.Occasion{eventOccasion(message(1, "a"), noon), eventOccasion(message(2, "a"), noon)}
	for _, on := range []string{rules.SessionOpened, rules.SessionClosed, rules.SessionChanged} {
		for _, s := range []*rules.Session{session("a", "b", 1), session("ab", "", 1), session("a", "b", 2), session(hostile, hostile, 1<<62)} {
			occasions = append(occasions, &rules.Occasion{On: on, At: noon, Session: s})
		}
	}
	seen := make(map[string]bool)
	for _, o := range occasions {
		first, err := set.Match(t.Context(), o, rules.NewInMemory())
		again, _ := set.Match(t.Context(), o, rules.NewInMemory())
		if err != nil || !reflect.DeepEqual(first, again) {
			t.Fatalf("got %v and then %v, %v", first, again, err)
		}
		for _, f := range first {
			if seen[f.ID] || len(f.ID) > 200 || strings.Trim(f.ID, "abcdefghijklmnopqrstuvwxyz0123456789:-_") != "" {
				t.Errorf("the id %q", f.ID)
			}
			seen[f.ID] = true
		}
	}
	if !seen["a:ops:1"] || len(seen) != 4+12 {
		t.Errorf("got the ids %v", seen)
	}
}

func TestDataAreWhatTemplatesAreGiven(t *testing.T) {
	t.Parallel()
	set := mustParse(t, `
rules:
  - {name: a, description: why, on: chat.push, when: agent.open_sessions > 0, count: {over: 1m, by: session_id, more_than: 1}, then: ops}
`+destinations)
	e := message(1000000, "<b>\xff\"")
	o := eventOccasion(e, noon)
	o.Background, o.Session = background{}, &rules.Session{ClosesAt: noon.Add(time.Hour), Session: rapport.Session{AgentID: "agent-7", SessionID: "s", LastPosition: 7}}
	memory := rules.NewInMemory()
	_, _ = set.Match(t.Context(), o, memory)
	firings, err := set.Match(t.Context(), o, memory)
	if err != nil || len(firings) != 1 {
		t.Fatal(firings, err)
	}
	var data map[string]any
	if err := json.Unmarshal(firings[0].Data, &data); err != nil {
		t.Fatal(err)
	}
	event, session := data["event"].(map[string]any), data["session"].(map[string]any)
	got := fmt.Sprint(data["id"], data["rule"], data["description"], data["severity"], data["on"], data["at"], data["count"], data["by"], data["agent"],
		event["text"], event["position"], session["last_position"], session["quality_score"], session["status"])
	want := "a:ops:1000000 a why medium chat.push 2026-03-02T12:00:00.000000Z 2 map[session_id:s] " +
		"map[all_open_sessions:7 id:agent-7 open_sessions:3 participants:5] <b>\uFFFD\" 1e+06 7 <nil> open"
	if strings.Join(strings.Fields(got), "") != strings.Join(strings.Fields(want), "") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, has := event["payload"]; has {
		t.Error("the payload is told, though nobody asks for it")
	}
	if f := firings[0]; f.AgentID != "agent-7" || f.SessionID != "s" || f.Position != 1000000 || !f.At.Equal(noon) {
		t.Errorf("got %+v", f)
	}
}

func TestNeedsAreWhatSomeRuleAsksFor(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]rules.Needs{
		`event.agent_id == "a"`:                                   {},
		`agent.open_sessions > 1`:                                 {Agent: true},
		`similarity(event.text, event.said_in_session) > 0.5`:     {SaidInSession: true},
		`similarity(event.text, event.said_by_user) > 0.5`:        {SaidByUser: true},
		`has(event.payload.room) && event.payload.room.size == 1`: {Payload: true},
	} {
		if got := when(t, condition).Needs(); got != want {
			t.Errorf("%s needs %+v", condition, got)
		}
	}
	set := mustParse(t, "rules: [{name: a, on: x, then: ops}]\ndestinations:\n  ops:\n    http:\n      url: http://a\n      body: '{{with .event.payload}}{{json .}}{{else}}null{{end}}'")
	if !set.Needs().Payload || !set.IsOn("x") || set.IsOn("y") {
		t.Errorf("got %+v", set.Needs())
	}
}

func TestAnEventCantPretendThatASessionHasClosed(t *testing.T) {
	t.Parallel()
	set := mustParse(t, sessionRules)
	for _, on := range []string{rules.SessionOpened, rules.SessionClosed, rules.SessionChanged, rules.OnMetric} {
		e := &rapport.Event{Type: on, Position: 1, SessionID: "s"}
		if fires(t, set, &rules.Occasion{On: on, Event: e, Session: &rules.Session{}}) {
			t.Errorf("an event of type %s fires", on)
		}
	}
}

func FuzzCondition(f *testing.F) {
	f.Add(`event.text.hasWord(["a", "b"]) && sentiment(event.text) < 0.5`)
	f.Add(`similarity(event.text, event.said_by_user) > 0.5 || event.payload.a[0].b == 1`)
	f.Add(`event == event || type(event) == type(session) || dyn(event).text == "" || rapport.Event{}.text == ""`)
	f.Add(`[event].exists(e, e.text == "hi") && {"a": session}["a"].turn_count > 1`)
	f.Add(`event.text.matches("(a+)+$") ? 1 / session.turn_count > 0 : string(event.received_at) > "a"`)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, "\n\r") {
			return
		}
		set, err := parse("rules:\n  - name: a\n    on: chat.push\n    then: ops\n    when: |\n      " + text + "\n" + destinations)
		if err != nil {
			return
		}
		o := eventOccasion(message(1, "hi there"), noon)
		o.Background, o.Event.Payload = background{}, []byte(`{"a":[{"b":1},2,null]}`)
		_, err = set.Match(t.Context(), o, rules.NewInMemory())
		if _, ok := errors.AsType[rules.ConditionErrors](err); err != nil && !ok {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
