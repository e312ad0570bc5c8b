package main

import (
	"encoding/json"
	"strings"
	"testing"

	"rapport/store/storetest"
)

func TestAlertsAreListed(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	url := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	db.Exec(t, "rapport_server", `INSERT INTO alerts (rule, description, severity, metric, filter, window_s, above, below, no_data, state, value, since, evaluated_at) VALUES
		('busy', '', 'low', 'sessions', '{}', 86400, 1000, NULL, 'keep', 'ok', NULL, NULL, NULL),
		('quality', 'A goes badly', 'high', 'avg_quality', '{"agent_id": "A"}', 3600, NULL, 50, 'keep', 'firing', 41.5, '2026-09-28T11:00:00Z', '2026-09-28T12:00:00Z')`)
	db.Exec(t, "rapport_server", `INSERT INTO alert_changes (rule, state, value, at) VALUES
		('busy', 'firing', 1001, '2026-09-27T10:00:00Z'), ('busy', 'resolved', NULL, '2026-09-27T11:00:00Z'), ('quality', 'firing', 41.5, '2026-09-28T11:00:00Z')`)
	lines := func(args ...string) []string {
		t.Helper()
		out, stderr, code := runRapport(t, append([]string{"alert"}, args...), url)
		if code != 0 {
			t.Fatalf("%v: %s", args, stderr)
		}
		var found []string
		for line := range strings.Lines(out) {
			found = append(found, strings.Join(strings.Fields(line), " "))
		}
		return found
	}
	if got := strings.Join(lines("list"), "\n"); got != "RULE STATE VALUE METRIC ABOVE BELOW WINDOW SEVERITY SINCE LOOKED AT\n"+
		"busy ok - sessions 1000 - 24h0m0s low - -\nquality firing 41.5 avg_quality - 50 1h0m0s high 2026-09-28T11:00:00Z 2026-09-28T12:00:00Z" {
		t.Error(got)
	}
	if got := strings.Join(lines("history", "--limit=2"), "\n"); got != "ID AT RULE STATE VALUE\n3 2026-09-28T11:00:00Z quality firing 41.5\n2 2026-09-27T11:00:00Z busy resolved -" {
		t.Error(got)
	}
	var alert, change map[string]any
	if err := json.Unmarshal([]byte(lines("list", "--json")[0]), &alert); err != nil || alert["rule"] != "busy" || alert["since"] != nil || alert["window_s"] != 86400.0 {
		t.Error(alert, err)
	}
	history := lines("history", "--json", "--rule=busy")
	if err := json.Unmarshal([]byte(history[0]), &change); err != nil || len(history) != 2 || change["state"] != "resolved" || change["value"] != nil {
		t.Error(history, err)
	}
}
