package rules

import (
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"gopkg.in/yaml.v3"

	"rapport"
)

// Rule is one of a Set.
type Rule struct {
	Name        string
	Description string
	On          []string // types of events, or the constants of Occasion.On
	Severity    string   // low, medium, high or critical
	Then        []string // names of destinations
	Count       *Count
	Throttle    *Throttle
	Alert       *Alert // of a rule on OnMetric; nil of any other

	when         *condition
	destinations []*Destination
	withPayload  bool // a template asks for event.payload
}

// Count lets a rule fire only if there were more than so many occasions of one key.
type Count struct {
	Over     time.Duration
	By       []string
	MoreThan int64
}

// Throttle lets a rule fire at most once in a while for one key.
type Throttle struct {
	Per time.Duration
	By  []string
}

// The severities, and the one of a rule that names none.
var severities = []string{"low", "medium", "high", "critical"}

const defaultSeverity = "medium"

// maxWindow is how far windows reach.
const maxWindow = 7 * day

var (
	commonFields = []string{"name", "description", "on", "severity", "then"}
	eventFields  = []string{"when", "count", "throttle"}
	metricFields = []string{"metric", "filter", "window", "above", "below", "no_data"}
)

func (r *reader) rule(n *yaml.Node) *Rule {
	rule := &Rule{Severity: defaultSeverity}
	fields, ok := r.fields(n, "a rule", slices.Concat(commonFields, eventFields, metricFields)...)
	if !ok {
		return rule
	}
	for _, name := range []string{"name", "on", "then"} {
		if fields[name] == nil {
			r.wrong(n, "a rule must have a field %s", name)
		}
	}
	if name := fields["name"]; name != nil {
		rule.Name, _ = r.name(name, "the rule's name")
	}
	if description := fields["description"]; description != nil {
		rule.Description, _ = r.text(description, "description")
	}
	if severity := fields["severity"]; severity != nil {
		rule.Severity = r.oneOf(severity, "severity", severities...)
	}
	if on := fields["on"]; on != nil {
		rule.On = r.on(on)
	}
	r.kindOfRule(rule, n, fields)
	return rule
}

// kindOfRule reads what only rules on a metric have, or only the others.
func (r *reader) kindOfRule(rule *Rule, n *yaml.Node, fields map[string]*yaml.Node) {
	if len(rule.On) == 0 {
		return
	}
	foreign, why := metricFields, "is for rules on: metric"
	if rule.IsOn(OnMetric) {
		foreign, why = eventFields, "is not for rules on: metric, which tell when the metric crosses its threshold, and when it is back"
		rule.Alert = r.alert(rule.Name, n, fields)
	}
	for _, name := range foreign {
		if field := fields[name]; field != nil {
			r.wrong(field, "%s %s", name, why)
		}
	}
	if rule.Alert != nil {
		return
	}
	if when := fields["when"]; when != nil {
		rule.when = r.when(when, rule)
	}
	if count := fields["count"]; count != nil {
		rule.Count = r.count(count, rule)
	}
	if throttle := fields["throttle"]; throttle != nil {
		rule.Throttle = r.throttle(throttle, rule)
	}
}

// IsOn reports whether the rule is on such occasions.
func (rule *Rule) IsOn(on string) bool { return slices.Contains(rule.On, on) }

func (rule *Rule) asksPayload() bool { return rule.withPayload || rule.when.asks("payload") }

// isOfEvents reports whether all its occasions are events.
func (rule *Rule) isOfEvents() bool { return !slices.ContainsFunc(rule.On, isComputed) }

func isComputed(on string) bool {
	return on == SessionOpened || on == SessionClosed || on == SessionChanged || on == OnMetric
}

// meant are types that have another name when they arrive.
var meant = map[string]string{
	"room_join": rapport.RoomJoin, "chat_push": rapport.ChatPush, "session_end": rapport.SessionEnd, "agent_error": rapport.AgentError,
	"session.start": SessionOpened, "session.started": SessionOpened, "session.ended": SessionClosed,
	"session.close": SessionClosed, "session.open": SessionOpened,
}

func (r *reader) on(n *yaml.Node) []string {
	var on []string
	for _, item := range r.texts(n, "on") {
		if other := meant[item.Value]; other != "" {
			r.wrong(item, "on: %s never happens: write %s", item.Value, other)
			continue
		}
		on = append(on, item.Value)
	}
	if len(on) > 1 && slices.Contains(on, OnMetric) {
		r.wrong(n, "on: metric goes with nothing else: make two rules")
		return nil
	}
	return on
}

func (r *reader) when(n *yaml.Node, rule *Rule) *condition {
	text, ok := r.text(n, "when")
	if !ok {
		return nil
	}
	environment := sessionEnvironment
	if rule.isOfEvents() {
		environment = eventEnvironment
	}
	env, err := environment()
	if err != nil {
		r.wrong(n, "when: %v", err)
		return nil
	}
	compiled, mistakes := compile(env, text)
	for _, mistake := range mistakes {
		line, column := 1, 0
		if mistake.Location != nil {
			line, column = max(1, mistake.Location.Line()), max(0, mistake.Location.Column())
		}
		r.wrongIn(n, line, column, "when: %s%s", mistake.Message, hint(mistake, rule))
	}
	return compiled
}

// hint tells what CEL can't know.
func hint(mistake *cel.Error, rule *Rule) string {
	switch {
	case strings.Contains(mistake.Message, "undeclared reference to 'event'"):
		return " (there is an event only where all that the rule is on are types of events)"
	case strings.Contains(mistake.Message, "undeclared reference"):
		return " (there are event, session and agent, and the functions of docs/rules.md)"
	case strings.Contains(mistake.Message, "undefined field"):
		return " (see the fields in docs/rules.md)"
	}
	return ""
}

func (r *reader) count(n *yaml.Node, rule *Rule) *Count {
	count := &Count{}
	fields, ok := r.fields(n, "count", "over", "by", "more_than")
	if !ok {
		return count
	}
	if over := fields["over"]; over != nil {
		count.Over = r.duration(over, "over", time.Second, maxWindow)
	} else {
		r.wrong(n, "count must have over: the time that it counts over")
	}
	if moreThan := fields["more_than"]; moreThan != nil {
		count.MoreThan = r.integer(moreThan, "more_than", 1, MaxCount-1)
	} else {
		r.wrong(n, "count must have more_than: the number above which the rule fires")
	}
	count.By = r.by(fields["by"], rule)
	return count
}

func (r *reader) throttle(n *yaml.Node, rule *Rule) *Throttle {
	throttle := &Throttle{}
	fields, ok := r.fields(n, "throttle", "per", "by")
	if !ok {
		return throttle
	}
	if per := fields["per"]; per != nil {
		throttle.Per = r.duration(per, "per", time.Second, maxWindow)
	} else {
		r.wrong(n, "throttle must have per: the time in which the rule fires once")
	}
	throttle.By = r.by(fields["by"], rule)
	return throttle
}

func (r *reader) by(n *yaml.Node, rule *Rule) []string {
	if n == nil {
		return nil
	}
	known := byNames(rule)
	var by []string
	for _, item := range r.texts(n, "by") {
		if !slices.Contains(known, item.Value) {
			r.wrong(item, "by can't be %s here: it can be %s", excerpt(item.Value), strings.Join(known, ", "))
			continue
		}
		by = append(by, item.Value)
	}
	return by
}
