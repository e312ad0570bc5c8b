package rules_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"rapport/aggregator/reaction/rules"
)

// lookup has the environment of the tests.
func lookup(name string) (string, bool) {
	value, ok := map[string]string{"URL": "https://hooks.example/x", "TOKEN": "secret-token", "EMPTY": "", "SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}[name]
	return value, ok
}

const destinations = `
destinations:
  ops:
    http: {url: https://ops.example}
`

func parse(text string) (*rules.Set, error) {
	return rules.ParseWith("rules.yaml", []byte(strings.TrimPrefix(text, "\n")), lookup)
}

func mustParse(t *testing.T, text string) *rules.Set {
	t.Helper()
	set, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestMistakesAreToldWithTheirPlace(t *testing.T) {
	t.Parallel()
	rule := func(fields string) string {
		return "rules:\n  - name: a\n    on: chat.push\n    then: ops\n" + fields + destinations
	}
	body := func(body string) string {
		return "rules:\n  - name: a\n    on: chat.push\n    then: ops\ndestinations:\n  ops:\n    http:\n      url: https://ops.example\n      body: |\n        " + body + "\n"
	}
	for name, test := range map[string]struct{ text, want string }{
		"nothing":               {"", "1:1: the file is empty"},
		"no UTF-8":              {"rules: \xff", "1:1: the file is no UTF-8"},
		"no YAML":               {"rules:\n  - [", "2:1: this is no YAML"},
		"two documents":         {"rules: []\n---\nrules: []", "2:1: there is a second document"},
		"a list":                {"- a", "1:1: the file must be fields"},
		"no rules":              {"destinations: {}", "1:1: rules is missing"},
		"rules are fields":      {"rules: {a: b}", "1:8: rules must be a list"},
		"an unknown field":      {rule("    whne: 'true'"), `5:5: a rule has no field "whne"`},
		"a field twice":         {rule("    then: ops"), "5:5: then is there twice"},
		"no name":               {"rules:\n  - on: a\n    then: ops" + destinations, "2:5: a rule must have a field name"},
		"a bad name":            {"rules:\n  - name: A b\n    on: a\n    then: ops" + destinations, `2:11: the rule's name is "A b"`},
		"a name twice":          {rule("  - name: a\n    on: a\n    then: ops"), "5:11: there is another rule a"},
		"no destination":        {strings.Replace(rule(""), "then: ops", "then: [ops, opps]", 1), `4:17: there is no destination "opps": there is ops`},
		"an underscore":         {strings.Replace(rule(""), "chat.push", "chat_push", 1), "3:9: on: chat_push never happens: write chat.push"},
		"a severity":            {rule("    severity: severe"), `5:15: severity is "severe": it must be low, medium, high, critical`},
		"a condition":           {rule("    when: event.txt == ''"), "5:16: when: undefined field 'txt'"},
		"a quoted condition":    {rule(`    when: "event.txt == ''"`), "5:17: when: undefined field 'txt'"},
		"a folded condition":    {rule("    when: >-\n      event.role == 'user'\n\n      && event.txt == ''"), "8:15: when: undefined field 'txt'"},
		"a literal condition":   {rule("    when: |\n      event.role == 'user' &&\n      event.txt == ''"), "7:12: when: undefined field 'txt'"},
		"an escaped condition":  {rule(`    when: "event.tex\u0074 == event.txt"`), "5:11: when: undefined field 'txt'"},
		"no truth":              {rule("    when: event.text"), "5:11: when: it is string, and must be true or false"},
		"wrong types":           {rule("    when: event.text > 5"), "5:22: when: found no matching overload"},
		"no list of words":      {rule("    when: event.text.hasWord('a')"), "5:29: when: found no matching overload"},
		"an event of a session": {strings.Replace(rule("    when: event.text == ''"), "chat.push", "session.closed", 1), "5:11: when: undeclared reference to 'event'"},
		"a duration":            {rule("    throttle: {per: 10 minutes}"), `5:21: per is "10 minutes": it must be from 1s to 7d`},
		"a long duration":       {rule("    throttle: {per: 8d}"), `5:21: per is "8d"`},
		"no number":             {rule("    count: {over: 1m, more_than: many}"), "5:34: more_than must be a whole number from 1 to 9999"},
		"no over":               {rule("    count: {more_than: 5}"), "5:12: count must have over"},
		"an unknown by":         {rule("    throttle: {per: 1m, by: [agent]}"), `5:30: by can't be "agent" here: it can be agent_id, session_id`},
		"a by of an event":      {strings.Replace(rule("    throttle: {per: 1m, by: text}"), "chat.push", "session.closed", 1), `5:29: by can't be "text" here`},
		"an alias":              {"rules:\n  - &a\n    name: a\n    on: b\n    then: ops\n  - *a" + destinations, "6:5: a rule must be fields"},
		"metric and more":       {strings.Replace(rule(""), "chat.push", "[metric, chat.push]", 1), "3:9: on: metric goes with nothing else"},
		"a metric's field":      {rule("    window: 1h"), "5:13: window is for rules on: metric"},
		"a metric's condition":  {strings.Replace(rule("    metric: sessions\n    window: 1h\n    below: 1\n    when: 'true'"), "chat.push", "metric", 1), "8:11: when is not for rules on: metric"},
		"an unknown metric":     {strings.Replace(rule("    metric: session\n    window: 1h\n    below: 1"), "chat.push", "metric", 1), `5:13: metric is "session": it must be sessions, `},
		"a short window":        {strings.Replace(rule("    metric: sessions\n    window: 1m\n    below: 1"), "chat.push", "metric", 1), `6:13: window is "1m": it must be from 5m to 7d`},
		"no threshold":          {strings.Replace(rule("    metric: sessions\n    window: 1h"), "chat.push", "metric", 1), "2:5: a rule on: metric must have above or below"},
		"no resolution":         {strings.Replace(rule("    metric: sessions\n    window: 1h\n    above: 1\n    below: 2"), "chat.push", "metric", 1), "8:12: below is greater than above"},
		"not a number":          {strings.Replace(rule("    metric: sessions\n    window: 1h\n    above: .nan"), "chat.push", "metric", 1), "7:12: above must be a number"},
		"no data":               {strings.Replace(rule("    metric: sessions\n    window: 1h\n    above: 1\n    no_data: no"), "chat.push", "metric", 1), `8:14: no_data is "no": it must be ok, alert, keep`},
		"a variable":            {"rules: []\ndestinations:\n  a:\n    slack:\n      url: ${NOT_SET}", "5:12: url: the environment variable NOT_SET is not set"},
		"an empty variable":     {"rules: []\ndestinations:\n  a:\n    slack:\n      url: ${EMPTY}", "5:12: url: the environment variable EMPTY is not set"},
		"no variable":           {"rules: []\ndestinations:\n  a:\n    slack:\n      url: ${A B}", `5:12: url: "${A B}" names no environment variable`},
		"no kind":               {"rules: []\ndestinations:\n  a: {}", "3:6: destination a must have either slack or http"},
		"both kinds":            {"rules: []\ndestinations:\n  a: {slack: {url: http://a}, http: {url: http://a}}", "3:6: destination a must have either slack or http"},
		"no URL":                {"rules: []\ndestinations:\n  a: {http: {url: ops.example}}", "3:19: url must be one of http or https"},
		"a password":            {"rules: []\ndestinations:\n  a: {http: {url: 'http://a:b@c'}}", "3:19: url has a user or a password"},
		"a method":              {"rules: []\ndestinations:\n  a: {http: {url: http://a, method: GET}}", `3:37: method is "GET": it must be POST, PUT, PATCH`},
		"our header":            {"rules: []\ndestinations:\n  a: {http: {url: http://a, headers: {Webhook-Id: a}}}", "3:39: the header Webhook-Id is set by rapport"},
		"a header's name":       {"rules: []\ndestinations:\n  a: {http: {url: http://a, headers: {a b: a}}}", `3:39: "a b" is no name of a header`},
		"a header's value":      {"rules: []\ndestinations:\n  a: {http: {url: http://a, headers: {a: \"b\\nc\"}}}", "3:42: the header a has a character"},
		"a short secret":        {"rules: []\ndestinations:\n  a: {http: {url: http://a, secret: whsec_YQ==}}", "3:37: secret must be whsec_ and 24 to 64 random bytes"},
		"a template":            {body("{{.event.text"), "10:22: body: unclosed action"},
		"a function":            {body("{{upper .event.text}}"), `10:9: body: function "upper" not defined`},
		"a field of a template": {body("{{json .event.txt}}"), `10:22: body: <.event.txt>: map has no entry for key "txt" (in rule a;`},
		"what may be null":      {body("{{json .session.user_id}}"), "10:24: body: <.session.user_id>: nil pointer evaluating"},
		"what is no JSON":       {body(`{"text": "{{.event.text}}"}`), "9:13: body: in rule a it makes no JSON"},
		"what is a number":      {body(`{"n": {{.event.participants}}}`), "9:13: body: in rule a it makes no JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, err := parse(test.text)
			mistakes, ok := errors.AsType[rules.Mistakes](err)
			if !ok || set != nil {
				t.Fatalf("got %v, %v", set, err)
			}
			if want := "rules.yaml:" + test.want; !strings.HasPrefix(mistakes[0].Error(), want) || len(mistakes) != 1 {
				t.Errorf("told %q, want %q", err, want)
			}
		})
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	_, err := parse(`
rules:
  - name: a
    on: chat_push
    when: event.nothing
    then: nobody
  - name: b
    on: metric
    metric: nothing
    then: ops
destinations:
  ops:
    http:
      url: ${MISSING}
      secret: ${MISSING_TOO}
`)
	mistakes, _ := errors.AsType[rules.Mistakes](err)
	var lines []int
	for _, m := range mistakes {
		lines = append(lines, m.Line)
	}
	if want := []int{3, 5, 6, 6, 8, 13, 14}; !slices.Equal(lines, want) {
		t.Errorf("mistakes in the lines %v, want %v:\n%v", lines, want, err)
	}
}

func TestNoMessageRepeatsASecret(t *testing.T) {
	t.Parallel()
	_, err := parse(`
rules: []
destinations:
  a: {http: {url: "ftp://${TOKEN}", secret: "${TOKEN}", headers: {a: "${TOKEN}\n"}}}
  b: {slack: {url: "${TOKEN}"}}
`)
	if err == nil || strings.Contains(err.Error(), "secret-token") {
		t.Errorf("told %v", err)
	}
}

func TestSecretsComeFromTheEnvironment(t *testing.T) {
	t.Parallel()
	set := mustParse(t, `
rules: []
destinations:
  crm:
    http:
      url: ${URL}?a=b
      method: PATCH
      secret: [ "${SECRET}", MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE= ]
      headers:
        authorization: Bearer ${TOKEN}
        content-type: text/plain
`)
	http := set.Destination("crm").HTTP
	secret, _ := lookup("SECRET")
	if http.URL != "https://hooks.example/x?a=b" || http.Method != "PATCH" || !slices.Equal(http.Secrets, []string{secret, secret}) ||
		http.Headers["authorization"] != "Bearer secret-token" || http.Headers["Content-Type"] != "text/plain" || len(http.Headers) != 2 {
		t.Errorf("got %+v", http)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("rules:\n  - name: a\n    on: chat.push\n    when: >\n      event.text.hasWord(['a'])\n    count: {over: 1m, by: [agent_id], more_than: 2}\n    then: ops" + destinations)
	f.Add("rules:\n  - name: a\n    on: metric\n    metric: sessions\n    window: 5m\n    above: 1e3\n    then: ops" + destinations)
	f.Add("rules: &a [*a]\ndestinations:\n  a: {slack: {url: \"${URL}\", text: \"{{range .}}{{.}}{{end}}\"}}")
	f.Add("a: b: c")
	f.Add("? [x]\n: y\nrules:\n- !!binary aa")
	f.Fuzz(func(t *testing.T, text string) {
		set, err := parse(text)
		if (set == nil) == (err == nil) {
			t.Fatalf("got %v, %v", set, err)
		}
		mistakes, ok := errors.AsType[rules.Mistakes](err)
		if err != nil && (!ok || len(mistakes) == 0) {
			t.Fatalf("got %v", err)
		}
		lines := strings.Count(text, "\n") + 2
		for _, m := range mistakes {
			if m.Line < 1 || m.Line > lines || m.Column < 1 || strings.Contains(m.Message, "\n") {
				t.Fatalf("mistake at %d:%d of %d lines: %q", m.Line, m.Column, lines, m.Message)
			}
		}
	})
}
