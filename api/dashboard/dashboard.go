// Package dashboard is the page that people look at: HTML made of what the public API
// answers to whoever looks, and of nothing else.
package dashboard

import (
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"rapport/api/access"
)

// Options are what the pages stand on. All of it is needed.
type Options struct {
	API http.Handler     // answers each question of a page, with the credentials of whoever looks
	Now func() time.Time // of the server

	IsSecure func(*http.Request) bool // whether a visitor has come by HTTPS
}

// Dashboard has the pages.
type Dashboard struct {
	api       http.Handler
	now       func() time.Time
	isSecure  func(*http.Request) bool
	assets    *assets
	templates map[string]*template.Template // by the name of a page's file
}

// New reads the templates and the assets.
func New(o Options) (*Dashboard, error) {
	files, err := loadAssets()
	if err != nil {
		return nil, fmt.Errorf("the page's assets: %w", err)
	}
	d := &Dashboard{api: o.API, now: o.Now, isSecure: o.IsSecure, assets: files}
	if d.templates, err = parseTemplates(files); err != nil {
		return nil, fmt.Errorf("the page's templates: %w", err)
	}
	return d, nil
}

// Route is what is served at a path.
type Route struct {
	Method  string
	Pattern string
	Scope   access.Scope // that is needed; empty for what anybody may have
	Handler http.Handler
}

// AssetsPath is where the assets are: they are the same for everybody.
const AssetsPath = "/ui/assets/"

// IsOpen reports whether what is at a path is for anybody: it has no data.
func IsOpen(path string) bool { return path == iconPath || strings.HasPrefix(path, AssetsPath) }

// IsPath reports whether a path is one of the pages', or of their assets.
func IsPath(path string) bool { return path == "/" || strings.HasPrefix(path, "/ui/") }

// page is one that people look at.
type page struct {
	path     string                      // where it is, as a pattern
	name     string                      // in the navigation; empty: it isn't there
	under    string                      // path of the page that the navigation shows as the current one; by default its own
	template string                      // its file
	data     func(*Request) (any, error) // what the template shows as .Data; may set r.Title
}

// action is what a form of a page asks for. It leads back to a page.
type action struct {
	path string
	do   func(*Request) (back string, err error)
}

// pages are all there are, in the order of the navigation.
var pages = []page{
	{path: "/", name: "Overview", template: "overview.html", data: overview},
	{path: sessionsPath, name: "Sessions", template: "sessions.html", data: sessions},
	{path: sessionsPath + "/{session_id}", under: sessionsPath, template: "session.html", data: sessionPage},
	{path: agentsPath, name: "Agents", template: "agents.html", data: agents},
	{path: alertsPath, name: "Alerts", template: "alerts.html", data: alerts},
	{path: deadLettersPath, name: "Dead letters", template: "deadletters.html", data: deadLetters},
	{path: quarantinePath, name: "Quarantine", template: "quarantine.html", data: quarantine},
	{path: healthPath, name: "Health", template: "health.html", data: health},
}

// actions need the scope admin.
var actions = []action{
	{deadLettersPath + "/retry", retryDeadLetters},
	{deadLettersPath + "/delete", deleteDeadLetters},
	{deadLettersPath + "/{id}/retry", retryDeadLetter},
	{deadLettersPath + "/{id}/delete", deleteDeadLetter},
}

// Routes are what the dashboard serves.
func (d *Dashboard) Routes() []Route {
	routes := []Route{
		{http.MethodGet, AssetsPath + "{asset}", "", http.HandlerFunc(d.assets.serve)},
		{http.MethodGet, iconPath, "", http.HandlerFunc(d.assets.serveIcon)},
	}
	for i := range pages {
		routes = append(routes, Route{http.MethodGet, pages[i].path, access.Read, d.show(&pages[i])})
	}
	for _, a := range actions {
		routes = append(routes, Route{http.MethodPost, a.path, access.Admin, d.act(a)})
	}
	return routes
}
