package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
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
	responses := map[string]*huma.Response{"200": {Description: "It is kept, or was already."}}
	for status, description := range map[string]string{
		"401": "It is not authentic; nothing is kept.",
		"403": "No source may deliver from this address; nothing is kept.",
		"413": "It is too long; nothing is kept.",
		"422": "It is authentic but no event; the quarantine keeps it.",
		"503": "It could not be kept: send it again.",
	} {
		responses[status] = &huma.Response{Description: description}
	}
	deliver := huma.Operation{
		OperationID: "receive-webhook", Method: http.MethodPost, Path: webhookPath, Tags: []string{"webhooks"},
		Summary: "Deliver an event", Security: []map[string][]string{{}}, Responses: responses,
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Type: huma.TypeObject}},
		}},
	}
	document.AddOperation(&deliver)
	ofSource := deliver
	ofSource.OperationID, ofSource.Path = "receive-webhook-of-source", webhookPath+"/{source}"
	ofSource.Summary = "Deliver an event of one source, with its own proofs"
	ofSource.Parameters = []*huma.Param{{
		Name: "source", In: "path", Required: true, Description: "The webhook source.", Schema: &huma.Schema{Type: huma.TypeString},
	}}
	document.AddOperation(&ofSource)
	describeSignin(document)
	document.AddOperation(&huma.Operation{
		OperationID: "get-metrics", Method: http.MethodGet, Path: "/metrics", Tags: []string{"operating"},
		Summary:     "Metrics for Prometheus",
		Description: "Needs a key with the scope read that is not limited to agents.",
		Responses:   map[string]*huma.Response{"200": {Description: "Prometheus's text format."}},
	})
}

func describeSignin(document *huma.OpenAPI) {
	key := &huma.Schema{Type: huma.TypeObject, Required: []string{"key"}, Properties: map[string]*huma.Schema{
		"key": {Type: huma.TypeString, Description: "An API key."},
	}}
	forms := map[string]*huma.MediaType{"application/json": {Schema: key}, "application/x-www-form-urlencoded": {Schema: key}}
	open := []map[string][]string{{}} // needs no key
	for _, op := range []*huma.Operation{
		{
			OperationID: "show-signin", Method: http.MethodGet, Path: signinPath, Summary: "The page to sign in with",
			Responses: map[string]*huma.Response{"200": {Description: "A page."}},
		},
		{
			OperationID: "sign-in", Method: http.MethodPost, Path: signinPath, Summary: "Sign a browser in with an API key",
			Description: "The cookie holds for 12 hours, or as long as the key is valid. A form is answered with a page, JSON with JSON.",
			RequestBody: &huma.RequestBody{Required: true, Content: forms},
			Responses: map[string]*huma.Response{
				"200": {Description: "Signed in; who it is."}, "303": {Description: "Signed in by the form."},
				"401": {Description: "It is no valid key."}, "403": {Description: "A page of another site asks."},
			},
		},
		{
			OperationID: "sign-out", Method: http.MethodPost, Path: signoutPath, Summary: "Take the cookie back",
			Responses: map[string]*huma.Response{"204": {Description: "Signed out."}, "303": {Description: "Signed out by the form."}},
		},
	} {
		op.Tags, op.Security = []string{"signing in"}, open
		document.AddOperation(op)
	}
}

func serveDocument(document []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(document)
	}
}
