package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
)

// docsStyle shows the page in the colours that the reader's machine prefers, on any
// width, and on paper.
const docsStyle = `
:root{color-scheme:light dark;--ground:#fff;--text:#1c2024;--soft:#5b6570;--line:#dde1e6;--panel:#f6f7f9;--accent:#0b5cad;--get:#0b6e4f;--change:#9a4b00}
@media (prefers-color-scheme:dark){:root{--ground:#14171a;--text:#e4e7ea;--soft:#9aa4ae;--line:#2c3238;--panel:#1c2125;--accent:#7db7f0;--get:#5cc99f;--change:#f0a860}}
*{box-sizing:border-box}
html{scroll-padding-top:1rem}
body{margin:0;background:var(--ground);color:var(--text);font:1rem/1.55 system-ui,sans-serif;display:grid;grid-template-columns:18rem minmax(0,1fr)}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
a:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
nav{position:sticky;top:0;height:100vh;overflow:auto;padding:1.5rem 1rem;border-right:1px solid var(--line);font-size:.875rem}
nav h2{font-size:.75rem;letter-spacing:.06em;text-transform:uppercase;color:var(--soft);margin:1.25rem 0 .25rem}
nav ul{list-style:none;margin:0;padding:0}nav li{margin:.15rem 0;overflow-wrap:anywhere}
main{padding:2rem clamp(1rem,4vw,3rem);max-width:72rem}
h1{margin:0 0 .5rem;font-size:1.75rem}main>h2{margin:3rem 0 0;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
article{margin:2rem 0 2.5rem}h3{margin:0 0 .25rem;font-size:1.1rem}h4{margin:1rem 0 .25rem;font-size:.875rem;color:var(--soft)}
p{margin:.35rem 0;max-width:48rem}
code,pre{font:.875em/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
.route{overflow-wrap:anywhere}.method{font-weight:700;color:var(--change);margin-right:.5rem}.GET{color:var(--get)}
table{border-collapse:collapse;width:100%;font-size:.875rem;table-layout:fixed}
th,td{text-align:left;vertical-align:top;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th{font-weight:600;color:var(--soft)}col.name{width:24%}col.type{width:24%}td.type{color:var(--soft)}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--accent);font-size:.9rem}
pre{background:var(--panel);border:1px solid var(--line);border-radius:.375rem;padding:.75rem;overflow:auto;max-height:28rem}
@media (max-width:56rem){body{display:block}nav{position:static;height:auto;border:0;border-bottom:1px solid var(--line)}nav ul{columns:2 12rem}
col.name{width:34%}col.type{width:26%}}
@media print{body{display:block}nav{display:none}pre{max-height:none}}
`

// docsPolicy lets the page do nothing but show itself.
var docsPolicy = func() string {
	style := sha256.Sum256([]byte(docsStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) +
		"'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
}()

var docsTemplate = template.Must(template.New("docs").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}} API</title>
<style>` + docsStyle + `</style>
</head>
<body>
<nav aria-label="Operations">
<strong>{{.Title}} API</strong>
{{range .Groups}}<h2>{{.Name}}</h2>
<ul>
{{range .Operations}}<li><a href="#{{.ID}}">{{.Summary}}</a></li>
{{end}}</ul>
{{end}}</nav>
<main>
<h1>{{.Title}} API</h1>
<p>{{.Description}} Version {{.Version}}; as OpenAPI 3.1: <a href="/openapi.json">openapi.json</a>.</p>
<p>Times are RFC 3339; ranges are [from, to). An unknown parameter is an error, as is one that is given twice or empty. Every error is a problem (RFC 9457) with the HTTP status, what is wrong in <code>detail</code>, and a <code>request_id</code> that is in the server's log too. Answers may get more fields.</p>
<p>Lists come in pages: <code>next_cursor</code> asks for the next. With <code>format=csv</code> or <code>ndjson</code>, or the media type in <code>Accept</code>, all rows of a list come as one stream; one that could not be sent to its end is cut off, which HTTP clients report as an error. In CSV, null is empty, and a text that a spreadsheet would take for a formula has a <code>'</code> before it.</p>
{{range .Groups}}<h2>{{.Name}}</h2>
{{range .Operations}}<article id="{{.ID}}">
<h3>{{.Summary}}</h3>
<p class="route"><code><span class="method {{.Method}}">{{.Method}}</span>{{.Path}}</code></p>
{{with .Description}}<p>{{.}}</p>
{{end}}{{with .Parameters}}<h4>Parameters</h4>
<table><colgroup><col class="name"><col class="type"><col></colgroup>
<thead><tr><th scope="col">Name</th><th scope="col">Type</th><th scope="col">Meaning</th></tr></thead>
<tbody>
{{range .}}<tr><td><code>{{.Name}}</code>{{if ne .In "query"}} ({{.In}}){{end}}</td><td class="type">{{.Type}}</td><td>{{.Description}}</td></tr>
{{end}}</tbody></table>
{{end}}{{range .Body}}<h4>Body, {{.MediaType}}</h4>
{{template "fields" .}}{{end}}{{range .Answer}}{{if .Fields}}<details><summary>Answer, {{.MediaType}}</summary>
{{template "fields" .}}</details>
{{end}}{{end}}{{with .Example}}<details><summary>Example</summary>
<pre>{{.}}</pre></details>
{{end}}{{with .Errors}}<details><summary>Other statuses</summary>
<table><colgroup><col class="name"><col></colgroup>
<tbody>
{{range .}}<tr><td><code>{{.Status}}</code></td><td>{{.Description}}</td></tr>
{{end}}</tbody></table></details>
{{end}}</article>
{{end}}{{end}}</main>
</body>
</html>
{{define "fields"}}{{with .Fields}}<table><colgroup><col class="name"><col class="type"><col></colgroup>
<thead><tr><th scope="col">Field</th><th scope="col">Type</th><th scope="col">Meaning</th></tr></thead>
<tbody>
{{range .}}<tr><td><code>{{.Name}}</code></td><td class="type">{{.Type}}</td><td>{{.Description}}</td></tr>
{{end}}</tbody></table>
{{end}}{{end}}`))

// docsPage is the page as it is served.
func docsPage(shown docs) ([]byte, error) {
	var text bytes.Buffer
	err := docsTemplate.Execute(&text, shown)
	return text.Bytes(), err
}
