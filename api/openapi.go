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
		"token": {Type: "http", Scheme: "bearer", Description: "The API token, where one is configured."},
	}
	config.Security = []map[string][]string{{"token": {}}}
	return config
}

// describeUnregistered adds what huma doesn't serve.
func describeUnregistered(document *huma.OpenAPI) {
	responses := map[string]*huma.Response{"200": {Description: "It is kept, or was already."}}
	for status, description := range map[string]string{
		"401": "It is not authentic; nothing is kept.",
		"413": "It is too long; nothing is kept.",
		"422": "It is authentic but no event; the quarantine keeps it.",
		"503": "It could not be kept: send it again.",
	} {
		responses[status] = &huma.Response{Description: description}
	}
	document.AddOperation(&huma.Operation{
		OperationID: "receive-webhook", Method: http.MethodPost, Path: webhookPath, Tags: []string{"webhooks"},
		Summary: "Deliver an event", Security: []map[string][]string{{}}, Responses: responses,
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Type: huma.TypeObject}},
		}},
	})
	document.AddOperation(&huma.Operation{
		OperationID: "get-metrics", Method: http.MethodGet, Path: "/metrics", Tags: []string{"operating"},
		Summary:   "Metrics for Prometheus",
		Responses: map[string]*huma.Response{"200": {Description: "Prometheus's text format."}},
	})
}

func serveDocument(document []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(document)
	}
}
