package reaction_test

import (
	"fmt"
	"testing"
	"time"

	"rapport/store"
)

const quiet = `
rules:
  - {name: quiet, description: nobody comes, on: metric, metric: sessions, window: 10m, below: 1, then: peer}
  - {name: slow, on: metric, metric: p95_response_s, filter: {agent_id: agent}, window: 5m, above: 8, no_data: ok, severity: low, then: peer}
`

// states are the alerts as they stand.
func (h *house) states() string {
	h.t.Helper()
	alerts, err := h.Alerts(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	text := ""
	for _, a := range alerts {
		text += fmt.Sprintf("%s %s since %s; ", a.Rule, a.State, a.Since.Format("15:04"))
	}
	return text
}

func TestAnAlertIsToldWhenItBeginsAndWhenItIsOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add(says("s", "a"))
	h.now = h.now.Add(time.Minute)
	r := h.open(quiet)
	const never = "00:00"
	if got, want := h.states(), "quiet ok since "+never+"; slow no_data since "+never+"; "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for range 20 { // from minute 2 to 21
		h.after(time.Minute, r)
	}
	r = h.open(quiet) // another process knows
	h.add(says("t", "a"))
	h.after(30*time.Second, r)
	h.wantRules("quiet")
	h.after(30*time.Second, r)
	h.wantRules("quiet", "quiet")
	if got, want := h.states(), "quiet ok since 12:22; slow no_data since "+never+"; "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	metric, _ := h.fired()[1].data(t)["metric"].(map[string]any)
	if metric["resolved"] != true || metric["since"] != "2026-03-02T12:11:00.000000Z" {
		t.Errorf("told %v", metric)
	}
	h.open(hello) // no alert is in force
	if got := h.states(); got != "" {
		t.Errorf("in force: %s", got)
	}
	history, err := h.AlertHistory(t.Context(), store.AlertHistoryQuery{Rule: "quiet", Limit: 10})
	if err != nil || len(history) != 2 || history[0].State != store.AlertResolved || history[1].State != store.AlertFiring {
		t.Errorf("%+v, %v", history, err)
	}
	older, err := h.AlertHistory(t.Context(), store.AlertHistoryQuery{Before: history[0].ID, Limit: 10})
	if err != nil || len(older) != 1 || older[0].ID != history[1].ID || *older[0].Value != 0 {
		t.Errorf("%+v, %v", older, err)
	}
}

func TestAlertsWaitForSessionsThatAreBehind(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open("rules:\n  - {name: some, on: metric, metric: sessions, window: 1h, above: 0, then: peer}\n")
	h.append(says("s", "a"))
	h.after(2*time.Minute, r)
	h.wantRules()
	if alerts, err := h.Alerts(t.Context()); err != nil || !alerts[0].EvaluatedAt.Equal(noon) {
		t.Errorf("%+v, %v", alerts, err)
	}
	h.fold()
	h.step(r)
	h.wantRules("some")
}
