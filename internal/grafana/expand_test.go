package grafana

import (
	"strings"
	"testing"
	"time"
)

var view = View{From: time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 9, 29, 0, 0, 0, 0, time.UTC), Agent: "o'neil", Session: "s"}

func TestMacrosAndVariablesAreExpandedAsGrafanaDoes(t *testing.T) {
	t.Parallel()
	one, all, plain := Variable{Name: "agent"}, Variable{Name: "anyone", IncludeAll: true, AllValue: "'*'"}, Variable{Name: "interval"}
	plain.Current.Value = "day"
	d := Dashboard{}
	d.Templating.List = []Variable{one, all, plain}
	for sql, want := range map[string]string{
		"$__timeFrom() $__timeTo()":            "'2026-09-01T00:00:00Z' '2026-09-29T00:00:00Z'",
		"$__timeFilter(at)":                    "at BETWEEN '2026-09-01T00:00:00Z' AND '2026-09-29T00:00:00Z'",
		"$__time(at)":                          `at AS "time"`,
		"$__timeGroup(at, '1h')":               "floor(extract(epoch from at)/3600)*3600",
		"$__timeGroup(at, '500ms')":            "floor(extract(epoch from at)/0.5)*0.5",
		"$__timeGroupAlias(at, $__interval)":   `floor(extract(epoch from at)/43200)*43200 AS "time"`,
		"$__interval $__interval_ms":           "43200s 43200000",
		"${agent:sqlstring} ${agent:csv}":      "'o''neil' o'neil",
		"${agent:singlequote} $agent ${agent}": `'o\'neil' o'neil o'neil`,
		"${anyone:sqlstring} $anyone":          "'*' '*'",
		"'$interval' ${__timezone:sqlstring}":  "'day' 'Europe/Berlin'",
	} {
		if got, err := d.expand(sql, view, Panel{}); err != nil || got != want {
			t.Errorf("%s: %s (%v), want %s", sql, got, err, want)
		}
	}
	for sql, want := range map[string]string{
		"$__timeFilter(at, ${nobody})": "no variable nobody", "$__unknown(x)": "macro", "${agent:html}": "format", "$__timeGroup(at)": "interval",
		"$__timeGroup(at, soon)": "no interval",
	} {
		if _, err := d.expand(sql, view, Panel{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want one that says %q", sql, err, want)
		}
	}
}
