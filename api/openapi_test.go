package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestTheDescription(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{config: Config{Version: "1.2.3"}})
	w := get(h, "/openapi.json")
	document := decodeJSON(t, w)
	if version, _ := document["openapi"].(string); w.Code != http.StatusOK || !strings.HasPrefix(version, "3.1.") {
		t.Fatalf("status %d, openapi %v", w.Code, document["openapi"])
	}
	if got := document["info"].(map[string]any)["version"]; got != "1.2.3" {
		t.Errorf("version %v", got)
	}
	paths := document["paths"].(map[string]any)
	for _, path := range []string{
		"/webhook", "/sessions", "/sessions/{session_id}", "/sessions/{session_id}/messages",
		"/sessions/{session_id}/events", "/quarantine", "/healthz", "/readyz", "/metrics",
	} {
		if paths[path] == nil {
			t.Errorf("%s is not described", path)
		}
	}
	if text := w.Body.String(); strings.Contains(text, "http://") || strings.Contains(text, "https://") || strings.Contains(text, "$schema") {
		t.Error("it names foreign hosts or links to schemas")
	}
	schemas := document["components"].(map[string]any)["schemas"].(map[string]any)
	session := schemas["Session"].(map[string]any)
	for _, name := range sessionFields {
		if session["properties"].(map[string]any)[name] == nil || !slices.Contains(session["required"].([]any), any(name)) {
			t.Errorf("%s is not described, or not as required", name)
		}
	}
	for name, nullable := range map[string]bool{"quality_score": true, "end_reason": true, "duration_s": false} {
		kind := session["properties"].(map[string]any)[name].(map[string]any)["type"]
		if list, ok := kind.([]any); ok != nullable || nullable && !slices.Contains(list, any("null")) {
			t.Errorf("%s is of type %v", name, kind)
		}
	}
}

func TestAnswersLinkToNothing(t *testing.T) {
	t.Parallel()
	w := get(newServer(t, options{}), "/healthz")
	if w.Body.String() != "{\"status\":\"ok\"}\n" || w.Header().Get("Link") != "" {
		t.Errorf("%s, Link %q", w.Body, w.Header().Get("Link"))
	}
}
