package api

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"rapport/api/access"
	"rapport/api/dashboard"
)

// A browser signs in with a key, and has a cookie from then on: HttpOnly, and sent
// by our own pages alone.
const (
	signinPath  = "/signin"
	signoutPath = "/signout"

	maxSignin      = 12 * time.Hour
	maxSigninBytes = 4 << 10 // of the request's body
)

func (s *server) registerSignin(router chi.Router) {
	s.route(router, anyone, http.MethodGet, signinPath, http.HandlerFunc(s.showSignin))
	s.route(router, anyone, http.MethodPost, signinPath, http.HandlerFunc(s.signIn))
	s.route(router, anyone, http.MethodPost, signoutPath, http.HandlerFunc(s.signOut))
}

// showSignin is the form or, for whoever is signed in, who they are.
func (s *server) showSignin(w http.ResponseWriter, r *http.Request) {
	page := signinPage{Next: backTo(r.URL.Query().Get("next"))}
	if cookie := cookieOf(r); cookie != "" {
		if valid, p := s.signedIn(r, cookie); p == nil {
			page.Name = valid.who.Name
		}
	}
	writeSignin(w, http.StatusOK, page)
}

// signIn takes a key for a cookie.
func (s *server) signIn(w http.ResponseWriter, r *http.Request) {
	if p := foreignPage(r); p != nil {
		s.deny(w, "signin", p)
		return
	}
	sent, isForm, p := readKey(w, r)
	if p != nil {
		p.write(w)
		return
	}
	valid, p := s.keyOf(r.Context(), sent)
	if p == nil {
		p = s.setCookie(w, r, sent, valid)
	}
	switch {
	case p != nil && isForm && p.Status == http.StatusUnauthorized:
		s.Metrics.unauthorized.WithLabelValues("signin").Inc()
		writeSignin(w, p.Status, signinPage{Problem: p.Detail, Next: backTo(r.PostForm.Get("next"))})
	case p != nil:
		s.deny(w, "signin", p)
	case isForm:
		http.Redirect(w, r, backTo(r.PostForm.Get("next")), http.StatusSeeOther)
	default:
		writeSignedIn(w, valid.who)
	}
}

// homePath is where whoever signs in gets to, if they have not come from a page.
const homePath = "/"

// backTo is the page that somebody came from to sign in. What is no page of ours leads
// home: a link to the sign-in must not lead elsewhere.
func backTo(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || strings.ContainsAny(next, "\\\t\r\n") {
		return homePath
	}
	escaped := u.EscapedPath()
	dots := strings.NewReplacer("%2e", ".", "%2E", ".").Replace(escaped) // browsers take them for the same
	if !dashboard.IsPath(escaped) || dashboard.IsOpen(escaped) || path.Clean(dots) != dots {
		return homePath
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String()
}

// signOut takes the cookie back.
func (s *server) signOut(w http.ResponseWriter, r *http.Request) {
	if p := foreignPage(r); p != nil {
		s.deny(w, "signin", p)
		return
	}
	http.SetCookie(w, cookieFor(r, "", -1))
	if isForm(r) {
		http.Redirect(w, r, signinPath, http.StatusSeeOther)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// foreignPage refuses what a page of another site has a browser send: it could
// sign somebody in as somebody else.
func foreignPage(r *http.Request) *problem {
	if originOf(r) == foreignOrigin {
		return newProblem(http.StatusForbidden, "this is not answered to pages of another Origin")
	}
	return nil
}

// readKey reads the key that a form or a JSON object has.
func readKey(w http.ResponseWriter, r *http.Request) (key string, fromForm bool, p *problem) {
	r.Body = http.MaxBytesReader(w, r.Body, maxSigninBytes)
	var err error
	switch fromForm = isForm(r); {
	case fromForm:
		err = r.ParseForm()
		key = r.PostForm.Get("key")
	case mediaType(r) == "application/json":
		var body struct {
			Key string `json:"key"`
		}
		err = json.NewDecoder(r.Body).Decode(&body)
		key = body.Key
	default:
		return "", false, newProblem(http.StatusUnsupportedMediaType, "send key as a form or as a JSON object, and say which in Content-Type")
	}
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return "", fromForm, newProblem(http.StatusRequestEntityTooLarge, "this is too long for a key")
	}
	if err != nil {
		return "", fromForm, newProblem(http.StatusBadRequest, "the body can't be read: send key as a form or as a JSON object")
	}
	return key, fromForm, nil
}

func isForm(r *http.Request) bool { return mediaType(r) == "application/x-www-form-urlencoded" }

func mediaType(r *http.Request) string {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

// setCookie signs a browser in, for maxSignin or as long as the key is valid.
func (s *server) setCookie(w http.ResponseWriter, r *http.Request, key string, valid *validKey) *problem {
	now := s.now()
	until := now.Add(maxSignin)
	if valid.expiresAt != nil && valid.expiresAt.Before(until) {
		until = *valid.expiresAt
	}
	set := s.Keys.current(r.Context())
	if set == nil || set.sealer == nil {
		return tryAgain("nobody can sign in now: the database is unavailable")
	}
	http.SetCookie(w, cookieFor(r, set.seal(key, until), max(1, int(until.Sub(now)/time.Second))))
	return nil
}

func cookieFor(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName(r), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: isSecure(r), SameSite: http.SameSiteStrictMode,
	}
}

// cookieName begins with __Host- where it can: browsers take such a cookie from
// our own host alone, by TLS.
func cookieName(r *http.Request) string {
	if isSecure(r) {
		return "__Host-rapport"
	}
	return "rapport"
}

// cookieOf is the value of the sign-in's cookie; empty if there is none, or more
// than one.
func cookieOf(r *http.Request) string {
	cookies := r.CookiesNamed(cookieName(r))
	if len(cookies) != 1 {
		return ""
	}
	return cookies[0].Value
}

// signedIn is whose cookie was sent. Its key is looked up like any other, so that
// a key that is revoked ends it. What changes something is answered to our own
// pages alone.
func (s *server) signedIn(r *http.Request, cookie string) (*validKey, *problem) {
	set := s.Keys.current(r.Context())
	if set == nil || set.sealer == nil {
		return nil, tryAgain("whether the sign-in is valid can't be told: the database is unavailable")
	}
	key, ok := set.open(cookie, s.now())
	if !ok {
		return nil, unauthorized("the sign-in has ended: sign in again")
	}
	if !isSafe(r.Method) && originOf(r) != ownOrigin {
		return nil, newProblem(http.StatusForbidden, "whoever is signed in changes something from a page of this server alone; else send an API key")
	}
	return s.keyOf(r.Context(), key)
}

// writeSignedIn tells whoever signed in with JSON who they are.
func writeSignedIn(w http.ResponseWriter, who *access.Identity) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	agents := who.Agents
	if agents == nil {
		agents = []string{}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"name": who.Name, "scopes": who.Scopes, "agents": agents})
}
