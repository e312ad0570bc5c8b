package api

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"rapport/api/access"
)

var update = flag.Bool("update", false, "write openapi_examples.json anew")

// drives are what operations are asked with where it is more than their path: the
// query or the body, and the status where it is no 200.
var drives = map[string]struct {
	query, body, contentType string
	status                   int
}{
	"receive-webhook":           {body: said("A", "s9", "user", "Hi", 9)},
	"receive-webhook-of-source": {body: said("A", "s9", "user", "Hi", 9), status: http.StatusUnauthorized},
	"sign-in":                   {body: `{"key":"s3cret"}`},
	"sign-out":                  {status: http.StatusNoContent},
	"follow-events":             {query: "limit=2"},
	"search-messages":           {query: "q=help"},
	"list-audit":                {query: "action=key.create"}, // else it tells of each look at it
	"get-breakdown":             {query: "by=agent"},
	"delete-dead-letter":        {status: http.StatusNotFound}, // all are about to be tried again
	"run-sql":                   {body: `{"query":"SELECT agent_id, count(*) AS sessions FROM sessions GROUP BY 1 ORDER BY 1"}`},
}

// promised is the OpenAPI document as a client reads it, and a server that does what
// it says.
type promised struct {
	*live
	document  *huma.OpenAPI
	compiler  *jsonschema.Compiler
	authority []string
}

const documentURL = "mem:///openapi.json"

func newPromised(t *testing.T) *promised {
	t.Helper()
	d := newPromise(t)
	d.live = newLive(t, Config{APIToken: "s3cret"})
	d.deliver(t, said("A", "s1", "user", "Can you help me?", 1), said("A", "s1", "agent", "Of course.", 2.5),
		said("A", "s2", "user", "Hello", 60),
		`{"event_type":"room.join","agent_id":"A","data":{"session_id":"s2","user_id":"u1"},"timestamp":1790596860}`, said("B", "s3", "user", "That is terrible", 90))
	d.db.Exec(t, "rapport_server", `INSERT INTO dead_letters VALUES ('sessions', 1, 'A', 's1', 'chat.push', 'no', 3, '2026-09-28')`)
	buryDeliveries(t, d.live, 1)
	judgeAlerts(t, d.live)
	post(d, "no event", "User-Agent", "sender/1")
	d.key(t, "reader", readScope)
	return d
}

// newPromise has no server.
func newPromise(t *testing.T) *promised {
	t.Helper()
	s := wired(t)
	d := &promised{document: s.api.OpenAPI(), authority: bearerOf("s3cret")}
	text, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	closeObjects(parsed)
	d.compiler = jsonschema.NewCompiler()
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(documentURL, parsed); err != nil {
		t.Fatal(err)
	}
	return d
}

// closeObjects allows no fields but those that are described.
func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok && v["additionalProperties"] != false {
			v["additionalProperties"] = false
		}
		for _, value := range v {
			closeObjects(value)
		}
	case []any:
		for _, value := range v {
			closeObjects(value)
		}
	}
}

// schema is that of what an operation answers.
func (d *promised) schema(t *testing.T, op *huma.Operation, status, mediaType string) *jsonschema.Schema {
	t.Helper()
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	place := fmt.Sprintf("%s#/paths/%s/%s/responses/%s/content/%s/schema",
		documentURL, escape.Replace(op.Path), strings.ToLower(op.Method), status, escape.Replace(mediaType))
	schema, err := d.compiler.Compile(place)
	if err != nil {
		t.Fatalf("%s: %v", op.OperationID, err)
	}
	return schema
}

// wantDescribed checks that an answer is one of those that its operation has.
func (d *promised) wantDescribed(t *testing.T, op *huma.Operation, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status {
		t.Errorf("%s: %d, want %d: %.300s (does it need an entry in drives?)", op.OperationID, w.Code, status, w.Body)
		return
	}
	response := op.Responses[fmt.Sprint(status)]
	if response == nil || response.Description == "" {
		t.Errorf("%s: %d is not described", op.OperationID, status)
		return
	}
	mediaType, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if len(response.Content) == 0 && w.Body.Len() == 0 {
		return
	}
	if response.Content[mediaType] == nil {
		t.Errorf("%s: %d is of type %q, which is not described", op.OperationID, status, mediaType)
		return
	}
	schema := d.schema(t, op, fmt.Sprint(status), mediaType)
	switch mediaType {
	case "application/json", problemType, openapiType:
		wantValid(t, op.OperationID, schema, w.Body.Bytes())
	case "application/x-ndjson":
		for line := range bytes.Lines(w.Body.Bytes()) {
			wantValid(t, op.OperationID+" as NDJSON", schema, line)
		}
	case "text/csv":
		d.wantColumns(t, op, w)
	}
}

func wantValid(t *testing.T, name string, schema *jsonschema.Schema, text []byte) {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Errorf("%s: %v in %.200s", name, err, text)
		return
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%s: %v in %.300s", name, err, text)
	}
}

// wantColumns checks that a CSV has the fields of the NDJSON as columns, and its rows.
func (d *promised) wantColumns(t *testing.T, op *huma.Operation, w *httptest.ResponseRecorder) {
	t.Helper()
	lines, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(lines) == 0 {
		t.Errorf("%s as CSV: %v", op.OperationID, err)
		return
	}
	columns := map[string]bool{}
	for _, name := range lines[0] {
		outer, _, _ := strings.Cut(name, ".")
		columns[outer] = true
	}
	row := docsReader{d.document.Components.Schemas}.resolve(op.Responses["200"].Content["application/x-ndjson"].Schema)
	for _, name := range row.Required {
		if !columns[name] {
			t.Errorf("%s as CSV: no column %s", op.OperationID, name)
		}
	}
	for name := range columns {
		if row.Properties != nil && row.Properties[name] == nil { // else they depend on what is asked
			t.Errorf("%s as CSV: the column %s is not described", op.OperationID, name)
		}
	}
}

// request makes that of an operation.
func (d *promised) request(op *huma.Operation, extra string, headers ...string) *http.Request {
	drive := drives[op.OperationID]
	target := targetOf(op.Path)
	if query := strings.Trim(drive.query+"&"+extra, "&"); query != "" {
		target += "?" + query
	}
	r := newRequest(op.Method, target, strings.NewReader(drive.body), headers...)
	if drive.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if drive.contentType != "" {
		r.Header.Set("Content-Type", drive.contentType)
	}
	return r
}

// inOrder are the operations, those that change something last.
func inOrder(document *huma.OpenAPI) []*huma.Operation {
	ops := operations(document)
	order := []string{http.MethodGet, http.MethodPost, http.MethodDelete}
	slices.SortStableFunc(ops, func(a, b *huma.Operation) int {
		return slices.Index(order, a.Method) - slices.Index(order, b.Method)
	})
	return ops
}

func TestEveryOperationDoesWhatItSays(t *testing.T) {
	t.Parallel()
	d := newPromised(t)
	examples := map[string]any{}
	for _, op := range inOrder(d.document) {
		want := drives[op.OperationID].status
		if want == 0 {
			want = http.StatusOK
		}
		w := send(d, d.request(op, "", d.authority...))
		examples[op.OperationID] = exampleOf(w)
		wantEcho(t, op, w)
		d.wantDescribed(t, op, w, want)
		if success := successOf(op); success.Content["text/csv"] != nil {
			for _, format := range []string{formatCSV, formatNDJSON} {
				w := send(d, d.request(op, "format="+format, d.authority...))
				d.wantDescribed(t, op, w, want)
			}
			d.wantDescribed(t, op, send(d, d.request(op, "", append(slices.Clone(d.authority), "Accept", "image/png")...)), http.StatusNotAcceptable)
		}
		if tag := w.Header().Get("ETag"); tag != "" {
			w := send(d, d.request(op, "", append(slices.Clone(d.authority), "If-None-Match", tag)...))
			d.wantDescribed(t, op, w, http.StatusNotModified)
		} else if op.Responses["304"] != nil {
			t.Errorf("%s has no ETag", op.OperationID)
		}
	}
	if *update {
		writeExamples(t, examples)
	}
}

// notEchoed are parameters that don't tell what is asked for.
var notEchoed = []string{"format", "cursor", "wait", "min_position"}

// wantEcho checks that a read tells which query it answers.
func wantEcho(t *testing.T, op *huma.Operation, w *httptest.ResponseRecorder) {
	t.Helper()
	if op.Method != http.MethodGet || op.Metadata[humaKey] == nil || op.Metadata[scopeKey] == anyone || op.Path == livePath {
		return
	}
	query, ok := decodeJSON(t, w)["query"].(map[string]any)
	if !ok {
		t.Errorf("%s does not tell which query it answers", op.OperationID)
		return
	}
	for _, p := range op.Parameters {
		if _, told := query[p.Name]; !told && p.In != "header" && !slices.Contains(notEchoed, p.Name) {
			t.Errorf("%s does not tell %s", op.OperationID, p.Name)
		}
	}
}

func TestEveryOperationFailsAsItSays(t *testing.T) {
	t.Parallel()
	d := newPromised(t)
	limited := newLive(t, Config{APIToken: "s3cret", Limits: Limits{KeyRate: 1}})
	db, watch := noDatabase(t)
	away := newServer(t, options{config: Config{APIToken: "s3cret", DB: db, Watch: watch, Keys: noKeys(db)}})
	others := map[access.Scope][]string{}
	for _, scope := range []string{"read", "sql"} {
		others[access.Scope(scope)] = bearerOf(d.key(t, scope, []string{scope}))
	}
	for _, op := range inOrder(d.document) {
		scope, _ := op.Metadata[scopeKey].(access.Scope)
		if op.Metadata[humaKey] != nil {
			d.wantDescribed(t, op, send(d, d.request(op, "no_such_parameter=1", d.authority...)), http.StatusBadRequest)
		}
		if scope == anyone {
			continue
		}
		d.wantDescribed(t, op, send(d, d.request(op, "")), http.StatusUnauthorized)
		if scope != anyKey {
			other := others["sql"]
			if scope == "sql" {
				other = others["read"]
			}
			d.wantDescribed(t, op, send(d, d.request(op, "", other...)), http.StatusForbidden)
		}
		refused := send(limited, d.request(op, "no_such_parameter=1", d.authority...))
		for range 50 { // a second may be over before the next one
			if refused.Code == http.StatusTooManyRequests {
				break
			}
			refused = send(limited, d.request(op, "no_such_parameter=1", d.authority...))
		}
		d.wantDescribed(t, op, refused, http.StatusTooManyRequests)
		if w := send(away, d.request(op, "", d.authority...)); w.Code >= http.StatusInternalServerError {
			d.wantDescribed(t, op, w, w.Code)
		}
	}
}

func TestEverythingIsDescribed(t *testing.T) {
	t.Parallel()
	document := wired(t).api.OpenAPI()
	for _, op := range operations(document) {
		if op.OperationID == "" || op.Summary == "" || len(op.Tags) == 0 || op.Description == "" && op.Metadata[scopeKey] != anyone {
			t.Errorf("%s %s: no operationId, summary, description or tag", op.Method, op.Path)
		}
		for _, p := range op.Parameters {
			if p.Description == "" || p.Schema == nil || p.Schema.Type == "" {
				t.Errorf("%s: the parameter %s is not described", op.OperationID, p.Name)
			}
		}
		for status, response := range op.Responses {
			if response.Description == "" {
				t.Errorf("%s: %s is not described", op.OperationID, status)
			}
			for mediaType, media := range response.Content {
				wantFieldsDescribed(t, op.OperationID+" "+mediaType, media.Schema)
			}
		}
		if op.RequestBody != nil {
			for mediaType, media := range op.RequestBody.Content {
				wantFieldsDescribed(t, op.OperationID+" body", media.Schema)
				if media.Example == nil {
					t.Errorf("%s: the body as %s has no example", op.OperationID, mediaType)
				}
			}
		}
		wantExample(t, op)
	}
	for name, schema := range document.Components.Schemas.Map() {
		wantFieldsDescribed(t, name, schema)
	}
}

func wantExample(t *testing.T, op *huma.Operation) {
	t.Helper()
	success := successOf(op)
	if success == nil {
		t.Errorf("%s: no answer is described", op.OperationID)
		return
	}
	for _, media := range success.Content {
		if media.Example != nil {
			return
		}
	}
	if len(success.Content) > 0 {
		t.Errorf("%s: the answer has no example: go test ./api -run TestEveryOperationDoes -update", op.OperationID)
	}
}

// wantFieldsDescribed checks the fields of an object, and those of objects in it.
func wantFieldsDescribed(t *testing.T, place string, s *huma.Schema) {
	t.Helper()
	if s == nil || s.Ref != "" {
		return
	}
	for name, property := range s.Properties {
		if property.Description == "" {
			t.Errorf("%s: the field %s is not described", place, name)
		}
		wantFieldsDescribed(t, place+"."+name, property)
	}
	wantFieldsDescribed(t, place, s.Items)
}

func TestTheExamplesAreWhatIsAnswered(t *testing.T) {
	t.Parallel()
	d := newPromise(t)
	for _, op := range operations(d.document) {
		for mediaType, media := range successOf(op).Content {
			if media.Example == nil || mediaType == "application/x-www-form-urlencoded" || !strings.HasSuffix(mediaType, "json") {
				continue
			}
			text, err := json.Marshal(media.Example)
			if err != nil {
				t.Fatal(err)
			}
			wantValid(t, "the example of "+op.OperationID, d.schema(t, op, "200", mediaType), text)
		}
	}
}

// exampleOf is a short form of an answer.
func exampleOf(w *httptest.ResponseRecorder) any {
	if w.Code >= http.StatusBadRequest || w.Body.Len() == 0 {
		return nil
	}
	mediaType, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if mediaType == openapiType {
		return map[string]any{"openapi": "3.1.0"}
	}
	var value any
	if mediaType == "application/json" && json.Unmarshal(w.Body.Bytes(), &value) == nil {
		return abridged(value)
	}
	lines := strings.SplitAfterN(w.Body.String(), "\n", 3)
	return strings.Join(lines[:min(2, len(lines))], "") + "…"
}

// abridged has no more than two elements of each list.
func abridged(v any) any {
	switch v := v.(type) {
	case []any:
		short := []any{}
		for _, value := range v[:min(len(v), 2)] {
			short = append(short, abridged(value))
		}
		return short
	case map[string]any:
		for key, value := range v {
			v[key] = abridged(value)
		}
	}
	return v
}

func writeExamples(t *testing.T, examples map[string]any) {
	t.Helper()
	maps.DeleteFunc(examples, func(_ string, example any) bool { return example == nil })
	examples["receive-webhook-of-source"] = examples["receive-webhook"]
	examples["delete-dead-letter"] = map[string]any{"deleted": 1}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(examples); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("openapi_examples.json", text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
