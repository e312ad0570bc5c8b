package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"rapport"
)

func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func blocks(t *testing.T, kind string) []string {
	t.Helper()
	var found []string
	for _, block := range regexp.MustCompile("(?s)\n```"+kind+"\n(.*?)\n```\n").FindAllStringSubmatch(manual(t), -1) {
		found = append(found, block[1])
	}
	if len(found) == 0 {
		t.Fatalf("the manual has no example in %s", kind)
	}
	return found
}

func TestTheManualsExamplesAreRight(t *testing.T) {
	t.Parallel()
	lookup := func(name string) (string, bool) {
		if strings.HasSuffix(name, "SECRET") {
			return "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", true
		}
		return "https://example.com", true
	}
	for _, text := range blocks(t, "yaml") {
		if strings.HasPrefix(text, "- name") {
			text = "rules:\n" + text + "\ndestinations: {team: {slack: {url: http://a}}, operations: {http: {url: http://a}}}"
		}
		if _, err := ParseWith("rules.md", []byte(text), lookup); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}

func TestTheManualHasAllFieldsAndTheirTypes(t *testing.T) {
	t.Parallel()
	text := manual(t)
	for variable, record := range records {
		rows := regexp.MustCompile("(?m)^\\| `"+variable+`\.([a-z_]+)`+"` \\| ([a-z()]*) ?\\|").FindAllStringSubmatch(text, -1)
		var told, is []string
		for _, row := range rows {
			told = append(told, row[1]+" "+row[2])
		}
		for _, f := range record.fields {
			kind := strings.TrimPrefix(f.kind.String(), "google.protobuf.")
			if f.name == "error" {
				kind = ""
			}
			is = append(is, f.name+" "+strings.ToLower(kind))
		}
		slices.Sort(told)
		slices.Sort(is)
		if !slices.Equal(told, is) {
			t.Errorf("%s has %q, and the manual %q", variable, is, told)
		}
	}
	for _, name := range slices.Concat(rapport.MetricNames(), severities, commonFields, eventFields, metricFields, byNames(&Rule{})) {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the manual has no %s", name)
		}
	}
}

func TestTheManualShowsWhatIsTold(t *testing.T) {
	t.Parallel()
	var shown map[string]any
	if err := json.Unmarshal([]byte(blocks(t, "json")[0]), &shown); err != nil {
		t.Fatal(err)
	}
	set, err := Parse("rules.yaml", []byte("rules: [{name: a, on: agent.error, then: ops}, {name: b, on: metric, metric: sessions, window: 5m, above: 1, then: ops}]\ndestinations: {ops: {http: {url: http://a}}}"))
	if err != nil {
		t.Fatal(err)
	}
	event := &rapport.Event{Type: rapport.AgentError, Position: 1}
	firings, err := set.Match(t.Context(), &Occasion{On: event.Type, Event: event, Session: &Session{}}, NewInMemory())
	if err != nil || len(firings) != 1 {
		t.Fatal(firings, err)
	}
	var told map[string]any
	if err := json.Unmarshal(firings[0].Data, &told); err != nil {
		t.Fatal(err)
	}
	compareFields(t, "it", shown, told)
	for _, of := range []string{"event", "session"} {
		for field := range shown[of].(map[string]any) {
			if _, has := told[of].(map[string]any)[field]; !has {
				t.Errorf("%s has no %s", of, field)
			}
		}
	}
	firings, err = set.Match(t.Context(), &Occasion{On: OnMetric, Rule: "b", At: time.Unix(0, 0), Value: new(5.0)}, NewInMemory())
	if err != nil || len(firings) != 1 {
		t.Fatal(firings, err)
	}
	if err := json.Unmarshal(firings[0].Data, &told); err != nil {
		t.Fatal(err)
	}
	for field := range told["metric"].(map[string]any) {
		if !strings.Contains(manual(t), "`"+field+"`") && field != "resolved" {
			t.Errorf("the manual has no %s of a metric", field)
		}
	}
}

func compareFields(t *testing.T, of string, a, b map[string]any) {
	t.Helper()
	is, told := slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b))
	if fmt.Sprint(is) != fmt.Sprint(told) {
		t.Errorf("%s has %q, and the manual %q", of, told, is)
	}
}
