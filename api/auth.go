package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// openPaths need no API token: probes carry none, and webhooks have proofs of
// their own.
var openPaths = map[string]bool{webhookPath: true, "/healthz": true, "/readyz": true}

// authorize keeps everybody out who may not read.
func (s *server) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !openPaths[r.URL.Path] {
			if reason := s.denial(r); reason != "" {
				s.Metrics.unauthorized.WithLabelValues("read").Inc()
				unauthorized(reason).write(w)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// denial says why a request may not read; empty if it may.
func (s *server) denial(r *http.Request) string {
	if s.APIToken == "" {
		return loopbackDenial(r)
	}
	sent := r.Header.Values("Authorization")
	switch {
	case len(sent) == 0:
		return "send the API token: Authorization: Bearer <token>"
	case !hasToken(sent, s.APIToken):
		return "what Authorization: Bearer carries is not the API token"
	}
	return ""
}

// hasToken compares digests, so that the time tells nothing of the token, its
// length included.
func hasToken(authorization []string, token string) bool {
	if len(authorization) != 1 {
		return false
	}
	scheme, sent, _ := strings.Cut(authorization[0], " ")
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(strings.TrimSpace(sent)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

const setToken = "; to read from elsewhere, set RAPPORT_API_TOKEN and send it in Authorization: Bearer"

// loopbackDenial lets only this machine read, without a token. Loopback alone
// does not say that: a tunnel ends there, and so does a name that was rebound
// in a browser.
func loopbackDenial(r *http.Request) string {
	if !isLoopback(r.Host) {
		return "without an API token, reads are answered only at a loopback Host (localhost, 127.0.0.1 or [::1])" + setToken
	}
	if !isOwnOrigin(r) {
		return "without an API token, reads are not answered to pages of another Origin" + setToken
	}
	for name := range r.Header {
		if isForwarding(name) {
			return "without an API token, reads are not answered through a proxy or tunnel (the request has " + name + ")" + setToken
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
