package api

import (
	"net/http"
	"testing"
)

// judgeAlerts has rules on metrics in force, and some of their history.
func judgeAlerts(t *testing.T, l *live) {
	t.Helper()
	l.db.Exec(t, "rapport_server", `INSERT INTO alerts (rule, description, severity, metric, filter, window_s, above, below, no_data, state, value, since, evaluated_at) VALUES
		('busy', '', 'low', 'sessions', '{}', 86400, 1000, NULL, 'keep', 'ok', NULL, NULL, NULL),
		('quality', 'A goes badly', 'high', 'avg_quality', '{"agent_id": "A", "min_messages": 2}', 3600, NULL, 50, 'keep', 'firing', 41.5, '2026-09-28T11:00:00Z', '2026-09-28T12:00:00Z'),
		('slow', '', 'medium', 'p95_response_s', '{"agent_id": "B", "engagement_tier": "deep", "user_id": "u", "room_name": "r"}', 300, 8, NULL, 'ok', 'no_data', NULL, '2026-09-27T11:00:00Z', '2026-09-28T12:00:00Z')`)
	l.db.Exec(t, "rapport_server", `INSERT INTO alert_changes (rule, agent_id, state, value, at) VALUES
		('slow', 'B', 'firing', 9.25, '2026-09-27T10:00:00Z'), ('slow', 'B', 'resolved', NULL, '2026-09-27T11:00:00Z'),
		('gone', '', 'firing', 1, '2026-09-27T12:00:00Z'), ('quality', 'A', 'firing', 41.5, '2026-09-28T11:00:00Z')`)
}

func TestAlertsAreToldAsTheyStand(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	judgeAlerts(t, l)
	for _, limit := range []int{1, 2, 3, 50} {
		wantColumn(t, allRows(t, l, "/alerts", limit), "rule", "busy", "quality", "slow")
	}
	rows := allRows(t, l, "/alerts?state=firing", 50)
	for name, want := range map[string]string{
		"rule": "quality", "description": "A goes badly", "severity": "high", "metric": "avg_quality", "window_s": "3600", "above": "<nil>", "below": "50",
		"no_data": "keep", "state": "firing", "value": "41.5", "since": "2026-09-28T11:00:00.000000Z", "evaluated_at": "2026-09-28T12:00:00.000000Z",
		"filter": "map[agent_id:A engagement_tier:<nil> min_messages:2 room_name:<nil> user_id:<nil>]",
	} {
		wantColumn(t, rows, name, want)
	}
	unjudged := allRows(t, l, "/alerts?state=ok", 50)
	for _, name := range []string{"value", "since", "evaluated_at", "below"} {
		wantColumn(t, unjudged, name, "<nil>")
	}
	wantProblem(t, get(l, "/alerts?state=resolved"), http.StatusBadRequest)
	if csv := get(l, "/alerts?format=csv&state=no_data").Body.String(); csv != "rule,description,severity,metric,"+
		"filter.agent_id,filter.engagement_tier,filter.user_id,filter.room_name,filter.min_messages,window_s,above,below,no_data,state,value,since,evaluated_at\n"+
		"slow,,medium,p95_response_s,B,deep,u,r,,300,8,,ok,no_data,,2026-09-27T11:00:00.000000Z,2026-09-28T12:00:00.000000Z\n" {
		t.Errorf("as CSV: %s", csv)
	}
}

func TestTheHistoryOfAlertsBeginsWithTheNewest(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	judgeAlerts(t, l)
	for _, limit := range []int{1, 2, 3, 50} {
		rows := allRows(t, l, "/alerts/history", limit)
		wantColumn(t, rows, "rule", "quality", "gone", "slow", "slow")
		wantColumn(t, rows, "state", "firing", "firing", "resolved", "firing")
		wantColumn(t, rows, "value", "41.5", "1", "<nil>", "9.25")
		wantColumn(t, rows, "id", "4", "3", "2", "1")
	}
	wantColumn(t, allRows(t, l, "/alerts/history?rule=slow", 1), "at", "2026-09-27T11:00:00.000000Z", "2026-09-27T10:00:00.000000Z")
	wantColumn(t, allRows(t, l, "/alerts/history?rule=nobody", 1), "at")
}

func TestAKeyOfAgentsSeesTheirAlertsAlone(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	judgeAlerts(t, l)
	for agents, want := range map[string][]string{"A": {"quality"}, "B": {"slow"}, "C": nil} {
		limited := as(l, l.key(t, "of-"+agents, readScope, agents))
		wantColumn(t, allRows(t, limited, "/alerts", 1), "rule", want...)
		for _, row := range allRows(t, limited, "/alerts/history", 1) {
			wantColumn(t, []map[string]any{row}, "rule", want...)
		}
		wantColumn(t, allRows(t, limited, "/alerts/history?rule=gone", 1), "rule")
	}
	both := as(l, l.key(t, "both", readScope, "A", "B"))
	wantColumn(t, allRows(t, both, "/alerts", 1), "rule", "quality", "slow")
	wantColumn(t, allRows(t, both, "/alerts/history", 1), "rule", "quality", "slow", "slow")

	// A rule may have been of another agent before.
	l.db.Exec(t, "rapport_server", `INSERT INTO alert_changes (rule, agent_id, state, value, at) VALUES ('quality', 'B', 'resolved', 60, '2026-09-28T13:00:00Z')`)
	wantColumn(t, allRows(t, as(l, l.key(t, "a", readScope, "A")), "/alerts/history", 50), "state", "firing")
}
