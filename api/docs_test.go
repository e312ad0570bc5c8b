package api

import (
	"html"
	"net/http"
	"strings"
	"testing"
)

func TestTheDocs(t *testing.T) {
	t.Parallel()
	w := get(newServer(t, options{config: Config{Version: "1.2.3"}}), "/docs")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	page := w.Body.String()
	t.Run("show every operation, parameter and field", func(t *testing.T) {
		t.Parallel()
		document := wired(t).api.OpenAPI()
		text := html.UnescapeString(page)
		for _, op := range operations(document) {
			if !strings.Contains(page, `<article id="`+op.OperationID+`">`) || !strings.Contains(text, op.Description) {
				t.Errorf("%s is missing", op.OperationID)
			}
			for _, p := range op.Parameters {
				if !strings.Contains(text, p.Description) {
					t.Errorf("the parameter %s of %s is missing", p.Name, op.OperationID)
				}
			}
		}
		for name, schema := range document.Components.Schemas.Map() {
			for field, property := range schema.Properties {
				if name != "Problem" && name != "Parameter" && !strings.Contains(text, property.Description) {
					t.Errorf("the field %s of %s is missing", field, name)
				}
			}
		}
	})
	t.Run("load nothing, and run nothing", func(t *testing.T) {
		t.Parallel()
		for _, foreign := range []string{"http:", "https:", "//", "<script", "<img", "<iframe", "src=", "url(", "@import", "style=\""} {
			if strings.Contains(page, foreign) {
				t.Errorf("the page has %s", foreign)
			}
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
			t.Errorf("policy: %s", policy)
		}
	})
}
