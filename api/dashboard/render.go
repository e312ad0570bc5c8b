package dashboard

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"path"
	"strconv"
	"time"

	"rapport/api/access"
)

//go:embed templates
var templateFiles embed.FS

const (
	layoutFile  = "layout.html"
	failureFile = "failure.html"
)

// parseTemplates gives each page a set of its own: the layout, and its file, which
// defines main.
func parseTemplates(files *assets) (map[string]*template.Template, error) {
	layout, err := template.New(layoutFile).Funcs(template.FuncMap{
		"asset": files.url, "whole": whole[int64], "compact": func(n int64) string { return compact(float64(n)) },
		"percent": percent, "duration": duration, "plural": plural, "bytes": bytesOf, "machineTime": machineTime,
		"points": points, "sentiment": sentiment, "zones": zones,
		"seconds": func(n *float64) string { return known(n, duration) },
		"milliseconds": func(n *int64) string {
			if n == nil {
				return none
			}
			return duration(float64(*n) / 1000)
		},
		"decimal": func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) },
		"whole64": func(n float64) string { return whole(int64(n)) },
		"share":   func(n *float64) string { return known(n, percent) },
		"deref":   func(n *float64) float64 { return *n },
		"pair":    func(first, second any) any { return struct{ First, Second any }{first, second} },
		"sessionLink": func(state State, agentID, sessionID string, startedAt *time.Time) string {
			return sessionLink(state, agentID, sessionID, startedAt)
		},
		"score": func(n *float64) string { return known(n, points) },
		"mood":  func(n *float64) string { return known(n, sentiment) },
	}).ParseFS(templateFiles, "templates/"+layoutFile, "templates/agenttable.html", "templates/status.html")
	if err != nil {
		return nil, err
	}
	names := []string{failureFile}
	for _, p := range pages {
		names = append(names, p.template)
	}
	sets := make(map[string]*template.Template)
	for _, name := range names {
		set, err := layout.Clone()
		if err != nil {
			return nil, err
		}
		if sets[name], err = set.ParseFS(templateFiles, path.Join("templates", name)); err != nil {
			return nil, err
		}
	}
	return sets, nil
}

// view is what the templates see.
type view struct {
	Title   string
	Nav     []navItem
	Path    string // of the page, as the browser has it
	State   State
	Who     *access.Identity
	MayLive bool // the visitor may follow GET /live
	Data    any  // the page's own
}

type navItem struct {
	Name, URL string
	Current   bool
}

// policy lets a page load what this server has, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

func setHeaders(header http.Header) {
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", policy)
	header.Set("Cache-Control", "no-store")      // it is for one visitor's eyes
	header.Set("Referrer-Policy", "same-origin") // the Origin of forms would be null without one
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("X-Content-Type-Options", "nosniff")
}

// show serves a page.
func (d *Dashboard) show(p *page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := d.request(w, r)
		request.Title = p.name
		data, err := p.data(request)
		if err != nil {
			d.fail(w, request, p.current(), failureOf(err))
			return
		}
		d.render(w, http.StatusOK, p.template, d.view(request, p.current(), data))
	})
}

func (p *page) current() string {
	if p.under != "" {
		return p.under
	}
	return p.path
}

// act serves a form.
func (d *Dashboard) act(a action) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := d.request(w, r)
		back, err := a.do(request)
		if err != nil {
			d.fail(w, request, "", failureOf(err))
			return
		}
		http.Redirect(w, r, back, http.StatusSeeOther)
	})
}

func (d *Dashboard) request(w http.ResponseWriter, r *http.Request) *Request {
	now := d.now()
	return &Request{
		Request: r, State: readState(r.URL.Query(), now), Who: access.Of(r.Context()),
		api: d.api, requestID: w.Header().Get("X-Request-Id"), now: now, isSecure: d.isSecure(r),
	}
}

func (d *Dashboard) view(r *Request, current string, data any) *view {
	v := &view{Title: r.Title, Path: r.URL.EscapedPath(), State: r.State, Who: r.Who, MayLive: r.Who.May(access.Live), Data: data}
	for i := range pages {
		if pages[i].name != "" {
			v.Nav = append(v.Nav, navItem{pages[i].name, r.State.Link(pages[i].path, "until", ""), pages[i].path == current})
		}
	}
	return v
}

// Refuse answers with an error as a page.
func (d *Dashboard) Refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	request := d.request(w, r)
	d.fail(w, request, "", &Failure{Status: status, Detail: detail, RequestID: request.requestID})
}

func (d *Dashboard) fail(w http.ResponseWriter, r *Request, current string, f *Failure) {
	if r.Context().Err() != nil {
		return // nobody is there to see it
	}
	r.Title = http.StatusText(f.Status)
	if f.RequestID == "" {
		f.RequestID = r.requestID
	}
	d.render(w, f.Status, failureFile, d.view(r, current, f))
}

// render writes a page once all of it is there.
func (d *Dashboard) render(w http.ResponseWriter, status int, file string, v *view) {
	var text bytes.Buffer
	if err := d.templates[file].ExecuteTemplate(&text, layoutFile, v); err != nil {
		panic(err) // a template and its data don't fit: the API's log tells, and answers 500
	}
	setHeaders(w.Header())
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes()) // it fails only if the client is gone
}

// IsRefused reports whether another key could help.
func (f *Failure) IsRefused() bool {
	return f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden
}

// Hint says what to do about a failure.
func (f *Failure) Hint() string {
	switch f.Status {
	case http.StatusUnauthorized:
		return "Sign in again."
	case http.StatusForbidden:
		return "Sign in with another key, or have one made that may: rapport key create --help."
	case http.StatusNotFound:
		return "It may have been erased, or be too old, or belong to an agent that your key does not see."
	case http.StatusBadRequest:
		return "Change the filters, or begin again without them."
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "It passes: reload the page in a few seconds. If it does not, GET /readyz says what is missing."
	case http.StatusGatewayTimeout:
		return "Take a shorter time or a single agent."
	}
	return "Reload the page. The server’s log says more under the request id."
}
