package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rapport/api/forwarded"
)

// tlsFlags tell how what travels is protected.
type tlsFlags struct {
	TLSCert        string `name:"tls-cert" placeholder:"FILE" help:"Serve HTTPS with this certificate chain (PEM); the file is read again when it changes."`
	TLSKey         string `name:"tls-key" placeholder:"FILE" help:"The key of --tls-cert (PEM)."`
	ACMEDomain     string `name:"acme-domain" placeholder:"NAME,…" help:"Serve HTTPS with a certificate for these names, fetched and renewed by ACME from Let's Encrypt, whose terms you accept with this. Its port 443 has to reach --listen, or its port 80 --acme-http-listen."`
	ACMEEmail      string `name:"acme-email" placeholder:"ADDRESS" help:"Whom the authority tells about problems of the certificate."`
	ACMECA         string `name:"acme-ca" placeholder:"URL" help:"The directory of another ACME authority."`
	ACMECARoot     string `name:"acme-ca-root" placeholder:"FILE" help:"The root certificate (PEM) of that authority's own server, if it is a private one."`
	ACMEHTTPListen string `name:"acme-http-listen" placeholder:"HOST:PORT" help:"Also prove the names over plain HTTP, here; everything else is sent on to HTTPS."`
	TrustedProxy   string `name:"trusted-proxy" placeholder:"RANGE,…" help:"Address ranges of the proxies whose X-Forwarded-For, X-Forwarded-Proto and Forwarded are believed."`
	InsecureHTTP   bool   `name:"insecure-http" help:"Plain HTTP beyond loopback is meant, since something else keeps others off the way: no warning."`
}

func (f *tlsFlags) hasFiles() bool { return f.TLSCert != "" || f.TLSKey != "" }

func (f *tlsFlags) isSecure() bool { return f.hasFiles() || f.ACMEDomain != "" }

// checkTLS refuses what would make no sense.
func (f *tlsFlags) checkTLS() error {
	if f.hasFiles() && (f.TLSCert == "" || f.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key belong together: set both")
	}
	if f.hasFiles() && f.ACMEDomain != "" {
		return errors.New("--tls-cert and --acme-domain are two ways to a certificate: choose one")
	}
	if f.ACMEDomain == "" && (f.ACMEEmail != "" || f.ACMECA != "" || f.ACMECARoot != "" || f.ACMEHTTPListen != "") {
		return errors.New("--acme-email, --acme-ca, --acme-ca-root and --acme-http-listen need --acme-domain")
	}
	if f.hasFiles() { // before anything is started
		if err := f.files(slog.New(slog.DiscardHandler)).read(); err != nil {
			return err
		}
	}
	if f.ACMEDomain != "" {
		_, err := f.acmeDomains()
		_, rootErr := f.acmeRoots()
		if err := errors.Join(err, rootErr); err != nil {
			return err
		}
	}
	if f.ACMECA != "" && !strings.HasPrefix(f.ACMECA, "https://") {
		return errors.New("--acme-ca must be the https:// URL of an ACME directory")
	}
	_, err := f.proxies()
	return err
}

func (f *tlsFlags) proxies() (forwarded.Proxies, error) {
	names, err := list("trusted-proxy", f.TrustedProxy)
	if err != nil {
		return nil, err
	}
	proxies, err := forwarded.Parse(strings.Join(names, ","))
	if err != nil {
		return nil, fmt.Errorf("--trusted-proxy (%s): %w", variable("trusted-proxy"), err)
	}
	return proxies, nil
}

// trusted are the proxies of flags that were checked.
func (f *tlsFlags) trusted() forwarded.Proxies {
	proxies, _ := f.proxies()
	return proxies
}

// base is where a server that listens is found.
func (f *tlsFlags) base(listen string, listener net.Listener) string {
	host, _, _ := net.SplitHostPort(listen)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if !f.isSecure() {
		return "http://" + net.JoinHostPort(host, port)
	}
	if domains, err := f.acmeDomains(); err == nil {
		host = domains[0]
	}
	if port == "443" {
		return "https://" + strings.TrimSuffix(net.JoinHostPort(host, port), ":443")
	}
	return "https://" + net.JoinHostPort(host, port)
}

// warnOfPlainHTTP says what travels in clear.
func (f *tlsFlags) warnOfPlainHTTP(listen string, logger *slog.Logger) {
	host, _, _ := net.SplitHostPort(listen)
	if !isLoopback(host) && !f.isSecure() && f.TrustedProxy == "" && !f.InsecureHTTP {
		logger.Warn("transcripts, keys and proofs travel in clear: set --tls-cert and --tls-key, or --acme-domain, or name the proxy that has TLS with --trusted-proxy; "+
			"or, where only a network that you trust reaches this address, say --insecure-http",
			"address", listen)
	}
}

// encryption is how connections are protected.
type encryption struct {
	config  *tls.Config // nil: they aren't
	service service     // that keeps the certificate; nil if nothing is to be done
}

// encryption prepares TLS for a listener, if it is configured. What the ACME
// authority gives is kept in the data directory.
func (f *tlsFlags) encryption(dataDir, listen string, listener net.Listener, logger *slog.Logger) (*encryption, error) {
	switch {
	case f.hasFiles():
		files := f.files(logger)
		if err := files.read(); err != nil {
			return nil, err
		}
		return &encryption{config: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.get}}, nil
	case f.ACMEDomain != "":
		authority, err := f.newAuthority(filepath.Join(dataDir, "acme"), listen, listener, logger)
		if err != nil {
			return nil, err
		}
		return &encryption{config: authority.tlsConfig(), service: authority}, nil
	}
	return &encryption{}, nil
}

// certificateFiles are a certificate and its key in files, which may change while
// the server runs.
type certificateFiles struct {
	certFile, keyFile string
	logger            *slog.Logger

	current atomic.Pointer[tls.Certificate]

	mu     sync.Mutex // held by the one handshake that looks at the files
	looked time.Time
	seen   []byte // what was in them
}

func (f *tlsFlags) files(logger *slog.Logger) *certificateFiles {
	return &certificateFiles{certFile: f.TLSCert, keyFile: f.TLSKey, logger: logger}
}

// lookEvery is how often the files are looked at, at most.
const lookEvery = time.Second

// get is for tls.Config. It looks at the files first: whether they changed is told
// by their bytes, for times and inodes stay the same where files are mounted or
// copied.
func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if f.mu.TryLock() {
		defer f.mu.Unlock()
		if now := time.Now(); now.Sub(f.looked) >= lookEvery {
			f.looked = now
			if err := f.read(); err != nil {
				f.logger.Error("the new certificate can't be used; the old one stays", "error", err)
			}
		}
	}
	return f.current.Load(), nil
}

// read takes what is in the files, if that is new. Of what can't be used it tells
// once.
func (f *certificateFiles) read() error {
	cert, certErr := os.ReadFile(f.certFile)
	key, keyErr := os.ReadFile(f.keyFile)
	readErr := errors.Join(certErr, keyErr)
	seen := bytes.Join([][]byte{cert, key, fmt.Append(nil, readErr)}, []byte{0})
	if bytes.Equal(seen, f.seen) {
		return nil
	}
	f.seen = seen
	if readErr != nil {
		return fmt.Errorf("reading --tls-cert and --tls-key: %w", readErr)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("--tls-cert %s and --tls-key %s: %w", f.certFile, f.keyFile, err)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		f.logger.Warn("the certificate has expired", "file", f.certFile, "not_after", pair.Leaf.NotAfter)
	}
	if f.current.Swap(&pair) != nil {
		f.logger.Info("a new certificate is in use", "file", f.certFile, "not_after", pair.Leaf.NotAfter)
	}
	return nil
}
