package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testCA signs certificates for tests.
type testCA struct {
	key   *ecdsa.PrivateKey
	root  *x509.Certificate
	roots *x509.CertPool
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	ca := &testCA{roots: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a CA for tests"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if ca.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	ca.roots.AddCert(ca.root)
	return ca
}

// issue makes a certificate for this machine, as PEM.
func (ca *testCA) issue(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.root, &private.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// serial is that of the certificate that a server shows.
func serial(t *testing.T, addr string, config *tls.Config) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestTLSFromFiles(t *testing.T) {
	t.Parallel()
	ca, dir := newTestCA(t), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert, key := ca.issue(t, 100)
	write(t, certFile, cert)
	write(t, keyFile, key)
	p := serve(t, []string{"--tls-cert", certFile, "--tls-key", keyFile})
	addr, isSecure := strings.CutPrefix(p.base, "https://")
	if !isSecure {
		t.Fatalf("it says that it is at %s", p.base)
	}
	trusting := &tls.Config{RootCAs: ca.roots}
	transport := &http.Transport{TLSClientConfig: trusting, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	secure := &http.Client{Transport: transport, Timeout: time.Minute}

	t.Run("deliveries and reads, by HTTP/2, with HSTS", func(t *testing.T) {
		response, err := secure.Post(p.base+"/webhook", "application/json", strings.NewReader(roomJoin))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != 200 || response.ProtoMajor != 2 {
			t.Errorf("%s %s", response.Proto, response.Status)
		}
		response, err = secure.Get(p.base + "/sessions?min_position=1")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != 200 {
			t.Errorf("a read from this machine: %s", response.Status)
		}
		if got := response.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
			t.Errorf("Strict-Transport-Security: %q", got)
		}
	})
	t.Run("nothing older than TLS 1.2, and no plain HTTP", func(t *testing.T) {
		if conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.roots, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
			_ = conn.Close()
			t.Error("TLS 1.1 is spoken")
		}
		response, err := client.Get("http://" + addr + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if text, _ := io.ReadAll(response.Body); response.StatusCode != 400 {
			t.Errorf("plain HTTP: %s %s", response.Status, text)
		}
	})
	t.Run("a broken new pair is not taken, a good one is, without a restart", func(t *testing.T) {
		newCert, newKey := ca.issue(t, 200)
		write(t, certFile, newCert) // for now, with the old key
		eventually(t, "the broken pair is told of", func() bool {
			if got := serial(t, addr, trusting); got != 100 {
				t.Fatalf("the certificate is %d", got)
			}
			return strings.Contains(p.output(), "the old one stays")
		})
		write(t, keyFile, newKey)
		eventually(t, "the new certificate is in use", func() bool { return serial(t, addr, trusting) == 200 })
	})
	t.Run("files that are gone change nothing", func(t *testing.T) {
		if err := os.Remove(certFile); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the missing file is told of", func() bool {
			if got := serial(t, addr, trusting); got != 200 {
				t.Fatalf("the certificate is %d", got)
			}
			return strings.Contains(p.output(), "no such file")
		})
	})
	p.terminate()
}

func TestWhatIsUnsafeIsRefused(t *testing.T) {
	t.Parallel()
	secrets := []string{"RAPPORT_WEBHOOK_SECRET=s", "RAPPORT_API_TOKEN=t"}
	ca, dir := newTestCA(t), t.TempDir()
	cert, _ := ca.issue(t, 1)
	_, otherKey := ca.issue(t, 2)
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, certFile, cert)
	write(t, keyFile, otherKey)
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"a certificate without its key":       {[]string{"--tls-cert", certFile}, "--tls-key"},
		"a key of another certificate":        {[]string{"--tls-cert", certFile, "--tls-key", keyFile}, "private key does not match"},
		"files that don't exist":              {[]string{"--tls-cert", "none", "--tls-key", "none"}, "no such file"},
		"files and ACME":                      {[]string{"--tls-cert", certFile, "--tls-key", keyFile, "--acme-domain", "a.example"}, "choose one"},
		"ACME's settings without ACME":        {[]string{"--acme-email", "a@example.com"}, "--acme-domain"},
		"a name that can't be proved":         {[]string{"--acme-domain", "*.example.com"}, "*.example.com"},
		"an authority by plain HTTP":          {[]string{"--acme-domain", "a.example", "--acme-ca", "http://ca"}, "https://"},
		"roots that are none":                 {[]string{"--acme-domain", "a.example", "--acme-ca-root", keyFile}, "--acme-ca-root"},
		"a proxy that is no range":            {[]string{"--trusted-proxy", "proxy.example"}, "proxy.example"},
		"a proxy that is everybody":           {[]string{"--trusted-proxy", "0.0.0.0/0"}, "everybody"},
		"proxies that are none":               {[]string{"--trusted-proxy", ","}, "RAPPORT_TRUSTED_PROXY"},
		"limits below zero":                   {[]string{"--api-rate=-1"}, "--api-rate"},
		"no connections at all":               {[]string{"--max-connections", "0"}, "--max-connections"},
		"beyond loopback, with an empty list": {[]string{"--listen", "0.0.0.0:0", "--trusted-proxy", " , "}, "RAPPORT_TRUSTED_PROXY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, stderr, code := runRapport(t, append([]string{"serve", "--data-dir", dir}, test.args...), secrets...)
			oneLineError(t, stderr, code, test.says)
		})
	}
}

func TestBeyondLoopback(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]bool{"--no-spool": true, "--insecure-http": false, "--trusted-proxy=10.0.0.0/8": false} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			cmd := command([]string{"serve", "--listen", "0.0.0.0:0", flag, "--data-dir", dataDir(t)}, "RAPPORT_WEBHOOK_SECRET=s", "RAPPORT_API_TOKEN=t")
			p := start(t, cmd)
			if warned := strings.Contains(p.output(), "travel in clear"); warned != want {
				// the warning comes right after the greeting
				eventually(t, "a warning that all travels in clear", func() bool {
					return strings.Contains(p.output(), "travel in clear") == want
				})
			}
		})
	}
}

func TestTheFilesAreLookedAtSeldom(t *testing.T) {
	t.Parallel()
	ca, dir := newTestCA(t), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert, key := ca.issue(t, 1)
	write(t, certFile, cert)
	write(t, keyFile, key)
	files := (&tlsFlags{TLSCert: certFile, TLSKey: keyFile}).files(slog.New(slog.DiscardHandler))
	if err := files.read(); err != nil {
		t.Fatal(err)
	}
	files.looked = time.Now().Add(time.Hour) // just now, whatever the clock says
	cert, key = ca.issue(t, 2)
	write(t, certFile, cert)
	write(t, keyFile, key)
	first, err := files.get(nil)
	if err != nil || first.Leaf.SerialNumber.Int64() != 1 {
		t.Errorf("looked too soon: %v, %v", first.Leaf.SerialNumber, err)
	}
	files.looked = time.Time{}
	if second, err := files.get(nil); err != nil || second.Leaf.SerialNumber.Int64() != 2 {
		t.Errorf("not looked again: %v", err)
	}
}
