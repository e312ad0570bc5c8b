package deliver

import (
	"fmt"
	"net/netip"
	"syscall"
)

// special are the networks of no public host, besides those that netip knows. See the
// special-purpose address registries of IANA (RFC 6890), and the clouds' manuals.
var special = prefixes(
	"0.0.0.0/8",        // this network
	"100.64.0.0/10",    // carrier-grade NAT
	"168.63.129.16/32", // Azure's own services
	"192.0.0.0/24",     // protocol assignments, Oracle's metadata
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // 6to4 relays
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"240.0.0.0/4",      // reserved, broadcast
	"::/96",            // IPv4-compatible
	"64:ff9b::/96",     // NAT64: any IPv4 address behind it
	"64:ff9b:1::/48",   // NAT64 of local use
	"100::/64",         // discard
	"2001::/23",        // protocol assignments, Teredo among them
	"2001:db8::/32",    // documentation
	"2002::/16",        // 6to4: any IPv4 address behind it
	"3fff::/20",        // documentation
	"5f00::/16",        // segment routing
	"fec0::/10",        // site-local
)

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// refusedError says that an address may not be sent to.
type refusedError struct{ addr netip.Addr }

func (e *refusedError) Error() string {
	return fmt.Sprintf("%s is no public address: it must be among the allowed networks", e.addr)
}

// guard keeps deliveries from reaching what only we can reach. It looks at the address
// that is really dialled, so that no name can lead elsewhere than it led when it was looked
// at.
type guard struct{ allow []netip.Prefix }

// control is for net.Dialer.Control.
func (g guard) control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("a delivery may not go by %s", network)
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%q is no address", address)
	}
	return g.check(at.Addr())
}

// check is a *refusedError for an address that may not be sent to.
func (g guard) check(addr netip.Addr) error {
	addr = addr.WithZone("").Unmap()
	for _, allowed := range g.allow {
		if allowed.Contains(addr) {
			return nil
		}
	}
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || isIn(special, addr) {
		return &refusedError{addr}
	}
	return nil
}

func isIn(networks []netip.Prefix, addr netip.Addr) bool {
	for _, network := range networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}
