package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// selfMade is a certificate that signs itself, for 127.0.0.1, and its key, as PEM.
func selfMade(t *testing.T, end time.Time) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rapport test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func TestTLSToPostgresIsAsTheURLAsks(t *testing.T) {
	t.Parallel()
	pg := newOwnPostgres(t)
	cert, key := selfMade(t, time.Now().Add(time.Hour))
	pg.give("server.crt", cert)
	pg.give("server.key", key)
	pg.exec("postgres", "ALTER SYSTEM SET ssl_cert_file = 'server.crt'", "ALTER SYSTEM SET ssl_key_file = 'server.key'", "ALTER SYSTEM SET ssl = on",
		"ALTER ROLE rapport_server PASSWORD 'server'", "ALTER ROLE rapport_owner PASSWORD 'owner'")
	pg.admit("local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n") // and nothing without TLS
	right, wrong := filepath.Join(pg.dir, "right.crt"), filepath.Join(pg.dir, "wrong.crt")
	other, _ := selfMade(t, time.Now().Add(time.Hour))
	for path, content := range map[string][]byte{right: cert, wrong: other} {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(role, password, query string) string {
		return "postgres://" + role + ":" + password + "@127.0.0.1:" + pg.port + "/rapport?" + query
	}
	verified := func(ca string) []string {
		query := "sslmode=verify-full&sslrootcert=" + ca
		return []string{"RAPPORT_DATABASE_URL=" + link("rapport_server", "server", query), "RAPPORT_OWNER_DATABASE_URL=" + link("rapport_owner", "owner", query)}
	}

	out, stderr, code := runRapport(t, []string{"migrate"}, verified(wrong)...)
	if code != 1 || !strings.Contains(stderr, "certificate") {
		t.Errorf("another authority's certificate: %d %s%s", code, out, stderr)
	}
	p := serve(t, nil, verified(right)...)
	if got := p.post(chat("s", "one", float64(time.Now().Unix()))); got.Code != 200 || got.Spooled {
		t.Errorf("got %+v", got)
	}
	list, _, _ := runRapport(t, []string{"doctor"}, verified(right)...)
	if !strings.Contains(list, "PostgreSQL") {
		t.Errorf("doctor: %s", list)
	}
	if _, stderr, code := runRapport(t, []string{"migrate"}, "RAPPORT_DATABASE_URL="+link("rapport_owner", "owner", "sslmode=disable")); code != 1 {
		t.Errorf("without TLS: %d %s", code, stderr)
	}
}
