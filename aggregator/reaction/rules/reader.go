package rules

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Mistake is one thing that is wrong with a file.
type Mistake struct {
	File         string
	Line, Column int // from 1 on, in characters
	Message      string
}

func (m *Mistake) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Message)
}

// Mistakes are all that is wrong with a file, in its order; never none.
type Mistakes []*Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.Error()
	}
	return strings.Join(lines, "\n")
}

// reader reads the nodes of a file, and gathers the mistakes.
type reader struct {
	file     string
	lines    []string
	lookup   func(variable string) (string, bool)
	mistakes Mistakes
}

// wrong notes a mistake at the beginning of a node.
func (r *reader) wrong(n *yaml.Node, format string, args ...any) {
	r.wrongAt(n.Line, n.Column, format, args...)
}

func (r *reader) wrongAt(line, column int, format string, args ...any) {
	message := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	r.mistakes = append(r.mistakes, &Mistake{r.file, max(1, line), max(1, column), message})
}

func (r *reader) result() error {
	if len(r.mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(r.mistakes, func(a, b *Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.mistakes
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// document is the only document of a text; nil if there is none.
func (r *reader) document(text string) *yaml.Node {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	var first, second yaml.Node
	err := decoder.Decode(&first)
	if errors.Is(err, io.EOF) {
		r.wrongAt(1, 1, "the file is empty: write `rules:` and the rules below it")
		return nil
	}
	if err == nil {
		if err = decoder.Decode(&second); err == nil {
			r.wrong(&second, "there is a second document: put all rules into one")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		line := 1
		found := yamlLine.FindStringSubmatch(err.Error())
		if len(found) > 1 && found[1] != "" {
			line, _ = strconv.Atoi(found[1])
		}
		r.wrongAt(line, 1, "this is no YAML: %s", yamlLine.ReplaceAllString(err.Error(), ""))
		return nil
	}
	return first.Content[0]
}

// fields are those of a mapping, by their names: each one of the known, and once.
func (r *reader) fields(n *yaml.Node, of string, known ...string) (map[string]*yaml.Node, bool) {
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "%s must be fields, one a line: %s", of, strings.Join(known, ", "))
		return nil, false
	}
	fields := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value):
			r.wrong(key, "%s has no field %s: it has %s", of, excerpt(key.Value), strings.Join(known, ", "))
		case fields[key.Value] != nil:
			r.wrong(key, "%s is there twice", key.Value)
		default:
			fields[key.Value] = value
		}
	}
	return fields, true
}

// excerpt quotes what somebody wrote, shortened.
func excerpt(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return strconv.Quote(text)
}

// text is a scalar that is not empty.
func (r *reader) text(n *yaml.Node, field string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || strings.TrimSpace(n.Value) == "" {
		r.wrong(n, "%s must be a text", field)
		return "", false
	}
	return n.Value, true
}

// texts are a list of texts, or a single one; each is there once.
func (r *reader) texts(n *yaml.Node, field string) []*yaml.Node {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
		if len(items) == 0 {
			r.wrong(n, "%s names nothing", field)
		}
	}
	var found []*yaml.Node
	for _, item := range items {
		if _, ok := r.text(item, field); !ok {
			continue
		}
		if slices.ContainsFunc(found, func(other *yaml.Node) bool { return other.Value == item.Value }) {
			r.wrong(item, "%s names %s twice", field, excerpt(item.Value))
			continue
		}
		found = append(found, item)
	}
	return found
}

// oneOf is a text that is one of some.
func (r *reader) oneOf(n *yaml.Node, field string, of ...string) string {
	text, ok := r.text(n, field)
	if ok && !slices.Contains(of, text) {
		r.wrong(n, "%s is %s: it must be %s", field, excerpt(text), strings.Join(of, ", "))
	}
	return text
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// name is that of a rule or a destination.
func (r *reader) name(n *yaml.Node, of string) (string, bool) {
	text, ok := r.text(n, of)
	if ok && !nameForm.MatchString(text) {
		r.wrong(n, "%s is %s: use a to z, 0 to 9, - and _, at most 63 of them", of, excerpt(text))
		return "", false
	}
	return text, ok
}

// integer is one in a range.
func (r *reader) integer(n *yaml.Node, field string, least, most int64) int64 {
	var value int64
	if n.Tag != "!!int" || n.Decode(&value) != nil || value < least || value > most {
		r.wrong(n, "%s must be a whole number from %d to %d", field, least, most)
		return least
	}
	return value
}

// number is any finite number.
func (r *reader) number(n *yaml.Node, field string) float64 {
	var value float64
	isNumber := n.Tag == "!!int" || n.Tag == "!!float"
	if !isNumber || n.Decode(&value) != nil || value-value != 0 {
		r.wrong(n, "%s must be a number", field)
		return 0
	}
	return value
}

// Day is the unit d of a duration.
const day = 24 * time.Hour

// duration is one in a range, such as 90s, 10m, 1h30m or 7d.
func (r *reader) duration(n *yaml.Node, field string, least, most time.Duration) time.Duration {
	text, ok := r.text(n, field)
	if !ok {
		return least
	}
	value, err := parseDuration(text)
	if err != nil || value < least || value > most {
		r.wrong(n, "%s is %s: it must be from %s to %s, such as 90s, 10m, 1h30m or 7d", field, excerpt(text), showDuration(least), showDuration(most))
		return least
	}
	return value
}

func parseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 10)
		return time.Duration(n) * day, err
	}
	return time.ParseDuration(text)
}

func showDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	if cut, ok := strings.CutSuffix(text, "m0s"); ok {
		text = cut + "m"
	}
	if cut, ok := strings.CutSuffix(text, "h0m"); ok {
		text = cut + "h"
	}
	return text
}

var variableForm = regexp.MustCompile(`\$\{([^}]*)\}`)
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expanded is a text in which ${NAME} is replaced by the environment variable's value.
func (r *reader) expanded(n *yaml.Node, field string) (string, bool) {
	text, ok := r.text(n, field)
	if !ok {
		return "", false
	}
	text = variableForm.ReplaceAllStringFunc(text, func(found string) string {
		name := found[2 : len(found)-1]
		if !variableName.MatchString(name) {
			r.wrong(n, "%s: %s names no environment variable", field, excerpt(found))
			ok = false
			return ""
		}
		value, set := r.lookup(name)
		value = strings.TrimSpace(value)
		if !set || value == "" {
			r.wrong(n, "%s: the environment variable %s is not set: set it where rapport runs", field, name)
			ok = false
		}
		return value
	})
	return text, ok
}
