// Package forwarded tells who is behind a proxy, by what proxies that are trusted
// say of it. It is pure.
//
// Whoever sends a request writes its headers; a proxy adds to their right. So
// they are read from right to left, and only as long as trusted proxies wrote:
// what stands left of the first address that is none is the client's invention.
package forwarded

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops bounds how many entries of a header are looked at. No request passes
// that many proxies.
const maxHops = 64

// Proxies are the address ranges of trusted proxies. None is trusted where there
// are none.
type Proxies []netip.Prefix

// Parse reads ranges such as 10.0.0.0/8,2001:db8::1, separated by commas. It is an
// error if one is no range, or has everybody in it.
func Parse(list string) (Proxies, error) {
	var proxies Proxies
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		prefix, err := parsePrefix(text)
		if err != nil {
			return nil, err
		}
		proxies = append(proxies, prefix)
	}
	return proxies, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no address range: write 10.0.0.0/8, 2001:db8::/32 or a single address", text)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch {
	case prefix.Bits() == 0:
		return netip.Prefix{}, fmt.Errorf("%q trusts everybody: name the proxies alone", text)
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q: write ranges of IPv4 as such, like 10.0.0.0/8", text)
	}
	return prefix.Masked(), nil
}

// trusts reports whether an address, as plain makes it, is a trusted proxy's.
func (p Proxies) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

// plain is an address without what hides that it is in a range.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// Origin is where a request comes from.
type Origin struct {
	// Client is who sent it, as far as trusted proxies tell: the address nearest to
	// the client that one of them vouches for. The zero Addr where Forwarded and
	// X-Forwarded-For contradict each other: a proxy wrote one of them, and the
	// client may have written the other.
	Client netip.Addr
	// Secure reports whether it came to the proxies by HTTPS.
	Secure bool
}

// Origin tells where a request comes from whose connection is the peer's. Its
// headers count only if the peer is a trusted proxy. An entry that is malformed,
// or hides an address (unknown, _hidden), ends the walk: what is right of it
// counts.
func (p Proxies) Origin(peer netip.Addr, header http.Header) Origin {
	origin := Origin{Client: plain(peer)}
	if !p.trusts(origin.Client) {
		return origin
	}
	lists, elements := header["X-Forwarded-For"], header["Forwarded"]
	byList := p.client(origin.Client, lists, splitList, listed)
	byElement := p.client(origin.Client, elements, splitElements, forOf)
	switch {
	case len(elements) == 0:
		origin.Client = byList
	case len(lists) == 0 || byList == byElement:
		origin.Client = byElement
	default:
		origin.Client = netip.Addr{}
	}
	origin.Secure = isSecure(header["X-Forwarded-Proto"], elements)
	return origin
}

// client walks the entries of a header from right to left. split cuts off the
// last one of a line; addrOf reads it.
func (p Proxies) client(last netip.Addr, lines []string,
	split func(string) (rest, entry string), addrOf func(string) (netip.Addr, bool),
) netip.Addr {
	hops := 0
	for _, rest := range slices.Backward(lines) {
		for rest != "" && p.trusts(last) && hops < maxHops {
			hops++
			var entry string
			rest, entry = split(rest)
			if entry == "" { // an empty element of a list is none: RFC 9110, 5.6.1
				continue
			}
			addr, ok := addrOf(entry)
			if !ok {
				return last
			}
			last = addr
		}
	}
	return last
}

// isSecure is what the nearest proxy says; nothing is believed where its two
// headers contradict each other.
func isSecure(protos, elements []string) bool {
	listed, isListed := lastProto(protos, splitList, func(entry string) string { return entry })
	standard, isStandard := lastProto(elements, splitElements, protoOf)
	if isListed && isStandard {
		return listed && standard
	}
	return listed || standard
}

// lastProto is whether the rightmost entry says HTTPS, and whether it says
// anything.
func lastProto(lines []string, split func(string) (rest, entry string), protoOf func(string) string) (secure, said bool) {
	if len(lines) == 0 {
		return false, false
	}
	_, entry := split(lines[len(lines)-1])
	proto := protoOf(entry)
	return strings.EqualFold(proto, "https"), proto != ""
}

// splitList cuts off what is right of the last comma.
func splitList(line string) (rest, entry string) {
	comma := strings.LastIndexByte(line, ',')
	return line[:max(comma, 0)], strings.Trim(line[comma+1:], " \t")
}

// listed reads an entry of X-Forwarded-For.
func listed(entry string) (netip.Addr, bool) {
	text, ok := unquote(entry)
	if !ok {
		return netip.Addr{}, false
	}
	return node(text)
}

// node reads an address as proxies write it: with or without a port, IPv6 in
// brackets or not. RFC 7239, section 6.
func node(text string) (netip.Addr, bool) {
	host, port, wantsV6 := text, "", false
	if inner, isBracketed := strings.CutPrefix(text, "["); isBracketed {
		host, port, wantsV6 = cutBracket(inner)
	} else if strings.Count(text, ":") == 1 {
		host, port, _ = strings.Cut(text, ":")
		port = ":" + port
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || !isPort(port) || wantsV6 && !addr.Is6() || port != "" && !wantsV6 && !addr.Is4() {
		return netip.Addr{}, false
	}
	return plain(addr), true
}

func cutBracket(inner string) (host, port string, wantsV6 bool) {
	host, port, closed := strings.Cut(inner, "]")
	if !closed {
		return "", "", true
	}
	return host, port, true
}

// isPort takes nothing, :80 and :_obfuscated.
func isPort(port string) bool {
	if port == "" {
		return true
	}
	name, hasColon := strings.CutPrefix(port, ":")
	if !hasColon || name == "" {
		return false
	}
	if hidden, isHidden := strings.CutPrefix(name, "_"); isHidden {
		return hidden != "" && strings.Trim(hidden, nameCharacters) == ""
	}
	return len(name) <= 5 && strings.Trim(name, "0123456789") == ""
}

const nameCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
