// Package redact masks what must not be stored: e-mail addresses, phone, card and
// bank account numbers, and whatever a pattern of the operator's own matches. A
// match becomes the name of its rule in brackets, such as [email].
//
// Masking what is masked already changes nothing, and of a JSON body only the bytes
// of matches change. The rules know no languages and no context: a number that is
// spelled out, or split over two messages, is not found.
package redact

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Rules are what is masked. Nil masks nothing. They may be used by many goroutines.
type Rules struct {
	rules []rule
	marks *regexp.Regexp // what is masked already
}

type rule struct {
	name string
	find func(text []byte) []span
}

// span is a part of a text, in bytes.
type span struct{ from, to int }

// BuiltIn are the names of the rules that need no pattern, in the order in which
// they are applied.
var BuiltIn = []string{"email", "iban", "card", "phone"}

var builtIn = map[string]func([]byte) []span{"email": emails, "iban": ibans, "card": cards, "phone": phones}

// names are what a text shows in brackets. They need no escaping anywhere, and are no
// JSON: [null] would be.
var names = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,31}$`)

// New makes rules of the names of built-in ones, and of patterns as NAME=REGEXP in
// RE2's syntax (github.com/google/re2/wiki/Syntax). Those come first. It returns nil
// if there are none.
func New(builtin, patterns []string) (*Rules, error) {
	r := &Rules{}
	for _, p := range patterns {
		if err := r.addPattern(p); err != nil {
			return nil, err
		}
	}
	for _, name := range builtin {
		if builtIn[name] == nil {
			return nil, fmt.Errorf("there is no rule %q: there are %s, and patterns of your own", name, strings.Join(BuiltIn, ", "))
		}
	}
	r.add(builtin)
	if len(r.rules) == 0 {
		return nil, nil
	}
	return r, nil
}

// add adds built-in rules, in their own order, as the last ones.
func (r *Rules) add(builtin []string) {
	for _, name := range BuiltIn {
		if slices.Contains(builtin, name) {
			r.rules = append(r.rules, rule{name, builtIn[name]})
		}
	}
	quoted := make([]string, len(r.rules))
	for i, rule := range r.rules {
		quoted[i] = regexp.QuoteMeta(rule.name)
	}
	r.marks = regexp.MustCompile(`\[(?:` + strings.Join(quoted, "|") + `)\]`)
}

func (r *Rules) addPattern(definition string) error {
	name, pattern, found := strings.Cut(definition, "=")
	if !found {
		return errors.New("a pattern must be NAME=REGEXP")
	}
	if !names.MatchString(name) || builtIn[name] != nil || name == "true" || name == "false" || name == "null" {
		return fmt.Errorf("a pattern can't be named %q: begin with a letter, go on with letters, digits, - and _, "+
			"and take none of %s, true, false, null", name, strings.Join(BuiltIn, ", "))
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("the pattern %s is no RE2 expression: %w", name, err)
	}
	if re.MatchString("") {
		return fmt.Errorf("the pattern %s matches the empty text: it must match something", name)
	}
	r.rules = append(r.rules, rule{name, func(text []byte) []span {
		var found []span
		for _, at := range re.FindAllIndex(text, -1) {
			found = append(found, span{at[0], at[1]})
		}
		return found
	}})
	return nil
}

// Names are those of the rules, in the order in which they are applied.
func (r *Rules) Names() []string {
	if r == nil {
		return nil
	}
	names := make([]string, len(r.rules))
	for i, rule := range r.rules {
		names[i] = rule.name
	}
	return names
}

// Widest are the same patterns and all built-in rules. What other rules have masked of
// a text, or not, then makes hardly a difference: so texts are compared.
func (r *Rules) Widest() *Rules {
	widest := &Rules{}
	if r != nil {
		for _, rule := range r.rules {
			if builtIn[rule.name] == nil {
				widest.rules = append(widest.rules, rule)
			}
		}
	}
	widest.add(BuiltIn)
	return widest
}

// Text masks a text.
func (r *Rules) Text(text string) string {
	if r == nil || text == "" {
		return text
	}
	return string(replace([]byte(text), r.matches([]byte(text))))
}

// edit replaces a part of a text by the name of a rule.
type edit struct {
	span
	name string
}

func replace(text []byte, edits []edit) []byte {
	if len(edits) == 0 {
		return text
	}
	masked := make([]byte, 0, len(text)+8*len(edits))
	done := 0
	for _, e := range edits {
		masked = append(masked, text[done:e.from]...)
		masked = append(append(append(masked, '['), e.name...), ']')
		done = e.to
	}
	return append(masked, text[done:]...)
}

// maxPasses bounds how often a text is looked at again. Only a pattern that matches
// what has become of its own matches needs more than two.
const maxPasses = 10

// matches finds what is to be masked, in order. A text is looked at again as it
// would be the next time, so that masking it twice changes nothing.
func (r *Rules) matches(text []byte) []edit {
	edits := r.pass(text)
	if len(edits) == 0 {
		return nil
	}
	for range maxPasses {
		more := r.pass(replace(text, edits))
		if len(more) == 0 {
			break
		}
		edits = compose(edits, more)
	}
	return edits
}

// compose makes one list of edits of two: more are of the text that edits have made.
// No edit touches what is masked already.
func compose(edits, more []edit) []edit {
	var all []edit
	shift := 0 // of the first text against the second
	for len(edits)+len(more) > 0 {
		if len(edits) > 0 && (len(more) == 0 || edits[0].from-shift < more[0].from) {
			e := edits[0]
			all, edits = append(all, e), edits[1:]
			shift += e.to - e.from - len(e.name) - len("[]")
			continue
		}
		e := more[0]
		all, more = append(all, edit{span{e.from + shift, e.to + shift}, e.name}), more[1:]
	}
	return all
}

// pass applies the rules once, each to what the ones before it have left.
func (r *Rules) pass(text []byte) []edit {
	var taken []edit // in order; what is masked already has no name
	if bytes.IndexByte(text, '[') >= 0 {
		for _, at := range r.marks.FindAllIndex(text, -1) {
			taken = append(taken, edit{span: span{at[0], at[1]}})
		}
	}
	for _, rule := range r.rules {
		found := rule.find(text)
		if len(found) == 0 {
			continue
		}
		taken = append(taken, outside(found, taken, rule.name)...)
		slices.SortFunc(taken, func(a, b edit) int { return a.from - b.from })
	}
	return slices.DeleteFunc(taken, func(e edit) bool { return e.name == "" })
}

// outside are the parts of spans that are not taken. Both are in order.
func outside(found []span, taken []edit, name string) []edit {
	var parts []edit
	for _, s := range found {
		for len(taken) > 0 && taken[0].to <= s.from {
			taken = taken[1:]
		}
		for _, t := range taken {
			if t.from >= s.to {
				break
			}
			if t.from > s.from {
				parts = append(parts, edit{span{s.from, t.from}, name})
			}
			s.from = max(s.from, t.to)
		}
		if s.from < s.to {
			parts = append(parts, edit{s, name})
		}
	}
	return parts
}
