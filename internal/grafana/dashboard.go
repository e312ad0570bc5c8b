// Package grafana reads the dashboards of deploy/grafana, and expands their queries as
// Grafana does before it sends them to Postgres, so that tests can run and benchmarks
// can time every one of them without a Grafana.
package grafana

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"rapport/deploy/grafana"
)

// Dashboard is one as its file has it: what of it is of interest here.
type Dashboard struct {
	File       string `json:"-"`
	UID        string `json:"uid"`
	Title      string `json:"title"`
	Panels     []Panel
	Templating struct {
		List []Variable
	}
}

// Panel is a panel, or a row of them.
type Panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Datasource  Datasource
	Interval    string // the least that $__interval is
	Targets     []Target
	FieldConfig struct {
		Defaults struct {
			Unit string
		}
	}
	Panels []Panel // of a collapsed row
}

// Target is a query of a panel.
type Target struct {
	RefID      string
	Datasource Datasource
	Format     string // time_series or table
	RawSQL     string `json:"rawSql"`
	Expr       string // PromQL
}

// Datasource says who answers.
type Datasource struct {
	Type string
	UID  string
}

// The types of the data sources.
const (
	Postgres   = "grafana-postgresql-datasource"
	Prometheus = "prometheus"
)

// Variable is a variable of a dashboard.
type Variable struct {
	Name       string
	Type       string // query, custom, textbox
	Query      any    // SQL for a query, the values separated by commas for custom
	IncludeAll bool
	AllValue   string
	Multi      bool
	Current    struct {
		Value any
	}
}

// SQL is the query of a variable that asks Postgres; empty for any other.
func (v *Variable) SQL() string {
	sql, _ := v.Query.(string)
	if v.Type != "query" {
		return ""
	}
	return sql
}

// Dashboards reads all there are, in the order of their files' names.
func Dashboards() ([]Dashboard, error) {
	files, err := fs.Glob(grafana.Dashboards, "dashboards/*.json")
	if err != nil {
		return nil, err
	}
	all := make([]Dashboard, len(files))
	for i, file := range files {
		text, err := grafana.Dashboards.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &all[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all[i].File = strings.TrimSuffix(path.Base(file), ".json")
	}
	return all, nil
}

// AllPanels are the panels, those of collapsed rows too, without the rows.
func (d *Dashboard) AllPanels() []Panel {
	var all []Panel
	for _, p := range d.Panels {
		if p.Type != "row" {
			all = append(all, p)
		}
		all = append(all, p.Panels...)
	}
	return all
}
