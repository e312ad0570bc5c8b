package api

import (
	"net/http"
	"strings"
	"testing"
)

func TestReadsWithAToken(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{config: Config{APIToken: "s3cret"}})
	for name, test := range map[string]struct {
		headers []string
		granted bool
	}{
		"the token":                 {[]string{"Authorization", "Bearer s3cret"}, true},
		"scheme in lower case":      {[]string{"Authorization", "bearer s3cret"}, true},
		"scheme in upper case":      {[]string{"Authorization", "BEARER  s3cret "}, true},
		"no header":                 {nil, false},
		"wrong token":               {[]string{"Authorization", "Bearer other"}, false},
		"empty token":               {[]string{"Authorization", "Bearer "}, false},
		"a prefix of the token":     {[]string{"Authorization", "Bearer s3cre"}, false},
		"another scheme":            {[]string{"Authorization", "Basic s3cret"}, false},
		"token alone":               {[]string{"Authorization", "s3cret"}, false},
		"two headers":               {[]string{"Authorization", "Bearer s3cret", "Authorization", "Bearer other"}, false},
		"in another header":         {[]string{"X-API-Key", "s3cret"}, false},
		"through a proxy":           {[]string{"Authorization", "Bearer s3cret", "X-Forwarded-For", "1.2.3.4"}, true},
		"from a page far away":      {[]string{"Authorization", "Bearer s3cret", "Origin", "https://example.com"}, true},
		"loopback is no substitute": {[]string{"Origin", "http://localhost:8080"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := get(h, "/openapi.json", test.headers...)
			if test.granted != (w.Code == http.StatusOK) {
				t.Fatalf("status %d", w.Code)
			}
			if !test.granted {
				wantProblem(t, w, http.StatusUnauthorized)
				if got := w.Header().Get("WWW-Authenticate"); got != "Bearer" {
					t.Errorf("WWW-Authenticate %q", got)
				}
			}
		})
	}
}

func TestEverythingButProbesAndWebhooksNeedsTheToken(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{config: Config{APIToken: "s3cret"}})
	for _, path := range []string{
		"/sessions", "/sessions/x", "/sessions/x/messages", "/sessions/x/events", "/quarantine", "/metrics",
		"/openapi.json", "/nothing", "/sessions?limit=0", "/webhook/", "/healthz/", "//healthz",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := newRequest(http.MethodGet, "/", nil)
			r.URL.Path, r.URL.RawQuery, _ = strings.Cut(path, "?")
			wantProblem(t, send(h, r), http.StatusUnauthorized)
		})
	}
	if w := get(h, "/healthz"); w.Code != http.StatusOK {
		t.Errorf("/healthz: %d", w.Code)
	}
	if w := get(h, "/readyz"); w.Code != http.StatusServiceUnavailable { // the database is away
		t.Errorf("/readyz: %d", w.Code)
	}
	if w := post(h, `{"event_type":"test"}`); w.Code != http.StatusOK {
		t.Errorf("/webhook: %d", w.Code)
	}
}

func TestReadsWithoutATokenAreForThisMachine(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	for name, test := range map[string]struct {
		host    string
		headers []string
		granted bool
	}{
		"localhost":                {"localhost", nil, true},
		"localhost with a port":    {"localhost:8080", nil, true},
		"LOCALHOST":                {"LOCALHOST:8080", nil, true},
		"127.0.0.1":                {"127.0.0.1:8080", nil, true},
		"127.8.8.8":                {"127.8.8.8", nil, true},
		"::1":                      {"[::1]:8080", nil, true},
		"::1 without a port":       {"[::1]", nil, true},
		"a page of ours":           {"localhost:8080", []string{"Origin", "http://localhost:8080"}, true},
		"no host":                  {"", nil, false},
		"a rebound name":           {"evil.example:8080", nil, false},
		"a subdomain of localhost": {"app.localhost:8080", nil, false},
		"localhost in a name":      {"localhost.example.com", nil, false},
		"localhost with a dot":     {"localhost.:8080", nil, false},
		"an address in a name":     {"127.0.0.1.nip.io", nil, false},
		"the local network":        {"192.168.1.7:8080", nil, false},
		"any address":              {"0.0.0.0:8080", nil, false},
		"a foreign origin":         {"localhost:8080", []string{"Origin", "https://evil.example"}, false},
		"a null origin":            {"localhost:8080", []string{"Origin", "null"}, false},
		"an empty origin":          {"localhost:8080", []string{"Origin", ""}, false},
		"another port's origin":    {"localhost:8080", []string{"Origin", "http://localhost:3000"}, false},
		"two origins":              {"localhost:8080", []string{"Origin", "http://localhost:8080", "Origin", "http://evil.example"}, false},
		"X-Forwarded-For":          {"localhost", []string{"X-Forwarded-For", "1.2.3.4"}, false},
		"X-Forwarded-Host":         {"localhost", []string{"X-Forwarded-Host", "x.ngrok.app"}, false},
		"X-Forwarded-Proto":        {"localhost", []string{"X-Forwarded-Proto", "https"}, false},
		"X-Forwarded-Port, empty":  {"localhost", []string{"X-Forwarded-Port", ""}, false},
		"Forwarded":                {"localhost", []string{"Forwarded", "for=1.2.3.4"}, false},
		"X-Real-IP":                {"localhost", []string{"X-Real-IP", "1.2.3.4"}, false},
		"Via":                      {"localhost", []string{"Via", "1.1 proxy"}, false},
		"CF-Connecting-IP":         {"localhost", []string{"CF-Connecting-IP", "1.2.3.4"}, false},
		"True-Client-IP":           {"localhost", []string{"True-Client-IP", "1.2.3.4"}, false},
		"X-Original-Host":          {"localhost", []string{"X-Original-Host", "example.com"}, false},
		"Ngrok-Agent-Ips":          {"localhost", []string{"Ngrok-Agent-Ips", "1.2.3.4"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRequest(http.MethodGet, "/openapi.json", nil, test.headers...)
			r.Host = test.host
			w := send(h, r)
			if test.granted {
				if w.Code != http.StatusOK {
					t.Fatalf("status %d: %s", w.Code, w.Body)
				}
				return
			}
			p := wantProblem(t, w, http.StatusUnauthorized)
			if !strings.Contains(p["detail"].(string), "RAPPORT_API_TOKEN") {
				t.Errorf("the detail does not say what to set: %v", p["detail"])
			}
		})
	}
}

func TestUnauthorizedReadsAreCounted(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	get(h, "/sessions", "Via", "1.1 proxy")
	get(h, "/sessions", "Via", "1.1 proxy")
	got := metricLines(t, h, "rapport_unauthorized_total")
	if len(got) != 1 || got[0] != `rapport_unauthorized_total{request="read"} 2` {
		t.Errorf("%v", got)
	}
}
