package reaction_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// others tell of another follower, as the API does.
type others struct{}

var position = prometheus.NewDesc("rapport_follower_position", "Position up to which the follower has come.", []string{"follower"}, nil)

func (others) Describe(descs chan<- *prometheus.Desc) { descs <- position }
func (others) Collect(metrics chan<- prometheus.Metric) {
	metrics <- prometheus.MustNewConstMetric(position, prometheus.GaugeValue, 7, "sessions")
}

func TestMetricsTellOfTheRulesBesideTheOtherFollowers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.open(hello)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(others{})
	for _, c := range r.Collectors() {
		registry.MustRegister(c)
	}
	h.add(says("s", "hello"), says("s", "hello"))
	h.step(r)
	h.append(says("s", "hello"))
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	found, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, family := range found {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			got[name] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"rapport_follower_position sessions": 7, "rapport_follower_position reaction": 2, "rapport_follower_lag_events reaction": 1,
		"rapport_rule_firings_total peer hello": 2, "rapport_rule_condition_errors_total hello": 0, "rapport_rule_passed_over_total": 0,
		"rapport_rules_reloads_total done": 1, "rapport_rules_reloads_total failed": 0, "rapport_rules_loaded_timestamp": float64(noon.Unix()),
	} {
		if value, known := got[name]; !known || value != want {
			t.Errorf("%s is %v, want %v", name, value, want)
		}
	}
}
