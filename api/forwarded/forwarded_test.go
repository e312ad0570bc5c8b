package forwarded

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func proxies(t testing.TB, list string) Proxies {
	t.Helper()
	p, err := Parse(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// header makes a header of name, value pairs, in their order.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestTheClientBehindTrustedProxies(t *testing.T) {
	t.Parallel()
	const xff, fwd = "X-Forwarded-For", "Forwarded"
	trusted := proxies(t, "10.0.0.0/8, 2001:db8:ff::/48,192.0.2.1")
	for name, test := range map[string]struct {
		peer   string
		header http.Header
		want   string // empty: it can't be told
	}{
		"a peer that is not trusted is the client, whatever it says": {"203.0.113.9", header(xff, "1.1.1.1", fwd, "for=1.1.1.1"), "203.0.113.9"},
		"a trusted peer that says nothing is the client":             {"10.0.0.1", header(), "10.0.0.1"},
		"the client is what the proxy adds":                          {"10.0.0.1", header(xff, "203.0.113.9"), "203.0.113.9"},
		"what the client wrote is left of it":                        {"10.0.0.1", header(xff, "1.1.1.1, 10.0.0.9, 203.0.113.9"), "203.0.113.9"},
		"a chain of proxies is walked":                               {"10.0.0.1", header(xff, "1.1.1.1, 203.0.113.9, 10.0.0.9, 192.0.2.1"), "203.0.113.9"},
		"lines are one list":                                         {"10.0.0.1", header(xff, "1.1.1.1", xff, "203.0.113.9, 10.0.0.3", xff, "10.0.0.2"), "203.0.113.9"},
		"all of them are trusted: the leftmost":                      {"10.0.0.1", header(xff, "10.0.0.7, 10.0.0.8"), "10.0.0.7"},
		"a malformed entry ends the walk":                            {"10.0.0.1", header(xff, "1.1.1.1, nonsense, 10.0.0.2"), "10.0.0.2"},
		"a malformed entry at the right ends it at the peer":         {"10.0.0.1", header(xff, "1.1.1.1, 999.1.1.1"), "10.0.0.1"},
		"empty entries are none":                                     {"10.0.0.1", header(xff, "203.0.113.9, , 10.0.0.2,"), "203.0.113.9"},
		"a port is cut off":                                          {"10.0.0.1", header(xff, "203.0.113.9:4711"), "203.0.113.9"},
		"IPv6":                                                       {"10.0.0.1", header(xff, "2001:DB8::9"), "2001:db8::9"},
		"IPv6 in brackets, with a port":                              {"10.0.0.1", header(xff, "[2001:db8::9]:4711"), "2001:db8::9"},
		"IPv6 in quotes":                                             {"10.0.0.1", header(xff, `"[2001:db8::9]"`), "2001:db8::9"},
		"IPv4 in brackets is malformed":                              {"10.0.0.1", header(xff, "[203.0.113.9]"), "10.0.0.1"},
		"a port of letters is malformed":                             {"10.0.0.1", header(xff, "203.0.113.9:http"), "10.0.0.1"},
		"IPv4 as IPv6 is IPv4":                                       {"::ffff:10.0.0.1", header(xff, "203.0.113.9, ::ffff:10.0.0.2"), "203.0.113.9"},
		"a zone hides no proxy":                                      {"2001:db8:ff::1%eth0", header(xff, "203.0.113.9, 2001:db8:ff::2%x"), "203.0.113.9"},

		"Forwarded":                               {"10.0.0.1", header(fwd, "for=203.0.113.9"), "203.0.113.9"},
		"of many parameters, in any case":         {"10.0.0.1", header(fwd, `by=10.0.0.1;FOR="203.0.113.9:80";Proto=https`), "203.0.113.9"},
		"Forwarded from right to left":            {"10.0.0.1", header(fwd, `for=1.1.1.1, for=203.0.113.9;host="a,b", For=10.0.0.2`), "203.0.113.9"},
		"Forwarded, IPv6":                         {"10.0.0.1", header(fwd, `for="[2001:db8::9]:_port"`), "2001:db8::9"},
		"Forwarded, IPv6 without its quotes":      {"10.0.0.1", header(fwd, `for=[2001:db8::9]`), "2001:db8::9"},
		"Forwarded, escaped":                      {"10.0.0.1", header(fwd, `for="203.0.113.\9"`), "203.0.113.9"},
		"unknown ends the walk":                   {"10.0.0.1", header(fwd, "for=1.1.1.1, for=unknown, for=10.0.0.2"), "10.0.0.2"},
		"a hidden one ends the walk":              {"10.0.0.1", header(fwd, "for=1.1.1.1, for=_hidden, for=10.0.0.2"), "10.0.0.2"},
		"an element without for ends the walk":    {"10.0.0.1", header(fwd, "for=1.1.1.1, proto=https"), "10.0.0.1"},
		"two fors in one element are malformed":   {"10.0.0.1", header(fwd, "for=1.1.1.1;for=2.2.2.2"), "10.0.0.1"},
		"a client's open quote hides nothing":     {"10.0.0.1", header(fwd, `for="x, for=203.0.113.9`), "203.0.113.9"},
		"nor does one before a quoted element":    {"10.0.0.1", header(fwd, `for=9.9.9.9;x=", for="[2001:db8::9]:47"`), "2001:db8::9"},
		"nor an escaped one":                      {"10.0.0.1", header(fwd, `for="\", for="[2001:db8::9]:47"`), "2001:db8::9"},
		"a comma in the proxy's quotes cuts none": {"10.0.0.1", header(fwd, `for=203.0.113.9;host="a\",b"`), "203.0.113.9"},

		"both headers, of one mind":       {"10.0.0.1", header(xff, "203.0.113.9", fwd, "for=203.0.113.9"), "203.0.113.9"},
		"both headers, of two minds":      {"10.0.0.1", header(xff, "203.0.113.9", fwd, "for=1.1.1.1"), ""},
		"both headers, one of them empty": {"10.0.0.1", header(xff, "203.0.113.9", fwd, ""), ""},
		"a peer that is no address":       {"", header(xff, "203.0.113.9"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var peer, want netip.Addr
			if test.peer != "" {
				peer = netip.MustParseAddr(test.peer)
			}
			if test.want != "" {
				want = netip.MustParseAddr(test.want)
			}
			if got := trusted.Origin(peer, test.header).Client; got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestALongListIsLookedAtInPart(t *testing.T) {
	t.Parallel()
	trusted := proxies(t, "10.0.0.0/8")
	long := "203.0.113.9" + strings.Repeat(", 10.0.0.2", maxHops)
	for _, name := range []string{"X-Forwarded-For", "Forwarded"} {
		value := long
		if name == "Forwarded" {
			value = "for=" + strings.ReplaceAll(long, ", ", ", for=")
		}
		got := trusted.Origin(netip.MustParseAddr("10.0.0.1"), header(name, value)).Client
		if want := netip.MustParseAddr("10.0.0.2"); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestHTTPSToTheProxy(t *testing.T) {
	t.Parallel()
	const proto, fwd = "X-Forwarded-Proto", "Forwarded"
	trusted := proxies(t, "10.0.0.0/8")
	for name, test := range map[string]struct {
		peer   string
		header http.Header
		want   bool
	}{
		"nothing is said":                  {"10.0.0.1", header(), false},
		"https":                            {"10.0.0.1", header(proto, "HTTPS"), true},
		"http":                             {"10.0.0.1", header(proto, "http"), false},
		"the nearest proxy's word counts":  {"10.0.0.1", header(proto, "https, http"), false},
		"Forwarded":                        {"10.0.0.1", header(fwd, `for=1.1.1.1;proto="https"`), true},
		"Forwarded, of the nearest proxy":  {"10.0.0.1", header(fwd, "for=1.1.1.1;proto=https, for=2.2.2.2;proto=http"), false},
		"Forwarded without a word of it":   {"10.0.0.1", header(fwd, "for=1.1.1.1", proto, "https"), true},
		"contradictions":                   {"10.0.0.1", header(fwd, "for=1.1.1.1;proto=https", proto, "http"), false},
		"a peer that is not trusted lies":  {"203.0.113.9", header(proto, "https", fwd, "proto=https"), false},
		"a malformed element says nothing": {"10.0.0.1", header(fwd, `proto=https;proto=https`), false},
	} {
		if got := trusted.Origin(netip.MustParseAddr(test.peer), test.header).Secure; got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestRangesOfProxies(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]string{
		"":                             nil,
		" 10.1.2.3/8 ,, 192.0.2.1":     {"10.0.0.0/8", "192.0.2.1/32"},
		"2001:db8::1,::ffff:192.0.2.1": {"2001:db8::1/128", "192.0.2.1/32"},
	} {
		var got []string
		for _, prefix := range proxies(t, list) {
			got = append(got, prefix.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", list, got, want)
		}
	}
	for _, list := range []string{"0.0.0.0/0", "10.0.0.0/8,::/0", "10.0.0.0/33", "proxy.example", "fe80::1%eth0", "::ffff:10.0.0.0/104"} {
		if got, err := Parse(list); err == nil {
			t.Errorf("%q: got %v", list, got)
		}
	}
}

// FuzzOrigin builds headers of what a client wrote and what trusted proxies added
// to it, as they do.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{
		"", "1.1.1.1", "1.1.1.1, 10.0.0.9", "nonsense", `"`, `for="`, `for="\`, `for=1.1.1.1;host="`, "for=unknown, for=_x",
		"[::1]:80", "::ffff:10.0.0.3", "10.0.0.2%x", ",,,,", `for="[::1%]"`, "for=10.0.0.2;;proto=https",
	} {
		f.Add(seed, "203.0.113.9", uint8(2))
		f.Add(seed, "2001:db8::9", uint8(0))
	}
	trusted := proxies(f, "10.0.0.0/8,2001:db8:ff::/48")
	peer := netip.MustParseAddr("10.0.0.1")
	f.Fuzz(func(t *testing.T, invented, client string, hops uint8) {
		for _, value := range []string{invented, client} { // whatever it is, it is taken calmly
			isTrustedOnly(t, trusted, header("X-Forwarded-For", value))
			isTrustedOnly(t, trusted, header("Forwarded", value))
			trusted.Origin(peer, header("X-Forwarded-For", value, "Forwarded", invented, "X-Forwarded-Proto", value))
		}
		addr, err := netip.ParseAddr(client)
		if err != nil {
			return
		}
		addr = plain(addr)
		if trusted.trusts(addr) || strings.ContainsAny(invented, "\r\n") {
			return
		}
		list, elements := addr.String(), `for="`+addr.String()+`"`
		if addr.Is6() {
			elements = `for="[` + addr.String() + `]:4711";proto=https`
		}
		more := strings.Repeat(", 10.0.0.2", int(hops%8))
		standard := strings.ReplaceAll(more, "10.", "for=10.")
		for name, h := range map[string]http.Header{
			"X-Forwarded-For":           header("X-Forwarded-For", invented+", "+list+more),
			"X-Forwarded-For, in lines": header("X-Forwarded-For", invented, "X-Forwarded-For", list+more),
			"Forwarded":                 header("Forwarded", invented+", "+elements+standard),
			"Forwarded, in lines":       header("Forwarded", invented, "Forwarded", elements+standard),
		} {
			if got := trusted.Origin(peer, h).Client; got != addr {
				t.Errorf("%s: got %v of %q, want %v", name, got, h, addr)
			}
		}
	})
}

// isTrustedOnly checks that an address inside the trusted ranges is the result
// only where every address that was vouched for is inside them.
func isTrustedOnly(t *testing.T, trusted Proxies, h http.Header) {
	t.Helper()
	peer := netip.MustParseAddr("10.0.0.1")
	got := trusted.Origin(peer, h).Client
	if !got.IsValid() {
		t.Errorf("no client in %q", h)
	}
	// With an untrusted address added by the nearest proxy, it is always that one.
	for name, values := range h {
		entry := "198.51.100.7"
		if name == "Forwarded" {
			entry = "for=" + entry
		}
		with := header(name, values[0], name, entry)
		if got := trusted.Origin(peer, with).Client; got != netip.MustParseAddr("198.51.100.7") {
			t.Errorf("got %v of %q", got, with)
		}
	}
}
