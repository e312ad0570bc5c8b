package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// docs are what the page at /docs shows of the OpenAPI document.
type docs struct {
	Title, Version, Description string
	Groups                      []docsGroup
}

type docsGroup struct {
	Name       string
	Operations []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, Description string
	Parameters                             []docsField
	Body                                   []docsBody // of the request
	Answer                                 []docsBody // of success
	Errors                                 []docsError
	Example                                string
}

type docsField struct{ Name, In, Type, Description string }

type docsBody struct {
	MediaType string
	Type      string
	Fields    []docsField
}

type docsError struct{ Status, Description string }

// docsGroups is in which order the tags are shown; others follow.
var docsGroups = []string{"sessions", "statistics", "agents", "users", "events", "sql", "webhooks", "signing in", tagOperating}

// docsOf makes the page's contents.
func docsOf(document *huma.OpenAPI) docs {
	shown := docs{Title: document.Info.Title, Version: document.Info.Version, Description: document.Info.Description}
	reader := docsReader{document.Components.Schemas}
	byTag := map[string][]docsOperation{}
	for _, op := range operations(document) {
		tag := tagOperating
		if len(op.Tags) > 0 {
			tag = op.Tags[0]
		}
		byTag[tag] = append(byTag[tag], reader.operation(op))
	}
	order := slices.Clone(docsGroups)
	for tag := range byTag {
		if !slices.Contains(order, tag) {
			order = append(order, tag)
		}
	}
	slices.Sort(order[len(docsGroups):])
	for _, tag := range order {
		if ops := byTag[tag]; len(ops) > 0 {
			shown.Groups = append(shown.Groups, docsGroup{strings.ToUpper(tag[:1]) + tag[1:], ops})
		}
	}
	return shown
}

// docsReader reads schemas.
type docsReader struct{ schemas huma.Registry }

func (d docsReader) operation(op *huma.Operation) docsOperation {
	shown := docsOperation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Description: op.Description}
	for _, p := range op.Parameters {
		shown.Parameters = append(shown.Parameters, docsField{p.Name, p.In, d.typeOf(p.Schema), p.Description})
	}
	if op.RequestBody != nil {
		shown.Body = d.bodies(op.RequestBody.Content)
	}
	success := successOf(op)
	if success == nil {
		return shown
	}
	shown.Answer = d.bodies(success.Content)
	for _, mediaType := range sortedKeys(success.Content) {
		if example := success.Content[mediaType].Example; example != nil && shown.Example == "" {
			shown.Example = exampleText(example)
		}
	}
	for _, status := range sortedKeys(op.Responses) {
		if response := op.Responses[status]; response != success {
			shown.Errors = append(shown.Errors, docsError{status, response.Description})
		}
	}
	return shown
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func exampleText(example any) string {
	if text, isText := example.(string); isText {
		return text
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(example); err != nil {
		return "" // it was read from JSON
	}
	return text.String()
}

func (d docsReader) bodies(content map[string]*huma.MediaType) []docsBody {
	var bodies []docsBody
	for _, mediaType := range sortedKeys(content) {
		schema := content[mediaType].Schema
		body := docsBody{MediaType: mediaType, Type: d.typeOf(schema)}
		if len(bodies) == 0 || !slices.Contains([]string{"application/x-ndjson", "text/csv"}, mediaType) { // whose rows are those of the JSON
			body.Fields = d.fields(schema, "", 0)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

func (d docsReader) resolve(s *huma.Schema) *huma.Schema {
	if s != nil && s.Ref != "" {
		return d.schemas.SchemaFromRef(s.Ref)
	}
	return s
}

// maxDocsDepth bounds how deep objects in objects are shown.
const maxDocsDepth = 5

// fields are those of an object, of its objects, and of the objects in its lists.
func (d docsReader) fields(s *huma.Schema, prefix string, depth int) []docsField {
	s = d.resolve(s)
	if s == nil || depth > maxDocsDepth {
		return nil
	}
	if s.Type == huma.TypeArray {
		return d.fields(s.Items, prefix, depth+1)
	}
	if more, ok := s.AdditionalProperties.(*huma.Schema); ok {
		return d.fields(more, prefix+"*.", depth+1)
	}
	var fields []docsField
	for _, name := range propertiesOf(s) {
		property := s.Properties[name]
		description := property.Description
		if description == "" {
			description = d.resolve(property).Description
		}
		fields = append(fields, docsField{Name: prefix + name, Type: d.typeOf(property), Description: description})
		fields = append(fields, d.fields(property, prefix+name+".", depth+1)...)
	}
	return fields
}

// propertiesOf are the names of an object's fields: those that are always there in
// their order, then the others.
func propertiesOf(s *huma.Schema) []string {
	names := slices.Clone(s.Required)
	for _, name := range sortedKeys(s.Properties) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return s.Properties[name] == nil })
}

// typeOf says in words what a value may be.
func (d docsReader) typeOf(s *huma.Schema) string {
	nullable := s != nil && s.Nullable
	s = d.resolve(s)
	if s == nil {
		return ""
	}
	text := s.Type
	switch {
	case text == "":
		text = "any JSON"
	case text == huma.TypeArray:
		text = "list of " + d.typeOf(s.Items)
	case s.Format == "date-time":
		text = "time (RFC 3339)"
	case s.Format == "uri", s.ContentEncoding == "base64":
		text += ", " + s.Format + s.ContentEncoding
	}
	if len(s.Enum) > 0 {
		text = joined(s.Enum)
	}
	if s.Minimum != nil {
		text += fmt.Sprintf(", ≥ %v", *s.Minimum)
	}
	if s.Maximum != nil {
		text += fmt.Sprintf(", ≤ %v", *s.Maximum)
	}
	if s.Default != nil {
		text += fmt.Sprintf(", by default %v", s.Default)
	}
	if nullable || s.Nullable {
		text += ", or null"
	}
	return text
}

func joined(values []any) string {
	var texts []string
	for _, value := range values {
		if value != nil { // which is told apart
			texts = append(texts, fmt.Sprint(value))
		}
	}
	return strings.Join(texts, " | ")
}

// serveDocs serves the page, which was made at the start.
func serveDocs(page []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", docsPolicy)
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(page) // it fails only if the client is gone
	}
}
