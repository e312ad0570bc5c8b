package api

import (
	"context"
	"html/template"
	"net/http"
	"net/url"

	"github.com/go-chi/chi/v5"

	"rapport/api/access"
	"rapport/api/dashboard"
)

// registerDashboard adds the pages. They ask the API what they show, as whoever looks
// at them.
func (s *server) registerDashboard(router *chi.Mux) error {
	pages, err := dashboard.New(dashboard.Options{API: s.observe(anew(router)), Now: s.now, IsSecure: isSecure})
	if err != nil {
		return err
	}
	s.pages = pages
	for _, route := range pages.Routes() {
		router.Method(route.Method, route.Pattern, s.page(route))
	}
	return nil
}

// anew has a router take a request that it is answering one of already for a new one.
func anew(router http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		router.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), chi.RouteCtxKey, (*chi.Context)(nil))))
	})
}

// page serves a page to those who have its scope, and tells the others why not in HTML.
func (s *server) page(route dashboard.Route) http.Handler {
	if route.Scope == "" {
		return route.Handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := demand(access.Of(r.Context()), route.Scope); p != nil {
			s.Metrics.forbidden.Inc()
			s.pages.Refuse(w, r, p.Status, p.Detail)
			return
		}
		route.Handler.ServeHTTP(w, r)
	})
}

// denyPage answers whoever is not let in to a page: who only looks is led to the
// sign-in, and from there back to it.
func (s *server) denyPage(w http.ResponseWriter, r *http.Request, p *problem) {
	if p.Status != http.StatusUnauthorized {
		s.pages.Refuse(w, r, p.Status, p.Detail)
		return
	}
	s.Metrics.unauthorized.WithLabelValues("read").Inc()
	if s.limits.unproven.spend(w, r, limitKey(clientOf(r))) { // it is told by no status 401, which counts by itself
		s.limits.unproven.refusal().write(w)
		return
	}
	if isSafe(r.Method) && cookieOf(r) == "" && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		comeAgain(w, r)
		return
	}
	target := signinPath
	if isSafe(r.Method) {
		target += "?" + url.Values{"next": {r.URL.RequestURI()}}.Encode()
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}

var comeAgainTemplate = template.Must(template.New("again").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Rapport</title><meta http-equiv="refresh" content="0;url={{.}}"></head>
<body><p><a href="{{.}}">Go on</a></p></body></html>
`))

// comeAgain has a browser ask again from a page of ours. Where a link of another site
// leads here, it keeps the sign-in's cookie to itself.
func comeAgain(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	_ = comeAgainTemplate.Execute(w, r.URL.RequestURI()) // it fails only if the client is gone
}
