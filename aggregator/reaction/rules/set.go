package rules

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// MaxBytes bounds a file of rules.
const MaxBytes = 1 << 20

// Set are the rules and destinations of a file. It never changes, and may be used by
// many goroutines at once.
type Set struct {
	rules        []*Rule
	byOccasion   map[string][]*Rule
	destinations map[string]*Destination
	needs        Needs
}

// Needs are what some rule may ask for, besides the columns of an event.
type Needs struct {
	Payload       bool // Occasion.Event.Payload
	Agent         bool // Background.Agent
	SaidInSession bool // Background.SaidInSession
	SaidByUser    bool // Background.SaidByUser
}

// Load reads a file. Environment variables that it names must be set. What is wrong
// with the file's text are [Mistakes].
func Load(path string) (*Set, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the rules: %w", err)
	}
	return Parse(path, text)
}

// Parse is Load of a text; name is the file that mistakes are told of.
func Parse(name string, text []byte) (*Set, error) {
	return ParseWith(name, text, os.LookupEnv)
}

// ParseWith is Parse where environment variables are looked up by a function.
func ParseWith(name string, text []byte, lookup func(variable string) (string, bool)) (*Set, error) {
	r := &reader{file: name, lines: strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n"), lookup: lookup}
	switch {
	case len(text) > MaxBytes:
		r.wrongAt(1, 1, "the file has %d bytes: it may have %d", len(text), MaxBytes)
	case !utf8.Valid(text):
		r.wrongAt(1, 1, "the file is no UTF-8: save it as UTF-8")
	default:
		if root := r.document(string(text)); root != nil {
			set := r.set(root)
			return set, r.result()
		}
	}
	return nil, r.result()
}

// set is nil if anything is wrong.
func (r *reader) set(root *yaml.Node) *Set {
	fields, ok := r.fields(root, "the file", "rules", "destinations")
	if !ok {
		return nil
	}
	s := &Set{byOccasion: make(map[string][]*Rule), destinations: r.destinations(fields["destinations"])}
	list := fields["rules"]
	switch {
	case list == nil:
		r.wrong(root, "rules is missing: write `rules:` and the rules below it, each with a - before its name")
	case list.Kind != yaml.SequenceNode:
		r.wrong(list, "rules must be a list: each rule with a - before its name")
	default:
		for _, n := range list.Content {
			r.addRule(s, n)
		}
	}
	if len(r.mistakes) > 0 {
		return nil
	}
	return s
}

func (r *reader) addRule(s *Set, n *yaml.Node) {
	before := len(r.mistakes)
	rule := r.rule(n)
	if rule.Name != "" && slices.ContainsFunc(s.rules, func(other *Rule) bool { return other.Name == rule.Name }) {
		r.wrong(valueOf(n, "name"), "there is another rule %s", rule.Name)
	}
	r.then(rule, valueOf(n, "then"), s.destinations)
	s.rules = append(s.rules, rule)
	if len(r.mistakes) > before {
		return
	}
	for _, on := range rule.On {
		s.byOccasion[on] = append(s.byOccasion[on], rule)
	}
	s.needs.add(rule)
	r.tryTemplates(rule)
}

func (r *reader) then(rule *Rule, n *yaml.Node, known map[string]*Destination) {
	if n == nil {
		return
	}
	for _, item := range r.texts(n, "then") {
		destination := known[item.Value]
		if destination == nil {
			r.wrong(item, "there is no destination %s: there is %s", excerpt(item.Value), destinationNames(known))
			continue
		}
		rule.Then = append(rule.Then, item.Value)
		rule.destinations = append(rule.destinations, destination)
		if destination.template != nil && strings.Contains(destination.template.text, "payload") {
			rule.withPayload = true
		}
	}
}

// valueOf is the value of a mapping's field; nil if it has none.
func valueOf(n *yaml.Node, field string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == field {
			return n.Content[i+1]
		}
	}
	return nil
}

// tryTemplates makes, for each template, the bodies that the rule would.
func (r *reader) tryTemplates(rule *Rule) {
	for _, d := range rule.destinations {
		if d.template == nil {
			continue
		}
		samples, err := rule.samples()
		if err != nil {
			r.wrong(d.template.node, "%v", err)
			return
		}
		r.try(d.template, rule.Name, samples)
	}
}

func (needs *Needs) add(rule *Rule) {
	needs.Payload = needs.Payload || rule.asksPayload()
	needs.Agent = needs.Agent || rule.when.asksAgent()
	needs.SaidInSession = needs.SaidInSession || rule.when.asks("said_in_session")
	needs.SaidByUser = needs.SaidByUser || rule.when.asks("said_by_user")
}

// Needs tells what occasions have to have.
func (s *Set) Needs() Needs { return s.needs }

// Rules are all of them, in their order. They are not to be changed.
func (s *Set) Rules() []*Rule { return s.rules }

// Types are the types of events that any rule is on.
func (s *Set) Types() []string { return s.typesWhere(func(*Rule) bool { return true }) }

// PayloadTypes are those of them whose payload a rule may ask for.
func (s *Set) PayloadTypes() []string {
	return s.typesWhere(func(rule *Rule) bool { return rule.asksPayload() })
}

// SaidTypes are those of them where a rule may ask for what was said before.
func (s *Set) SaidTypes() []string {
	return s.typesWhere(func(rule *Rule) bool { return rule.when.asks("said_in_session") || rule.when.asks("said_by_user") })
}

func (s *Set) typesWhere(wanted func(*Rule) bool) []string {
	var types []string
	for on, rules := range s.byOccasion {
		if !isComputed(on) && slices.ContainsFunc(rules, wanted) {
			types = append(types, on)
		}
	}
	slices.Sort(types)
	return types
}

// IsOn reports whether any rule is on such occasions.
func (s *Set) IsOn(on string) bool { return len(s.byOccasion[on]) > 0 }

// Alerts are the rules on metrics, in their order.
func (s *Set) Alerts() []*Alert {
	var alerts []*Alert
	for _, rule := range s.byOccasion[OnMetric] {
		alerts = append(alerts, rule.Alert)
	}
	return alerts
}

// Destination is the one of a name; nil if there is none.
func (s *Set) Destination(name string) *Destination { return s.destinations[name] }

// Destinations are all of them, also those that no rule names, by their names. They are
// not to be changed.
func (s *Set) Destinations() map[string]*Destination { return s.destinations }
