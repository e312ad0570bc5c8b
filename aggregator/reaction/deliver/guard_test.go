package deliver

import (
	"net/netip"
	"testing"
)

func TestOnlyPublicAddressesAreSentTo(t *testing.T) {
	t.Parallel()
	g := guard{prefixes("10.1.0.0/16", "fd00:1::/32")}
	for _, address := range []string{
		"127.0.0.1:80", "127.255.255.254:80", "[::1]:80", "0.0.0.0:80", "[::]:80", "0.1.2.3:80",
		"10.0.0.1:80", "172.16.0.1:80", "172.31.255.255:80", "192.168.0.1:80", "[fc00::1]:80", "[fdff::1]:80",
		"169.254.169.254:80", "[fe80::1]:80", "[fe80::1%eth0]:80", "[fd00:ec2::254]:80", "100.100.100.200:80", "168.63.129.16:80",
		"192.0.0.192:80", "100.64.0.1:80", "100.127.255.255:80", "224.0.0.1:80", "239.1.2.3:80", "[ff02::1]:80", "255.255.255.255:80",
		"240.0.0.1:80", "198.18.0.1:80", "192.0.2.1:80", "198.51.100.1:80", "203.0.113.1:80",
		"[::ffff:127.0.0.1]:80", "[::ffff:169.254.169.254]:80", "[::127.0.0.1]:80", "[64:ff9b::7f00:1]:80", "[64:ff9b::a9fe:a9fe]:80",
		"[64:ff9b:1::1]:80", "[2002:7f00:1::]:80", "[2001::1]:80", "[2001:db8::1]:80", "[fec0::1]:80", "[100::1]:80",
		"10.2.0.1:80", "[fd00:2::1]:80", "localhost:80", "/run/socket", "",
	} {
		if g.control("tcp4", address, nil) == nil || g.control("tcp6", address, nil) == nil {
			t.Errorf("%s may be sent to", address)
		}
	}
	for _, address := range []string{
		"1.1.1.1:443", "172.15.255.255:80", "172.32.0.1:80", "100.63.255.255:80", "100.128.0.1:80", "[2606:4700::1111]:443", "[2a00::1]:80",
		"10.1.2.3:80", "[::ffff:10.1.2.3]:80", "[fd00:1::1]:80", "[fd00:1::1%eth0]:80", "[::ffff:8.8.8.8]:53",
	} {
		if err := g.control("tcp4", address, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, network := range []string{"tcp", "udp4", "unix"} {
		if g.control(network, "1.1.1.1:443", nil) == nil {
			t.Errorf("%s may be used", network)
		}
	}
	if (guard{}).check(netip.Addr{}) == nil {
		t.Error("no address at all may be sent to")
	}
}
