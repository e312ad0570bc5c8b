package rules

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"gopkg.in/yaml.v3"
)

// Destination is where firings go: Slack, or any HTTP endpoint. One of the two is set.
type Destination struct {
	Name  string
	Slack *Slack
	HTTP  *HTTP

	template *bodyTemplate // nil if it has none
}

// Slack is an incoming webhook of Slack's.
type Slack struct {
	URL string // a secret: whoever has it can write into the channel
}

// HTTP is an endpoint.
type HTTP struct {
	URL     string
	Method  string            // POST, PUT or PATCH
	Headers map[string]string // Content-Type among them; may hold secrets
	Secrets []string          // of Standard Webhooks, as whsec_…, each for a signature; none: it is not signed
}

// Render makes the body of a firing's data: of an endpoint without a template the data
// themselves, of Slack a message in JSON. It fails only for data that the rules have not
// made.
func (d *Destination) Render(data json.RawMessage) ([]byte, error) {
	if d.template == nil {
		return data, nil
	}
	body, err := d.template.render(data)
	if err != nil || d.Slack == nil {
		return body, err
	}
	return slackMessage(string(body))
}

// maxSlackText is what Slack takes of a block's text, in characters.
const maxSlackText = 3000

// slackMessage is a text in a block of Slack's Block Kit, and as a notification shows it.
func slackMessage(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if runes := []rune(text); len(runes) > maxSlackText {
		text = string(runes[:maxSlackText-1]) + "…"
	}
	section := map[string]any{"type": "section", "text": map[string]any{"type": "mrkdwn", "text": text}}
	return marshal(map[string]any{"text": text, "blocks": []any{section}})
}

// defaultSlackText is the template of a Slack destination without one.
const defaultSlackText = `{{with .metric}}{{if .resolved}}Resolved: {{end}}{{end}}*{{.rule}}* ({{.severity}}){{with .description}}: {{.}}{{end}}
{{- with .count}}
{{.}} times{{range $name, $value := $.by}}, {{$name}} {{$value}}{{end}}
{{- end}}
{{- with .metric}}
{{.name}} is {{if eq (json .value) "null"}}unknown: there is no data{{else}}{{json .value}}{{end}} (sessions from {{.from}} on)
{{- end}}
{{- with .event}}
{{.type}}{{with .agent_id}}, agent {{.}}{{end}}{{with .session_id}}, session {{.}}{{end}}{{with .error.code}}, error {{.}}{{end}}{{with .text}}
> {{.}}{{end}}
{{- else}}{{with .session}}
agent {{.agent_id}}, session {{.session_id}}, {{.message_count}} messages
{{- end}}{{end}}`

func (r *reader) destinations(n *yaml.Node) map[string]*Destination {
	found := make(map[string]*Destination)
	if n == nil {
		return found
	}
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "destinations must be names, one a line, each with slack or http below it")
		return found
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name, ok := r.name(key, "the destination's name")
		if !ok {
			continue
		}
		if found[name] != nil {
			r.wrong(key, "there is another destination %s", name)
			continue
		}
		found[name] = r.destination(name, value)
	}
	return found
}

func (r *reader) destination(name string, n *yaml.Node) *Destination {
	d := &Destination{Name: name}
	fields, ok := r.fields(n, "destination "+name, "slack", "http")
	if !ok {
		return d
	}
	switch slack, http := fields["slack"], fields["http"]; {
	case slack != nil && http == nil:
		r.slack(d, slack)
	case http != nil && slack == nil:
		r.http(d, http)
	default:
		r.wrong(n, "destination %s must have either slack or http", name)
	}
	return d
}

func (r *reader) slack(d *Destination, n *yaml.Node) {
	d.Slack = &Slack{}
	fields, ok := r.fields(n, "slack", "url", "text")
	if !ok {
		return
	}
	d.Slack.URL = r.url(n, fields["url"])
	text := fields["text"]
	if text == nil {
		text = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: defaultSlackText, Line: n.Line, Column: n.Column}
	}
	d.template = r.template(text, "text", forSlack)
}

func (r *reader) http(d *Destination, n *yaml.Node) {
	d.HTTP = &HTTP{Method: "POST"}
	fields, ok := r.fields(n, "http", "url", "method", "headers", "secret", "body")
	if !ok {
		return
	}
	d.HTTP.URL = r.url(n, fields["url"])
	if method := fields["method"]; method != nil {
		d.HTTP.Method = r.oneOf(method, "method", "POST", "PUT", "PATCH")
	}
	d.HTTP.Headers = r.headers(fields["headers"])
	if secret := fields["secret"]; secret != nil {
		for _, one := range r.texts(secret, "secret") {
			d.HTTP.Secrets = append(d.HTTP.Secrets, r.secret(one))
		}
	}
	if body := fields["body"]; body != nil {
		kind := forText
		if strings.Contains(d.HTTP.Headers["Content-Type"], "json") {
			kind = forJSON
		}
		d.template = r.template(body, "body", kind)
	}
}

// url never repeats what it has read: it may be a secret.
func (r *reader) url(of, n *yaml.Node) string {
	if n == nil {
		r.wrong(of, "url is missing")
		return ""
	}
	text, ok := r.expanded(n, "url")
	if !ok {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "":
		r.wrong(n, "url must be one of http or https, such as https://hooks.example.com/rapport")
	case u.User != nil:
		r.wrong(n, "url has a user or a password: send them as a header, Authorization")
	case u.Fragment != "":
		r.wrong(n, "url has a fragment (#…), which no server is sent")
	}
	return text
}

// ownHeaders are not to be set by others.
var ownHeaders = []string{"connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade",
	"webhook-id", "webhook-timestamp", "webhook-signature"}

func (r *reader) headers(n *yaml.Node) map[string]string {
	headers := map[string]string{"Content-Type": "application/json"}
	if n == nil {
		return headers
	}
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "headers must be names with their values, one a line")
		return headers
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := strings.ToLower(key.Value)
		switch {
		case !httpguts.ValidHeaderFieldName(key.Value):
			r.wrong(key, "%s is no name of a header", excerpt(key.Value))
		case slices.Contains(ownHeaders, name):
			r.wrong(key, "the header %s is set by rapport", key.Value)
		case seen[name]:
			r.wrong(key, "the header %s is there twice", key.Value)
		}
		seen[name] = true
		text, ok := r.expanded(value, "header "+key.Value)
		if ok && !httpguts.ValidHeaderFieldValue(text) {
			r.wrong(value, "the header %s has a character that headers can't have", key.Value)
		}
		if name == "content-type" {
			delete(headers, "Content-Type")
			key.Value = "Content-Type"
		}
		headers[key.Value] = text
	}
	return headers
}

// secret checks for what Standard Webhooks wants: 24 to 64 random bytes in base64.
func (r *reader) secret(n *yaml.Node) string {
	text, ok := r.expanded(n, "secret")
	if !ok {
		return ""
	}
	text = strings.TrimPrefix(text, "whsec_")
	if key, err := base64.StdEncoding.DecodeString(text); err != nil || len(key) < 24 || len(key) > 64 {
		r.wrong(n, "secret must be whsec_ and 24 to 64 random bytes in base64: make them with `openssl rand -base64 32`")
	}
	return "whsec_" + text
}

// destinationNames are for messages.
func destinationNames(of map[string]*Destination) string {
	if len(of) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(of)), ", ")
}
