package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"gopkg.in/yaml.v3"
)

// The kinds of a template, by what it makes.
const (
	forText  = iota
	forJSON  // must make JSON
	forSlack // data can't be read as Slack's markup
)

type bodyTemplate struct {
	kind   int
	parsed *template.Template
	node   *yaml.Node
	text   string
}

// templateFunctions are those that templates have besides Go's own.
var templateFunctions = template.FuncMap{"json": toJSON}

// toJSON writes a value as JSON: a text in quotes, with what has to be escaped.
func toJSON(value any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return strings.TrimSuffix(b.String(), "\n"), err
}

var templateAt = regexp.MustCompile(`^template: [a-z]*:(\d+)(?::(\d+))?: (?:executing "[a-z]*" at )?`)

func (r *reader) template(n *yaml.Node, field string, kind int) *bodyTemplate {
	text, ok := r.text(n, field)
	if !ok {
		return nil
	}
	parsed, err := template.New(field).Option("missingkey=error").Funcs(templateFunctions).Parse(text)
	if err != nil {
		r.wrongTemplate(n, field, err)
		return nil
	}
	return &bodyTemplate{kind: kind, parsed: parsed, node: n, text: text}
}

// wrongTemplate notes what text/template says.
func (r *reader) wrongTemplate(n *yaml.Node, field string, err error) {
	line, column := 1, 0
	if at := templateAt.FindStringSubmatch(err.Error()); at != nil {
		line, _ = strconv.Atoi(at[1])
		column, _ = strconv.Atoi(at[2])
	}
	r.wrongIn(n, line, column, "%s: %s", field, templateAt.ReplaceAllString(err.Error(), ""))
}

// render executes the template with an object of JSON.
func (t *bodyTemplate) render(data []byte) ([]byte, error) {
	object, ok := parsedJSON(data).(map[string]any)
	if !ok {
		return nil, errors.New("what a template is given must be an object of JSON")
	}
	if t.kind == forSlack {
		escapeAll(object)
	}
	var b bytes.Buffer
	if err := t.parsed.Execute(&b, object); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// parsedJSON is a value of JSON, with whole numbers as such: 1000000 and not 1e+06. It
// is nil for what is no JSON.
func parsedJSON(text []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return nil
	}
	return withNumbers(value)
}

func withNumbers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, of := range value {
			value[name] = withNumbers(of)
		}
	case []any:
		for i, of := range value {
			value[i] = withNumbers(of)
		}
	case json.Number:
		if n, err := value.Int64(); err == nil {
			return n
		}
		if n, err := value.Float64(); err == nil {
			return n
		}
		return value.String()
	}
	return value
}

// escapeAll escapes all texts of a value of JSON for Slack.
func escapeAll(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, of := range value {
			value[name] = escapeAll(of)
		}
	case []any:
		for i, of := range value {
			value[i] = escapeAll(of)
		}
	case string:
		return slackEscape.Replace(value)
	}
	return value
}

// slackEscape is Slack's own rule for texts: without it, <!channel> would call everybody.
var slackEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// try executes the template with data such as the rule makes, and notes what is wrong.
func (r *reader) try(t *bodyTemplate, rule string, samples [][]byte) {
	for _, data := range samples {
		body, err := t.render(data)
		field := t.parsed.Name()
		if err != nil {
			r.wrongTemplate(t.node, field, fmt.Errorf("%w (in rule %s; what may be null needs an if or with, such as {{with .session}}{{.user_id}}{{end}})", err, rule))
			return
		}
		if t.kind == forJSON && !json.Valid(body) {
			r.wrong(t.node, "%s: in rule %s it makes no JSON: write values with the function json, such as {{json .event.text}}", field, rule)
			return
		}
	}
}
