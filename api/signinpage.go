package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
)

// signinPage is what the page shows: who is signed in, or the form with what was
// wrong, and the page that it leads to.
type signinPage struct {
	Name    string
	Problem string
	Next    string
}

const signinStyle = `:root{color-scheme:light dark;--ground:#f6f6f3;--panel:#fff;--line:#dfdfd9;--text:#1b1e24;--soft:#5a606b;--accent:#3457c9;--on:#fff;--bad:#b3261e}` +
	`@media(prefers-color-scheme:dark){:root{--ground:#0f1115;--panel:#171a20;--line:#2b303a;--text:#e5e7ec;--soft:#9ca4b1;--accent:#8ea8ff;--on:#10131b;--bad:#ff8f85}}` +
	`*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--text);font:.9375rem/1.5 system-ui,sans-serif}` +
	`main{max-width:24rem;margin:12vh auto 2rem;padding:2rem;background:var(--panel);border:1px solid var(--line);border-radius:.625rem}` +
	`@media(max-width:28rem){main{margin:1rem;padding:1.25rem}}h1{margin:0 0 1rem;font-size:1.375rem;line-height:1.25;letter-spacing:-.011em}p{margin:.75rem 0;overflow-wrap:anywhere}` +
	`label,input,button{display:block;font:inherit;width:100%}label{color:var(--soft);font-size:.8125rem}input,button{margin:.25rem 0 1rem;padding:.55rem .7rem;border:1px solid var(--line);border-radius:.4rem}` +
	`input{background:var(--ground);color:inherit}button{margin:0;background:var(--accent);border-color:var(--accent);color:var(--on);font-weight:550;cursor:pointer}` +
	`:focus-visible{outline:2px solid var(--accent);outline-offset:2px}a{color:var(--accent)}.soft{color:var(--soft);font-size:.8125rem;margin:1rem 0 0}code{font-family:ui-monospace,monospace}` +
	`[role=alert]{border-left:.25rem solid var(--bad);padding-left:.75rem}`

var signinTemplate = template.Must(template.New("signin").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rapport: sign in</title>
<style>` + signinStyle + `</style>
</head>
<body>
<main>
{{if .Name}}<h1>Signed in</h1>
<p>With the key <strong>{{.Name}}</strong>. <a href="{{.Next}}">Go on</a></p>
<form method="post" action="/signout"><button type="submit">Sign out</button></form>
{{else}}<h1>Sign in to Rapport</h1>
{{with .Problem}}<p role="alert" id="problem">{{.}}</p>
{{end}}<form method="post" action="/signin">
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" spellcheck="false" required autofocus{{if .Problem}} aria-invalid="true" aria-describedby="problem"{{end}}>
<input type="hidden" name="next" value="{{.Next}}">
<button type="submit">Sign in</button>
</form>
<p class="soft">Whoever runs this server makes a key with <code>rapport key create --name … --scope read,live</code>.</p>
{{end}}</main>
</body>
</html>
`))

// signinPolicy lets the page do nothing but show itself and send its form here.
var signinPolicy = func() string {
	style := sha256.Sum256([]byte(signinStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

func writeSignin(w http.ResponseWriter, status int, page signinPage) {
	var text bytes.Buffer
	if err := signinTemplate.Execute(&text, page); err != nil {
		internalError().write(w) // the template and its data are ours
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", signinPolicy)
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "same-origin") // the form's Origin would be null without one
	header.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes()) // it fails only if the client is gone
}
