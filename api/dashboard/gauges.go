package dashboard

import (
	"fmt"
	"io"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// gauges are what GET /metrics tells, by the names of the metrics.
type gauges map[string]*dto.MetricFamily

func readGauges(scrape io.Reader) (gauges, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(scrape)
	if err != nil {
		return nil, fmt.Errorf("the answer of GET /metrics can't be read: %w", err)
	}
	return families, nil
}

// value is that of a gauge without labels. What the server can't tell now is not there.
func (g gauges) value(name string) (value float64, isTold bool) {
	metrics := g[name].GetMetric()
	if len(metrics) != 1 {
		return 0, false
	}
	return metrics[0].GetGauge().GetValue(), true
}

// by are the values of a gauge by one of its labels.
func (g gauges) by(name, label string) map[string]float64 {
	values := map[string]float64{}
	for _, metric := range g[name].GetMetric() {
		values[labelOf(metric, label)] = metric.GetGauge().GetValue()
	}
	return values
}

// states are those that a gauge is 1 for, by one of its labels.
func (g gauges) states(name, label, state string) map[string]string {
	states := map[string]string{}
	for _, metric := range g[name].GetMetric() {
		if metric.GetGauge().GetValue() == 1 {
			states[labelOf(metric, label)] = labelOf(metric, state)
		}
	}
	return states
}

func labelOf(metric *dto.Metric, name string) string {
	for _, pair := range metric.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}
