package api

import (
	"net/http"
	"net/netip"
)

// clientOf is the address that a request came from; the zero Addr where it can't
// be told.
func clientOf(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap()
}
