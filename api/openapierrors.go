package api

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"rapport/api/access"
)

// operations are those of a document, in the order of their paths and methods.
func operations(document *huma.OpenAPI) []*huma.Operation {
	var ops []*huma.Operation
	for _, item := range document.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil {
				ops = append(ops, op)
			}
		}
	}
	slices.SortFunc(ops, func(a, b *huma.Operation) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
	})
	return ops
}

// completeDocument adds what all operations have in common: their errors, what the
// headers of an answer mean, and an example of each answer.
func completeDocument(document *huma.OpenAPI) error {
	problems := document.Components.Schemas.Schema(reflect.TypeFor[problem](), true, "")
	var examples map[string]json.RawMessage
	if err := json.Unmarshal(openapiExamples, &examples); err != nil {
		return fmt.Errorf("reading the examples: %w", err)
	}
	for _, schema := range document.Components.Schemas.Map() {
		allowNulls(schema)
	}
	for _, op := range operations(document) {
		describeErrors(op, problems)
		describeCaching(op)
		addBodyExample(op, document.Components.Schemas)
		if err := addExample(op, examples[op.OperationID]); err != nil {
			return err
		}
	}
	return nil
}

// allowNulls has null among the values of what may be null, which huma forgets.
func allowNulls(s *huma.Schema) {
	if s == nil {
		return
	}
	if s.Nullable && len(s.Enum) > 0 && !slices.Contains(s.Enum, nil) {
		s.Enum = append(s.Enum, nil)
	}
	for _, property := range s.Properties {
		allowNulls(property)
	}
	allowNulls(s.Items)
}

// openapiExamples are answers by operationId, as a server gave them: the test that asks
// each operation writes them (go test ./api -run TestEveryOperation -update).
//
//go:embed openapi_examples.json
var openapiExamples []byte

// addExample shows an answer. One that is no JSON is kept as a text.
func addExample(op *huma.Operation, example json.RawMessage) error {
	success := successOf(op)
	if success == nil || example == nil {
		return nil
	}
	var value any
	if err := json.Unmarshal(example, &value); err != nil {
		return fmt.Errorf("reading the example of %s: %w", op.OperationID, err)
	}
	for mediaType, media := range success.Content {
		_, isText := value.(string)
		if isJSON := strings.Contains(mediaType, "/json") || mediaType == openapiType; media.Example == nil && isJSON != isText {
			media.Example = value
		}
	}
	return nil
}

// addBodyExample shows a body, where its fields have examples.
func addBodyExample(op *huma.Operation, schemas huma.Registry) {
	if op.RequestBody == nil {
		return
	}
	for _, media := range op.RequestBody.Content {
		schema := docsReader{schemas}.resolve(media.Schema)
		example := map[string]any{}
		for name, property := range schema.Properties {
			if len(property.Examples) > 0 {
				example[name] = property.Examples[0]
			}
		}
		if media.Example == nil && len(example) > 0 {
			media.Example = example
		}
	}
}

// successOf is the response of an operation that went well.
func successOf(op *huma.Operation) *huma.Response {
	for _, status := range []string{"200", "201", "202", "204"} {
		if response := op.Responses[status]; response != nil {
			return response
		}
	}
	return nil
}

func problemResponse(description string, problems *huma.Schema) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{problemType: {Schema: problems}}}
}

// describeErrors tells which errors an operation has. Those that it tells itself stay.
func describeErrors(op *huma.Operation, problems *huma.Schema) {
	delete(op.Responses, "default")
	for status, description := range errorsOf(op) {
		key := strconv.Itoa(status)
		if told := op.Responses[key]; told == nil || told.Description == http.StatusText(status) {
			op.Responses[key] = problemResponse(description, problems)
		}
	}
}

// errorsOf are the errors that an operation has because of what it asks for.
func errorsOf(op *huma.Operation) map[int]string {
	scope, _ := op.Metadata[scopeKey].(access.Scope)
	errors := map[int]string{}
	if _, isHuma := op.Metadata[humaKey]; isHuma {
		errors[http.StatusBadRequest] = "A parameter is wrong, or there is none of its name; errors tells which."
	}
	if scope == anyone {
		return errors
	}
	maps.Copy(errors, map[int]string{
		http.StatusUnauthorized:        "There is no valid key.",
		http.StatusTooManyRequests:     "The key asks too often; Retry-After tells when to go on.",
		http.StatusInternalServerError: "The server failed; its log says more under request_id.",
		http.StatusServiceUnavailable:  "It can't be answered now, for the database is away or too much is asked at once; Retry-After tells when to try again.",
	})
	if scope != anyKey {
		errors[http.StatusForbidden] = fmt.Sprintf("The key doesn't have the scope %s.", scope)
	}
	if op.RequestBody != nil {
		errors[http.StatusBadRequest] = "The body or a parameter is wrong; errors tells which."
	}
	if strings.Contains(op.Path, "{") {
		errors[http.StatusNotFound] = "There is nothing of this name, or the key doesn't see it."
	}
	if successOf(op) != nil && len(successOf(op).Content) > 1 {
		errors[http.StatusNotAcceptable] = "Accept allows none of the formats."
	}
	return errors
}

// describeCaching tells how a client that has an answer asks for a newer one.
func describeCaching(op *huma.Operation) {
	success := successOf(op)
	isJSON := success != nil && (success.Content["application/json"] != nil || success.Content[openapiType] != nil)
	if op.Method != http.MethodGet || !isJSON || probes[op.Path] {
		return
	}
	if success.Headers == nil {
		success.Headers = map[string]*huma.Param{}
	}
	success.Headers["ETag"] = &huma.Param{
		Description: "Of JSON: send it in If-None-Match, and the answer is 304 as long as it is the same. It is a weak one (W/) where next_cursor tells the time of the first page.",
		Schema:      &huma.Schema{Type: huma.TypeString},
	}
	op.Responses["304"] = &huma.Response{Description: "It is what the client has: its ETag is in If-None-Match."}
}
