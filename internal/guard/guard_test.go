package guard_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"rapport/internal/guard"
)

func TestOnlyTheInternetIsReached(t *testing.T) {
	t.Parallel()
	var g guard.Guard
	for _, address := range []string{
		"127.0.0.1:80", "127.255.255.254:443", "0.0.0.0:80", "10.1.2.3:80", "172.16.0.1:80", "172.31.255.255:80", "192.168.0.1:80",
		"169.254.169.254:80", "100.64.0.1:80", "100.100.100.200:80", "100.127.255.255:80", "192.0.0.192:80", "168.63.129.16:80",
		"224.0.0.1:80", "239.1.1.1:80", "240.0.0.1:80", "255.255.255.255:80", "198.18.0.1:80", "203.0.113.9:80",
		"[::]:80", "[::1]:80", "[fe80::1]:80", "[fe80::1%lo]:80", "[fc00::1]:80", "[fd00:ec2::254]:80", "[ff02::1]:80", "[fec0::1]:80",
		"[::ffff:127.0.0.1]:80", "[::ffff:10.0.0.1]:80", "[::ffff:169.254.169.254]:80", "[::127.0.0.1]:80",
		"[64:ff9b::7f00:1]:80", "[64:ff9b::808:808]:80", "[64:ff9b:1::a00:1]:80", "[2002:7f00:1::]:80", "[2001:0:1::]:80",
		"[2001:db8::1]:80", "[100::1]:80", "localhost:80", "", "/run/rapport.sock", "127.1:80", "0x7f.1:80",
	} {
		if err := g.Control("tcp", address, nil); !errors.Is(err, guard.ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", address, err)
		}
	}
	for _, address := range []string{
		"8.8.8.8:443", "1.1.1.1:80", "172.15.255.255:80", "172.32.0.1:80", "100.63.255.255:80", "100.128.0.1:80", "169.253.1.1:80",
		"223.255.255.254:80", "[2606:4700:4700::1111]:443", "[::ffff:8.8.8.8]:443", "[2a00:1450:4001::1]:443",
	} {
		if err := g.Control("tcp", address, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestANetworkThatIsAllowedIsReached(t *testing.T) {
	t.Parallel()
	g := guard.New([]netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fe80::/10")})
	for address, want := range map[string]bool{
		"10.20.3.4": true, "::ffff:10.20.3.4": true, "10.21.0.1": false, "127.0.0.1": false, "fe80::1%eth0": true, "8.8.8.8": true,
	} {
		if err := g.Check(netip.MustParseAddr(address)); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestARequestToANeighbourIsNeverSent(t *testing.T) {
	t.Parallel()
	asked := false
	neighbour := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer neighbour.Close()
	transport := guard.New(nil).Transport()
	defer transport.CloseIdleConnections()
	_, err := (&http.Client{Transport: transport}).Get(neighbour.URL)
	if !errors.Is(err, guard.ErrRefused) || asked {
		t.Errorf("%v, asked %t", err, asked)
	}
}
