package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
)

// signinPage is what the page shows: who is signed in, or the form with what was
// wrong.
type signinPage struct {
	Name    string
	Problem string
}

const signinStyle = `body{font:1rem/1.5 system-ui,sans-serif;max-width:24rem;margin:4rem auto;padding:0 1rem}` +
	`label,input,button{display:block;font:inherit;box-sizing:border-box;width:100%;margin:.5rem 0;padding:.5rem}label{padding:0}` +
	`[role=alert]{border-left:.25rem solid #b00020;padding-left:.75rem}`

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
<p>With the key <strong>{{.Name}}</strong>.</p>
<form method="post" action="/signout"><button type="submit">Sign out</button></form>
{{else}}<h1>Sign in</h1>
{{with .Problem}}<p role="alert" id="problem">{{.}}</p>
{{end}}<form method="post" action="/signin">
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" spellcheck="false" required autofocus{{if .Problem}} aria-invalid="true" aria-describedby="problem"{{end}}>
<button type="submit">Sign in</button>
</form>
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
