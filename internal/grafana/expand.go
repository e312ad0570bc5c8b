package grafana

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// View is what is looked at: the time range, and what the variables are set to.
type View struct {
	From, To time.Time

	// Agent and Session are what dashboards of one agent and of one session show. On
	// dashboards of all agents, All is chosen unless OneAgent is set.
	Agent    string
	Session  string
	OneAgent bool
}

// Query is a query of a panel or a variable, as Grafana sends it to Postgres.
type Query struct {
	Dashboard string // its file, without .json
	Panel     string // its title; of a variable $ and its name
	Type      string // of the panel: timeseries, stat, table, ...; variable
	Format    string // time_series or table
	Ref       string // A, B, ...
	SQL       string
}

// Panels are all queries of all dashboards that go to Postgres, expanded.
func Panels(view View) ([]Query, error) {
	dashboards, err := Dashboards()
	if err != nil {
		return nil, err
	}
	var all []Query
	for i := range dashboards {
		queries, err := dashboards[i].queries(view)
		if err != nil {
			return nil, err
		}
		all = append(all, queries...)
	}
	return all, nil
}

func (d *Dashboard) queries(view View) ([]Query, error) {
	var all []Query
	add := func(q Query, p Panel) error {
		sql, err := d.expand(q.SQL, view, p)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", d.File, q.Panel, err)
		}
		q.Dashboard, q.SQL = d.File, sql
		all = append(all, q)
		return nil
	}
	for _, v := range d.Templating.List {
		if sql := v.SQL(); sql != "" {
			if err := add(Query{Panel: "$" + v.Name, Type: "variable", SQL: sql}, Panel{}); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range d.AllPanels() {
		for _, t := range p.Targets {
			if t.Datasource.Type != Postgres {
				continue
			}
			if err := add(Query{Panel: p.Title, Type: p.Type, Format: t.Format, Ref: t.RefID, SQL: t.RawSQL}, p); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// expand does what Grafana does, in its order: variables first, then $__interval,
// then macros.
func (d *Dashboard) expand(sql string, view View, p Panel) (string, error) {
	sql, err := d.expandVariables(sql, view)
	if err != nil {
		return "", err
	}
	length, err := intervalOf(view, p.Interval)
	if err != nil {
		return "", err
	}
	sql = strings.ReplaceAll(sql, "$__interval_ms", strconv.FormatInt(length.Milliseconds(), 10))
	sql = strings.ReplaceAll(sql, "$__interval", fmt.Sprintf("%ds", length/time.Second))
	return expandMacros(sql, view)
}

// A variable is written $name, ${name} or ${name:format}. What begins with __ and has
// no braces is a macro's.
var variablePattern = regexp.MustCompile(`\$\{(\w+)(?::(\w+))?\}|\$([A-Za-z]\w*)`)

func (d *Dashboard) expandVariables(sql string, view View) (string, error) {
	var failed error
	sql = variablePattern.ReplaceAllStringFunc(sql, func(found string) string {
		parts := variablePattern.FindStringSubmatch(found)
		text, err := d.value(parts[1]+parts[3], parts[2], view)
		if err != nil {
			failed = err
		}
		return text
	})
	return sql, failed
}

func (d *Dashboard) value(name, format string, view View) (string, error) {
	if name == "__timezone" {
		return formatted("Europe/Berlin", format, false)
	}
	i := slices.IndexFunc(d.Templating.List, func(v Variable) bool { return v.Name == name })
	if i < 0 {
		return "", fmt.Errorf("there is no variable %s", name)
	}
	v := d.Templating.List[i]
	if v.IncludeAll && !view.OneAgent {
		if v.AllValue == "" {
			return "", fmt.Errorf("variable %s has no value for All", name)
		}
		return v.AllValue, nil // Grafana doesn't quote it, whatever the format
	}
	switch name {
	case "agent":
		return formatted(view.Agent, format, v.Multi || v.IncludeAll)
	case "session":
		return formatted(view.Session, format, false)
	}
	current, _ := v.Current.Value.(string)
	return formatted(current, format, v.Multi || v.IncludeAll)
}

// formatted is one value in one of the formats that SQL uses.
func formatted(value, format string, several bool) (string, error) {
	quoted := "'" + strings.ReplaceAll(value, "'", "''") + "'"
	switch format {
	case "sqlstring":
		return quoted, nil
	case "singlequote":
		return `'` + strings.ReplaceAll(value, `'`, `\'`) + `'`, nil
	case "csv", "raw":
		return value, nil
	case "": // the data source of Postgres quotes where there may be several
		if several {
			return quoted, nil
		}
		return value, nil
	}
	return "", fmt.Errorf("a format that is not known: %s", format)
}

// intervalOf is $__interval: about a hundred of them make the range.
func intervalOf(view View, least string) (time.Duration, error) {
	wanted := view.To.Sub(view.From) / 100
	if least != "" {
		atLeast, err := durationOf(least)
		if err != nil {
			return 0, err
		}
		wanted = max(wanted, atLeast)
	}
	const hour = time.Hour
	for _, round := range []time.Duration{
		time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, hour, 3 * hour, 6 * hour, 12 * hour, 24 * hour, 7 * 24 * hour,
	} {
		if round >= wanted {
			return round, nil
		}
	}
	return 30 * 24 * hour, nil
}

var units = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

var durationPattern = regexp.MustCompile(`^(\d+)(ms|[smhdw])$`)

func durationOf(text string) (time.Duration, error) {
	parts := durationPattern.FindStringSubmatch(text)
	if parts == nil {
		return 0, fmt.Errorf("%q is no interval such as 1h", text)
	}
	n, err := strconv.Atoi(parts[1])
	return time.Duration(n) * units[parts[2]], err
}

// Grafana looks for no brackets within those of a macro.
var macroPattern = regexp.MustCompile(`\$(__\w+)(?:\(([^)]*)\))?`)

func expandMacros(sql string, view View) (string, error) {
	var failed error
	sql = macroPattern.ReplaceAllStringFunc(sql, func(found string) string {
		parts := macroPattern.FindStringSubmatch(found)
		var args []string
		for arg := range strings.SplitSeq(parts[2], ",") {
			args = append(args, strings.TrimSpace(arg))
		}
		text, err := macro(parts[1], args, view)
		if err != nil {
			failed = fmt.Errorf("%s: %w", found, err)
		}
		return text
	})
	return sql, failed
}

func macro(name string, args []string, view View) (string, error) {
	from, to := instant(view.From), instant(view.To)
	switch name {
	case "__timeFrom":
		return from, nil
	case "__timeTo":
		return to, nil
	case "__time":
		return args[0] + ` AS "time"`, nil
	case "__timeFilter":
		return fmt.Sprintf("%s BETWEEN %s AND %s", args[0], from, to), nil
	case "__timeGroup":
		return timeGroup(args)
	case "__timeGroupAlias":
		group, err := timeGroup(args)
		return group + ` AS "time"`, err
	}
	return "", fmt.Errorf("a macro that is not known")
}

func instant(t time.Time) string { return "'" + t.UTC().Format(time.RFC3339Nano) + "'" }

func timeGroup(args []string) (string, error) {
	if len(args) < 2 {
		return "", fmt.Errorf("it needs a column and an interval")
	}
	length, err := durationOf(strings.Trim(args[1], "'"))
	if err != nil {
		return "", err
	}
	seconds := strconv.FormatFloat(length.Seconds(), 'f', -1, 64)
	return fmt.Sprintf("floor(extract(epoch from %s)/%s)*%s", args[0], seconds, seconds), nil
}
