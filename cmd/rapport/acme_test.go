package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	pebbleca "github.com/letsencrypt/pebble/v2/ca"
	pebbledb "github.com/letsencrypt/pebble/v2/db"
	pebbleva "github.com/letsencrypt/pebble/v2/va"
	pebblewfe "github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

const acmeDomain = "rapport.test"

// acmeServer is an ACME authority on this machine, which finds every name here.
type acmeServer struct {
	*httptest.Server
	roots    *x509.CertPool // of the certificates that it issues
	rootFile string         // of its own server
}

func startACME(t *testing.T, httpPort, tlsPort int) *acmeServer {
	t.Helper()
	logger := log.New(io.Discard, "", 0)
	db := pebbledb.NewMemoryStore()
	ca := pebbleca.New(logger, db, "", "ecdsa", 0, 1, map[string]pebbleca.Profile{"default": {}})
	va := pebbleva.New(logger, httpPort, tlsPort, true, startDNS(t), db)
	wfe := pebblewfe.New(logger, db, va, ca, []string{"ca.test"}, true, false, 1, 1)
	s := &acmeServer{Server: httptest.NewTLSServer(wfe.Handler()), roots: x509.NewCertPool()}
	t.Cleanup(s.Close)
	s.roots.AddCert(ca.GetRootCert(0).Cert)
	s.rootFile = filepath.Join(t.TempDir(), "root.pem")
	write(t, s.rootFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return s
}

// startDNS runs a name server for which every name is this machine's.
func startDNS(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // pebble asks by TCP
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: listener, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		reply := new(dns.Msg).SetReply(query)
		for _, q := range query.Question {
			if q.Qtype == dns.TypeA {
				header := dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET}
				reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
			}
		}
		_ = w.WriteMsg(reply)
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.ShutdownContext(context.Background()) })
	return listener.Addr().String()
}

// freePort is one that nobody listens on, for now.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return portOf(listener)
}

// Not parallel: the authority is configured by the environment.
func TestACME(t *testing.T) {
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	for _, way := range []string{"TLS-ALPN-01", "HTTP-01"} {
		t.Run("a certificate by "+way, func(t *testing.T) {
			tlsPort, httpPort := freePort(t), freePort(t)
			listen := "127.0.0.1:" + strconv.Itoa(tlsPort)
			challenges := "127.0.0.1:" + strconv.Itoa(httpPort)
			dir := dataDir(t)
			args := []string{"serve", "--listen", listen, "--data-dir", dir, "--acme-domain", acmeDomain, "--acme-email", "ops@rapport.test"}
			authorityTLSPort := tlsPort
			if way == "HTTP-01" {
				args = append(args, "--acme-http-listen", challenges)
				authorityTLSPort = freePort(t) // where nobody answers
			}
			authority := startACME(t, httpPort, authorityTLSPort)
			args = append(args, "--acme-ca", authority.URL+pebblewfe.DirectoryPath, "--acme-ca-root", authority.rootFile)
			p := start(t, command(args))
			if want := "https://" + acmeDomain + ":" + strconv.Itoa(tlsPort); p.base != want {
				t.Errorf("it says that it is at %s", p.base)
			}
			secure := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
				DisableKeepAlives: true,
				TLSClientConfig:   &tls.Config{RootCAs: authority.roots, ServerName: acmeDomain},
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, listen)
				},
			}}
			delivers := func() bool {
				response, err := secure.Post(p.base+"/webhook", "application/json", strings.NewReader(roomJoin))
				if err != nil {
					return false
				}
				_ = response.Body.Close()
				return response.StatusCode == 200
			}
			eventually(t, "a delivery by HTTPS, with the authority's certificate", delivers)
			if way == "HTTP-01" {
				sendsOn(t, "http://"+challenges, p.base)
			}
			private(t, filepath.Join(dir, "acme"))
			p.terminate()

			authority.Close()
			p = start(t, command(args))
			if !delivers() {
				t.Errorf("after a restart, without the authority:\n%s", p.output())
			}
			p.terminate()
		})
	}
}

// sendsOn checks what plain HTTP is answered: reads are sent to HTTPS, and nothing
// else is.
func sendsOn(t *testing.T, plain, secure string) {
	t.Helper()
	stay := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, test := range []struct {
		method, host string
		want         int
	}{{"GET", acmeDomain, 301}, {"POST", acmeDomain, 403}, {"GET", "evil.example", 403}} {
		request, err := http.NewRequest(test.method, plain+"/sessions?limit=5", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = test.host
		response, err := stay.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != test.want || test.want == 301 && response.Header.Get("Location") != secure+"/sessions?limit=5" {
			t.Errorf("%s of %s: %s, to %q", test.method, test.host, response.Status, response.Header.Get("Location"))
		}
	}
}

// private checks that nobody else can read what is in a directory.
func private(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
