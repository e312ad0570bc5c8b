package api

import (
	"context"
	"net/http"
	"net/netip"

	"rapport/api/forwarded"
)

type originKey struct{}

// arrive is around every request: it finds out where it comes from.
func (s *server) arrive(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(s.TrustedProxies) > 0 {
			origin := s.TrustedProxies.Origin(peerOf(r), r.Header)
			r = r.WithContext(context.WithValue(r.Context(), originKey{}, origin))
		}
		if isSecure(r) {
			w.Header()["Strict-Transport-Security"] = strictTransport
		}
		// Where a length was declared, too, somebody before us may have read another
		// body: what follows this request could be theirs or a part of it.
		if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
			w.Header()["Connection"] = closeConnection
		}
		next.ServeHTTP(w, r)
	})
}

var closeConnection = []string{"close"}

// strictTransport has browsers come by HTTPS alone, for a year.
var strictTransport = []string{"max-age=31536000"}

// peerOf is the address at the other end of the connection; the zero Addr where it
// can't be told.
func peerOf(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap()
}

// clientOf is the address that a request came from: the peer's, or what trusted
// proxies tell of it. It is the zero Addr, which is in no range, where that can't
// be told.
func clientOf(r *http.Request) netip.Addr {
	if origin, ok := r.Context().Value(originKey{}).(forwarded.Origin); ok {
		return origin.Client
	}
	return peerOf(r)
}

// isSecure reports whether a request came by HTTPS, to us or to a trusted proxy:
// whether its cookies are to be Secure.
func isSecure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	origin, _ := r.Context().Value(originKey{}).(forwarded.Origin)
	return origin.Secure
}
