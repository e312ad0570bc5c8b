package rules_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator/reaction/rules"
)

func TestAnAlertIsToldWhenItBeginsAndWhenItIsOver(t *testing.T) {
	t.Parallel()
	none := -1.0 // stands for no data
	for name, test := range map[string]struct {
		rule   string
		values []float64
		want   string // the minutes at which it began (+) and was over (-)
	}{
		"above":                       {"above: 5", []float64{5, 5.001, 9, 5, 6}, "+1 -3 +4"},
		"below":                       {"below: 5", []float64{5, 4.999, 5}, "+1 -2"},
		"either":                      {"above: 7, below: 5", []float64{6, 4, 8, 6}, "+1 -3"},
		"no data keep what is":        {"above: 5", []float64{none, 6, none, 5, none}, "+1 -3"},
		"also if it says so":          {"above: 5, no_data: keep", []float64{6, none, 6}, "+0"},
		"no data may be right":        {"above: 5, no_data: ok", []float64{none, 6, none}, "+1 -2"},
		"no data may be wrong":        {"above: 5, no_data: alert", []float64{none, 6, none, 5}, "+0 -3"},
		"nothing is told of the good": {"above: 5", []float64{1, 2, 3}, ""},
	} {
		set := mustParse(t, "rules: [{name: a, on: metric, metric: avg_quality, window: 1h, "+test.rule+", then: ops}]"+destinations)
		memory := rules.NewInMemory()
		var told, ids []string
		for minute, value := range test.values {
			o := &rules.Occasion{On: rules.OnMetric, At: noon.Add(time.Duration(minute) * time.Minute), Rule: "a", Value: &value}
			if value == none {
				o.Value = nil
			}
			firings, err := set.Match(t.Context(), o, memory)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range firings {
				sign := map[bool]string{false: "+", true: "-"}[f.Resolved]
				told, ids = append(told, fmt.Sprint(sign, minute)), append(ids, f.ID)
				if !strings.Contains(string(f.Data), fmt.Sprintf(`"resolved":%v`, f.Resolved)) {
					t.Errorf("%s: tells %s", name, f.Data)
				}
			}
		}
		if got := strings.Join(told, " "); got != test.want {
			t.Errorf("%s: told %q, want %q", name, got, test.want)
		}
		slices.Sort(ids)
		if n := len(ids); len(slices.Compact(ids)) != n {
			t.Errorf("%s: ids twice: %q", name, ids)
		}
	}
}

func TestAnAlertsValueIsThatOfTheStatistics(t *testing.T) {
	t.Parallel()
	set := mustParse(t, "rules: [{name: a, on: metric, metric: avg_duration_s, window: 7d, above: 1, filter: {agent_id: x, min_messages: 2, engagement_tier: bounced, user_id: u, room_name: r}, then: ops}]"+destinations)
	alert := set.Alerts()[0]
	totals := rapport.Totals{Sessions: 3, DurationMS: 62_345 * 3}
	if value := alert.Value(&totals); value == nil || *value != 62.345 {
		t.Errorf("got %v", value)
	}
	if value := alert.Value(&rapport.Totals{}); value != nil {
		t.Errorf("got %v of no session", *value)
	}
	want := rules.Filter{AgentID: "x", MinMessages: 2, EngagementTier: "bounced", UserID: "u", RoomName: "r"}
	if alert.Filter != want || alert.Window != 7*24*time.Hour || *alert.Above != 1 || alert.Below != nil {
		t.Errorf("got %+v", alert)
	}
	session := rapport.Session{AgentID: "x", MessageCount: 2, UserID: "u", RoomName: "r"}
	if !alert.Filter.Matches(&session) {
		t.Error("the session does not match")
	}
	for _, change := range []func(*rapport.Session){
		func(s *rapport.Session) { s.AgentID = "y" }, func(s *rapport.Session) { s.MessageCount = 1 },
		func(s *rapport.Session) { s.UserID = "" }, func(s *rapport.Session) { s.RoomName = "" }, func(s *rapport.Session) { s.UserMessageCount = 1 },
	} {
		other := session
		change(&other)
		if alert.Filter.Matches(&other) {
			t.Errorf("%+v matches", other)
		}
	}
}
