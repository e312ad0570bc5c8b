package api

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"rapport/api/access"
)

// humaConfig turns off what we don't want of huma: its page of documentation,
// which loads from a foreign host, and the links to schemas in every answer.
func humaConfig(version string) huma.Config {
	config := huma.DefaultConfig("Rapport", version)
	config.Info.Description = "Analytics of conversations with avatars."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.AllowAdditionalPropertiesByDefault = true // answers may get more fields
	config.Transformers = []huma.Transformer{fillRequestID}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key":    {Type: "http", Scheme: "bearer", Description: "An API key: RAPPORT_API_TOKEN, or one of `rapport key create`."},
		"signin": {Type: "apiKey", In: "cookie", Name: "__Host-rapport", Description: "The cookie of POST /signin; named rapport without TLS. What changes something needs the Origin of the server, too."},
	}
	config.Security = []map[string][]string{{"key": {}}, {"signin": {}}}
	return config
}

// describeUnregistered adds what huma doesn't serve.
func describeUnregistered(document *huma.OpenAPI) {
	describeDelivery(document)
	describeSignin(document)
	for _, op := range []*huma.Operation{
		{
			OperationID: "get-metrics", Path: "/metrics", Summary: "Metrics for Prometheus",
			Description: "Needs a key with the scope read that is not limited to agents.",
			Responses:   map[string]*huma.Response{"200": textOf("Prometheus's text format.", "text/plain")},
			Metadata:    map[string]any{scopeKey: access.Read},
		},
		{
			OperationID: "get-openapi", Path: "/openapi.json", Summary: "This description",
			Description: describeScope("OpenAPI 3.1.", anyKey),
			Responses: map[string]*huma.Response{"200": {Description: "The document.", Content: map[string]*huma.MediaType{
				openapiType: {Schema: &huma.Schema{Type: huma.TypeObject, Description: "An OpenAPI document."}},
			}}},
			Metadata: map[string]any{scopeKey: anyKey},
		},
		{
			OperationID: "get-docs", Path: "/docs", Summary: "This description, to read",
			Description: describeScope("It loads nothing from elsewhere.", anyKey),
			Responses:   map[string]*huma.Response{"200": textOf("A page.", "text/html")},
			Metadata:    map[string]any{scopeKey: anyKey},
		},
	} {
		op.Method, op.Tags = http.MethodGet, []string{tagOperating}
		document.AddOperation(op)
	}
}

const tagOperating = "operating"

func textOf(description, mediaType string) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{
		mediaType: {Schema: &huma.Schema{Type: huma.TypeString, Description: description}},
	}}
}

func jsonOf(description string, schema *huma.Schema) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

// openly says of an operation that it needs no key.
func openly(op *huma.Operation) *huma.Operation {
	op.Security, op.Metadata = []map[string][]string{{}}, map[string]any{scopeKey: anyone}
	return op
}

func describeDelivery(document *huma.OpenAPI) {
	problems := document.Components.Schemas.Schema(reflect.TypeFor[problem](), true, "")
	kept := &huma.Schema{Type: huma.TypeObject, Required: []string{"status"}, Properties: map[string]*huma.Schema{
		"status":    {Type: huma.TypeString, Enum: []any{"success"}, Description: "Always success."},
		"position":  {Type: huma.TypeInteger, Format: "int64", Minimum: new(1.0), Description: "Its place in the log, from 1 on; missing if it is spooled or erased."},
		"spooled":   {Type: huma.TypeBoolean, Description: "True while it waits in the spool for its place in the log; else missing."},
		"duplicate": {Type: huma.TypeBoolean, Description: "True if the log had it already; else missing."},
		"erased":    {Type: huma.TypeBoolean, Description: "True if it was erased, and is not kept again; else missing."},
	}}
	responses := map[string]*huma.Response{"200": jsonOf("It is kept, or was already.", kept)}
	for status, description := range map[string]string{
		"400": "It could not be read to its end; nothing is kept.",
		"401": "It is not authentic; nothing is kept.",
		"403": "No source may deliver from this address; nothing is kept.",
		"413": "It is too long; nothing is kept.",
		"415": "It has a Content-Encoding; nothing is kept.",
		"422": "It is authentic but no event; the quarantine keeps it.",
		"429": "Too many without a valid proof came from this address; nothing is kept.",
		"503": "It could not be kept: send it again.",
	} {
		responses[status] = problemResponse(description, problems)
	}
	body := &huma.RequestBody{Required: true, Description: "The event, in any shape that docs/webhooks.md tells.", Content: map[string]*huma.MediaType{
		"application/json": {
			Schema: &huma.Schema{Type: huma.TypeObject, Description: "The event."},
			Example: map[string]any{
				"event_type": "chat.push", "agent_id": "A", "timestamp": 1790596800.5,
				"data": map[string]any{"role": "user", "message": "Hello", "session_id": "s1"},
			},
		},
	}}
	document.AddOperation(openly(&huma.Operation{
		OperationID: "receive-webhook", Method: http.MethodPost, Path: webhookPath, Tags: []string{"webhooks"},
		Summary: "Deliver an event", Description: "It is answered once it is kept. A retry is a duplicate, which is fine.", Responses: responses, RequestBody: body,
	}))
	document.AddOperation(openly(&huma.Operation{
		OperationID: "receive-webhook-of-source", Method: http.MethodPost, Path: webhookPath + "/{source}", Tags: []string{"webhooks"},
		Summary: "Deliver an event of one source, with its own proofs", Description: "It is answered once it is kept. A retry is a duplicate, which is fine.",
		Responses: responses, RequestBody: body,
		Parameters: []*huma.Param{{
			Name: "source", In: "path", Required: true, Description: "The name of the webhook source, as of rapport source.", Schema: &huma.Schema{Type: huma.TypeString}, Example: "site",
		}},
	}))
}

func describeSignin(document *huma.OpenAPI) {
	problems := document.Components.Schemas.Schema(reflect.TypeFor[problem](), true, "")
	key := &huma.Schema{Type: huma.TypeObject, Required: []string{"key"}, Properties: map[string]*huma.Schema{
		"key": {Type: huma.TypeString, Description: "An API key."},
	}}
	example := map[string]any{"key": "rapport_…"}
	forms := map[string]*huma.MediaType{
		"application/json":                  {Schema: key, Example: example},
		"application/x-www-form-urlencoded": {Schema: key, Example: example},
	}
	texts := func(description string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}, Description: description}
	}
	who := &huma.Schema{Type: huma.TypeObject, Required: []string{"name", "scopes", "agents"}, Properties: map[string]*huma.Schema{
		"name":   {Type: huma.TypeString, Description: "The name of the key."},
		"scopes": texts("What it may do: read, sql, live, admin."),
		"agents": texts("The agents that it is limited to; empty: it sees all."),
	}}
	for _, op := range []*huma.Operation{
		{
			OperationID: "show-signin", Method: http.MethodGet, Path: signinPath, Summary: "The page to sign in with",
			Description: "A form, or who is signed in.",
			Responses:   map[string]*huma.Response{"200": textOf("A page.", "text/html")},
		},
		{
			OperationID: "sign-in", Method: http.MethodPost, Path: signinPath, Summary: "Sign a browser in with an API key",
			Description: "The cookie holds for 12 hours, or as long as the key is valid. A form is answered with a page, JSON with JSON.",
			RequestBody: &huma.RequestBody{Required: true, Description: "The key.", Content: forms},
			Responses: map[string]*huma.Response{
				"200": jsonOf("Signed in; who it is.", who), "303": {Description: "Signed in by the form."},
				"400": problemResponse("There is no key in it.", problems),
				"413": problemResponse("It is too long.", problems), "415": problemResponse("It is neither a form nor JSON.", problems),
				"401": problemResponse("It is no valid key.", problems), "403": problemResponse("A page of another site asks.", problems),
			},
		},
		{
			OperationID: "sign-out", Method: http.MethodPost, Path: signoutPath, Summary: "Take the cookie back",
			Description: "Whether there is one or not.",
			Responses: map[string]*huma.Response{
				"204": {Description: "Signed out."}, "303": {Description: "Signed out by the form."},
				"403": problemResponse("A page of another site asks.", problems),
			},
		},
	} {
		op.Tags = []string{"signing in"}
		document.AddOperation(openly(op))
	}
}

// openapiType is the media type of the OpenAPI document.
const openapiType = "application/openapi+json"

func serveDocument(document []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", openapiType)
		_, _ = w.Write(document)
	}
}
