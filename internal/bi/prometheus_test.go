package bi

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"

	"rapport/internal/grafana"
	"rapport/store/storetest"
)

// fromPrometheus are the metrics that Prometheus makes itself.
var fromPrometheus = map[string]bool{"up": true, "ALERTS": true}

// perDelivery are those that begin with a spool, a source, a stream or rules, which the server of a test has not.
var perDelivery = map[string]bool{
	"rapport_spool_records": true, "rapport_spool_age_seconds": true, "rapport_spool_room": true, "rapport_spool_damaged_segments": true,
	"rapport_spool_refused_total": true, "rapport_spool_drained_total": true, "rapport_circuit_open": true, "rapport_dead_letters": true,
	"webhook_proven_total": true, "webhook_over_rate_total": true, "rapport_stream_lag_seconds": true, "rapport_stream_omitted_total": true,
	"rapport_deliveries_dead": true, "rapport_deliveries_waiting": true, "rapport_delivery_attempts_total": true, "rapport_rules_refused": true,
	"rapport_rule_condition_errors_total": true, "rapport_rule_passed_over_total": true,
}

// told are the names of the metrics that a server tells, and those in its source.
func told(t *testing.T) map[string]bool {
	t.Helper()
	answer := httptest.NewRecorder()
	server(t, storetest.New(t)).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatal(answer.Code)
	}
	names := make(map[string]bool)
	for line := range strings.Lines(answer.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			names[line[:strings.IndexAny(line, "{ ")]] = true
		}
	}
	source := ""
	for _, file := range []string{"../../api/metrics.go", "../../api/spoolmetrics.go", "../../api/sourcemetrics.go", "../../api/streammetrics.go",
		"../../aggregator/export/stream/metrics.go", "../../aggregator/reaction/deliver/metrics.go", "../../aggregator/reaction/metrics.go", "../../cmd/rapport/ruleskeeper.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source += string(text)
	}
	for name := range perDelivery {
		names[name] = names[name] || strings.Contains(source, `"`+name+`"`)
	}
	return names
}

// unknownMetrics are the names in an expression that nobody tells.
func unknownMetrics(t *testing.T, known map[string]bool, expression string) (unknown []string) {
	t.Helper()
	parsed, err := parser.ParseExpr(expression)
	if err != nil {
		t.Errorf("%s: %v", expression, err)
		return nil
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok && !known[selector.Name] && !fromPrometheus[selector.Name] {
			unknown = append(unknown, selector.Name)
		}
		return nil
	})
	return unknown
}

func TestPanelsOfPrometheusAskForWhatServersTell(t *testing.T) {
	t.Parallel()
	known := told(t)
	dashboards, err := grafana.Dashboards()
	if err != nil {
		t.Fatal(err)
	}
	panels := 0
	for _, d := range dashboards {
		for _, p := range d.AllPanels() {
			for _, target := range p.Targets {
				if target.Datasource.Type != grafana.Prometheus {
					continue
				}
				panels++
				expression := strings.ReplaceAll(target.Expr, "$__rate_interval", "1m")
				for _, name := range unknownMetrics(t, known, expression) {
					t.Errorf("%s/%s: no server tells %s", d.File, p.Title, name)
				}
			}
		}
	}
	if panels < 20 {
		t.Errorf("only %d queries", panels)
	}
}

var quotedMetric = regexp.MustCompile(`\b(rapport|webhook)_[a-z_]+\b`)

func TestAlertsWatchWhatServersTellAndSayWhatToDo(t *testing.T) {
	t.Parallel()
	known := told(t)
	text, err := os.ReadFile("../../deploy/prometheus/rapport.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil || len(file.Groups) != 1 {
		t.Fatalf("%d groups, %v", len(file.Groups), err)
	}
	watched := ""
	for _, rule := range file.Groups[0].Rules {
		watched += rule.Expr + "\n"
		for _, name := range unknownMetrics(t, known, rule.Expr) {
			t.Errorf("%s: no server tells %s", rule.Alert, name)
		}
		if len(rule.Annotations["summary"]) < 20 || len(rule.Annotations["description"]) < 60 {
			t.Errorf("%s doesn't say what to do", rule.Alert)
		}
		if severity := rule.Labels["severity"]; severity != "page" && severity != "ticket" {
			t.Errorf("%s has the severity %q", rule.Alert, severity)
		}
	}
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(manual), "Worth being woken for:")
	section, _, _ = strings.Cut(section, "The log is on stderr")
	for _, name := range quotedMetric.FindAllString(section, -1) {
		if !strings.Contains(watched, name) {
			t.Errorf("the manual names %s, and no alert watches it", name)
		}
	}
}
