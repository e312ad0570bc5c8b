package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"rapport/api/access"
	"rapport/api/dashboard"
)

// openPaths need no key: probes carry none, webhooks have proofs of their own, and
// who signs in has no other way yet.
var openPaths = map[string]bool{
	webhookPath: true, "/healthz": true, "/readyz": true, signinPath: true, signoutPath: true,
}

// tokenName is the name of the key that RAPPORT_API_TOKEN is; loopbackName is who
// asks from this machine, where no key is needed. No other key has these names.
const (
	tokenName    = "RAPPORT_API_TOKEN"
	loopbackName = "loopback"
)

// IsReserved reports whether a name stands for somebody who has no key of the
// database.
func IsReserved(name string) bool { return name == tokenName || name == loopbackName }

var (
	tokenIdentity    = &access.Identity{Name: tokenName, Scopes: []access.Scope{access.Admin}}
	loopbackIdentity = &access.Identity{Name: loopbackName, Scopes: []access.Scope{access.Admin}}
)

// authorize keeps everybody out who is not known, and passes on who asks.
func (s *server) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if openPaths[r.URL.Path] || isDeliveryPath(r.URL.Path) || dashboard.IsOpen(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		who, p := s.authenticate(r)
		if p != nil && dashboard.IsPath(r.URL.Path) {
			s.denyPage(w, r, p)
			return
		}
		if p != nil {
			s.deny(w, "read", p)
			return
		}
		w.Header().Set("Cache-Control", "no-store") // answers are for one key's eyes
		next.ServeHTTP(w, r.WithContext(access.With(r.Context(), who)))
	})
}

// deny answers whoever is not let in, for what they asked. All unproven requests
// but deliveries end here.
func (s *server) deny(w http.ResponseWriter, request string, p *problem) {
	switch p.Status {
	case http.StatusUnauthorized:
		s.Metrics.unauthorized.WithLabelValues(request).Inc()
	case http.StatusForbidden:
		s.Metrics.forbidden.Inc()
	}
	p.write(w)
}

// authenticate finds out who asks: by a key in Authorization, else by a sign-in's
// cookie, else by where the request comes from.
func (s *server) authenticate(r *http.Request) (*access.Identity, *problem) {
	if sent, ok := bearer(r.Header.Values("Authorization")); ok && (s.APIToken != "" || access.IsKey(sent)) {
		valid, p := s.keyOf(r.Context(), sent)
		if p != nil {
			return nil, p
		}
		return valid.who, nil
	}
	cookie := cookieOf(r)
	if cookie == "" {
		return s.withoutKey(r)
	}
	valid, p := s.signedIn(r, cookie)
	if p == nil {
		return valid.who, nil
	}
	if p.Status == http.StatusUnauthorized {
		if who, denied := s.withoutKey(r); denied == nil {
			return who, nil
		}
	}
	return nil, p
}

// seemsKnown reports whether a request has what lets it in, by what is in memory:
// it waits for nothing. Whether that still is so authenticate tells.
func (s *server) seemsKnown(r *http.Request) bool {
	set := s.Keys.last()
	if sent, ok := bearer(r.Header.Values("Authorization")); ok && (s.APIToken != "" || access.IsKey(sent)) {
		return s.seemsKey(set, sent)
	}
	if cookie := cookieOf(r); cookie != "" && set != nil && set.sealer != nil {
		if key, ok := set.open(cookie, s.now()); ok && s.seemsKey(set, key) {
			return true
		}
	}
	needsNone := s.APIToken == "" && !s.Exposed && set != nil && len(set.keys) == 0
	return needsNone && loopbackDenial(r) == ""
}

// seemsKey reports whether a text is the token or one of the keys of a set.
func (s *server) seemsKey(set *keySet, sent string) bool {
	if s.APIToken != "" && equal(sent, s.APIToken) {
		return true
	}
	if set == nil || !access.IsKey(sent) {
		return false
	}
	key := set.find(access.HashOf(sent))
	return key != nil && !key.hasExpired(s.now())
}

// bearer is what Authorization: Bearer carries.
func bearer(authorization []string) (string, bool) {
	if len(authorization) != 1 {
		return "", false
	}
	scheme, sent, _ := strings.Cut(authorization[0], " ")
	return strings.TrimSpace(sent), strings.EqualFold(scheme, "Bearer")
}

// validKey is a key that was sent and is valid.
type validKey struct {
	who       *access.Identity
	expiresAt *time.Time // nil: never
}

// keyOf is whose key was sent. Of one that has not the form of a key no more than
// a digest is made.
func (s *server) keyOf(ctx context.Context, sent string) (*validKey, *problem) {
	if s.APIToken != "" && equal(sent, s.APIToken) {
		return &validKey{who: tokenIdentity}, nil
	}
	if !access.IsKey(sent) {
		return nil, unauthorized("this is no API key")
	}
	key, known := s.Keys.find(ctx, sent)
	switch {
	case !known:
		return nil, tryAgain("whether the API key is valid can't be told: the database is unavailable")
	case key == nil:
		return nil, unauthorized("there is no such API key, or it was revoked")
	case key.hasExpired(s.now()):
		return nil, unauthorized("the API key has expired")
	}
	s.Keys.touch(key.id, s.now())
	return &validKey{&key.who, key.expiresAt}, nil
}

// equal compares digests, so that the time tells nothing of the token, its length
// included.
func equal(sent, token string) bool {
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(sent))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// withoutKey lets this machine in as long as there is no key, unless the server
// listens for others too.
func (s *server) withoutKey(r *http.Request) (*access.Identity, *problem) {
	needed := unauthorized("send an API key: Authorization: Bearer <key>; rapport key create makes one")
	if s.APIToken != "" || s.Exposed {
		return nil, needed
	}
	if reason := loopbackDenial(r); reason != "" {
		return nil, unauthorized(reason)
	}
	set := s.Keys.current(r.Context())
	if set == nil {
		return nil, tryAgain("whether an API key is needed can't be told: the database is unavailable")
	}
	if len(set.keys) > 0 {
		return nil, needed
	}
	return loopbackIdentity, nil
}

const setToken = "; to read from elsewhere, set RAPPORT_API_TOKEN, or make a key with rapport key create, and send it in Authorization: Bearer"

// loopbackDenial lets only this machine in, without a key. Loopback alone
// does not say that: a tunnel ends there, and so does a name that was rebound
// in a browser.
func loopbackDenial(r *http.Request) string {
	if !isLoopback(r.Host) {
		return "without an API key, reads are answered only at a loopback Host (localhost, 127.0.0.1 or [::1])" + setToken
	}
	if !isOwnOrigin(r) || !isSafe(r.Method) && originOf(r) == foreignOrigin {
		return "without an API key, reads are not answered to pages of another Origin" + setToken
	}
	for name := range r.Header {
		if isForwarding(name) {
			return "without an API key, reads are not answered through a proxy or tunnel (the request has " + name + ")" + setToken
		}
	}
	return ""
}

// isLoopback tells of a Host, with or without a port.
func isLoopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.IsLoopback()
}

// isOwnOrigin reports whether a request comes from no page, or from one of ours.
func isOwnOrigin(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	return len(origins) == 1 &&
		(strings.EqualFold(origins[0], "http://"+r.Host) || strings.EqualFold(origins[0], "https://"+r.Host))
}

// origin is which page a request comes from, as its browser tells.
type origin int

const (
	untoldOrigin origin = iota // it comes from no browser, or from an old one
	ownOrigin
	foreignOrigin
)

func originOf(r *http.Request) origin {
	if sites := r.Header.Values("Sec-Fetch-Site"); len(sites) > 0 {
		if len(sites) == 1 && sites[0] == "same-origin" && isOwnOrigin(r) {
			return ownOrigin
		}
		return foreignOrigin
	}
	switch {
	case len(r.Header.Values("Origin")) == 0:
		return untoldOrigin
	case isOwnOrigin(r):
		return ownOrigin
	}
	return foreignOrigin
}

// isSafe reports whether a method changes nothing: RFC 9110, 9.2.1.
func isSafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// forwardingHeaders are what proxies and tunnels add, in net/http's spelling.
var forwardingHeaders = map[string]bool{
	"Forwarded": true, "Via": true, "X-Real-Ip": true, "X-Client-Ip": true, "X-Cluster-Client-Ip": true,
	"X-Original-Host": true, "X-Original-Forwarded-For": true, "X-Proxyuser-Ip": true, "Client-Ip": true,
	"True-Client-Ip": true, "Cf-Connecting-Ip": true, "Cf-Ray": true, "Cdn-Loop": true, "Fastly-Client-Ip": true,
	"Fly-Client-Ip": true,
}

func isForwarding(name string) bool {
	return forwardingHeaders[name] || strings.HasPrefix(name, "X-Forwarded") ||
		strings.HasPrefix(name, "Ngrok-") || strings.HasPrefix(name, "X-Ngrok-")
}
