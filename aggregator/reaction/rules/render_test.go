package rules_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"rapport"
	"rapport/aggregator/reaction/rules"
)

func rendered(t *testing.T, set *rules.Set, o *rules.Occasion) string {
	t.Helper()
	firings, err := set.Match(t.Context(), o, rules.NewInMemory())
	if err != nil || len(firings) != 1 {
		t.Fatal(firings, err)
	}
	body, err := set.Destination(firings[0].Destination).Render(firings[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestATemplateMakesTheBody(t *testing.T) {
	t.Parallel()
	set := mustParse(t, `
rules:
  - {name: a, on: chat.push, then: crm}
destinations:
  crm:
    http:
      url: https://crm.example
      body: '{"n":{{.event.position}},"t":{{json .event.text}},"u":{{with .session}}{{json .user_id}}{{else}}null{{end}},"p":{{json .event.payload}}}'
`)
	e := message(12345678, "a \"b\"\n</script> ü")
	e.Payload = []byte(`{"id":9007199254740993,"x":1.5}`)
	want := `{"n":12345678,"t":"a \"b\"\n</script> ü","u":null,"p":{"id":9007199254740993,"x":1.5}}`
	if got := rendered(t, set, eventOccasion(e, noon)); got != want {
		t.Errorf("got %s", got)
	}
}

func TestWithoutATemplateTheDataAreTheBody(t *testing.T) {
	t.Parallel()
	got := rendered(t, when(t, "true"), eventOccasion(message(1, "hi"), noon))
	if !json.Valid([]byte(got)) || !strings.Contains(got, `"text":"hi"`) {
		t.Errorf("got %s", got)
	}
}

func TestNobodyCallsAChannelThroughSlack(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"own": `      text: "<https://a.example|{{.rule}}>: {{.event.text}}"`, "default": ""} {
		set := mustParse(t, `
rules:
  - {name: a, on: chat.push, then: team}
destinations:
  team:
    slack:
      url: https://slack.example
`+text)
		got := rendered(t, set, eventOccasion(message(1, "<!channel> & <@U1> "+strings.Repeat("ü", 5000)), noon))
		var sent struct {
			Text   string
			Blocks []struct {
				Type string
				Text struct{ Type, Text string }
			}
		}
		if err := json.Unmarshal([]byte(got), &sent); err != nil {
			t.Fatal(err)
		}
		block := sent.Blocks[0]
		if !strings.Contains(sent.Text, "&lt;!channel&gt; &amp; &lt;@U1&gt;") || block.Text.Text != sent.Text || block.Type != "section" ||
			block.Text.Type != "mrkdwn" || len([]rune(sent.Text)) != 3000 {
			t.Errorf("%s: sent %.200s", name, got)
		}
		if name == "own" && !strings.HasPrefix(sent.Text, "<https://a.example|a>: ") {
			t.Errorf("sent %.200s", got)
		}
	}
}

func TestSlackIsToldInPlainWords(t *testing.T) {
	t.Parallel()
	set := mustParse(t, `
rules:
  - {name: a, description: why, on: agent.error, severity: high, count: {over: 1m, by: [agent_id, error.code], more_than: 1}, then: team}
  - {name: b, on: metric, metric: avg_quality, window: 1h, below: 50, no_data: alert, then: team}
  - {name: c, on: session.closed, then: team}
destinations:
  team:
    slack: {url: https://slack.example}
`)
	memory := rules.NewInMemory()
	e := &rapport.Event{Type: rapport.AgentError, Position: 1, AgentID: "agent-7", SessionID: "s", ErrorCode: "E1", Text: "no <audio>"}
	metric := func(value *float64) *rules.Occasion {
		return &rules.Occasion{On: rules.OnMetric, Rule: "b", At: noon, Value: value}
	}
	session := &rules.Session{Session: rapport.Session{AgentID: "agent-7", SessionID: "s", MessageCount: 4}}
	var said []string
	for _, o := range []*rules.Occasion{
		eventOccasion(e, noon), eventOccasion(e, noon), metric(nil), metric(new(62.5)), {On: rules.SessionClosed, Session: session},
	} {
		firings, err := set.Match(t.Context(), o, memory)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range firings {
			var sent struct{ Text string }
			body, err := set.Destination("team").Render(f.Data)
			if err := errors.Join(err, json.Unmarshal(body, &sent)); err != nil {
				t.Fatal(err)
			}
			said = append(said, sent.Text)
		}
	}
	want := []string{
		"*a* (high): why\n2 times, agent_id agent-7, error.code E1\nagent.error, agent agent-7, session s, error E1\n> no &lt;audio&gt;",
		"*b* (medium)\navg_quality is unknown: there is no data (sessions from 2026-03-02T11:00:00.000000Z on)",
		"Resolved: *b* (medium)\navg_quality is 62.5 (sessions from 2026-03-02T11:00:00.000000Z on)",
		"*c* (medium)\nagent agent-7, session s, 4 messages",
	}
	if !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
}
