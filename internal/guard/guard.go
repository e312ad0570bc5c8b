// Package guard keeps what a server sends to others out of networks that are not the
// internet: a name that somebody else controls may lead to loopback, to a neighbour or
// to a cloud's metadata. It looks at the address that is really dialed, so neither DNS
// nor a redirect leads around it.
package guard

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// Guard refuses addresses. The zero value allows the internet alone.
type Guard struct{ allowed []netip.Prefix }

// New makes a guard that allows these networks beside the internet.
func New(allowed []netip.Prefix) *Guard {
	return &Guard{allowed: allowed}
}

// ErrRefused says that an address is not of the internet, and not allowed.
var ErrRefused = errors.New("is not an address of the internet, and its network is not allowed (--outbound-allow)")

// RefusedError is ErrRefused of an address.
type RefusedError struct{ Address string }

func (e *RefusedError) Error() string { return e.Address + " " + ErrRefused.Error() }

// Unwrap is ErrRefused.
func (e *RefusedError) Unwrap() error { return ErrRefused }

// Check is a *RefusedError for an address that may not be reached. An IPv4 address in IPv6's
// clothes is the IPv4 address.
func (g *Guard) Check(addr netip.Addr) error {
	addr = addr.WithZone("").Unmap()
	for _, network := range g.allowed {
		if network.Contains(addr) {
			return nil
		}
	}
	if !isOfInternet(addr) {
		return &RefusedError{addr.String()}
	}
	return nil
}

// Control is for net.Dialer: it sees each address right before it is dialed.
func (g *Guard) Control(_, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return &RefusedError{address} // what can't be told is not allowed
	}
	return g.Check(target.Addr())
}

// Transport is for requests to what the guard allows. No proxy of the environment is
// used, for the guard would see the proxy's address alone.
func (g *Guard) Transport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 10 * time.Second, Control: g.Control}
	return &http.Transport{
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   2,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
	}
}

// isOfInternet reports whether an address is one that anybody may have. Of IPv6 that is
// 2000::/3 alone, which leaves out what is local and what stands for IPv4 (NAT64 among
// it): it might stand for a private one.
func isOfInternet(addr netip.Addr) bool {
	if !addr.IsValid() || addr.Is6() && !globalUnicast.Contains(addr) {
		return false
	}
	for _, network := range special {
		if network.Contains(addr) {
			return false
		}
	}
	return true
}

var globalUnicast = netip.MustParsePrefix("2000::/3")

// special are the networks of the IANA's registries of special-purpose addresses that
// nobody on the internet has, and those with a metadata service.
var special = prefixes(
	"0.0.0.0/8",        // this network
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // behind a carrier's NAT
	"127.0.0.0/8",      // loopback
	"169.254.0.0/16",   // link-local; metadata of most clouds
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // of the IETF; metadata of Oracle's cloud
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // 6to4 relays
	"192.168.0.0/16",   // private
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved; broadcast
	"168.63.129.16/32", // metadata of Azure, within its public range
	"2001::/23",        // of the IETF; Teredo, which stands for IPv4
	"2001:db8::/32",    // documentation
	"2002::/16",        // 6to4, which stands for IPv4
	"3fff::/20",        // documentation
)

func prefixes(texts ...string) []netip.Prefix {
	networks := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		networks[i] = netip.MustParsePrefix(text)
	}
	return networks
}
