package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"go.uber.org/zap"
)

func (f *tlsFlags) acmeDomains() ([]string, error) {
	domains, err := list("acme-domain", f.ACMEDomain)
	if err != nil || len(domains) == 0 {
		return nil, errors.Join(err, errors.New("--acme-domain is not set"))
	}
	for i, domain := range domains {
		domains[i] = strings.ToLower(domain)
		if !certmagic.SubjectQualifiesForCert(domain) || strings.ContainsAny(domain, "*/: ") {
			return nil, fmt.Errorf("--acme-domain (%s): %q is no name that this server can prove to be its own", variable("acme-domain"), domain)
		}
	}
	return domains, nil
}

// authority has certificates made and renewed by an ACME authority.
type authority struct {
	domains    []string
	magic      *certmagic.Config
	cache      *certmagic.Cache
	stop       context.CancelFunc
	challenges *http.Server // on plain HTTP; nil: none
	listener   net.Listener // of the challenges
}

// newAuthority loads the certificates that there are, and begins to fetch the
// others: the authority comes to the listener to see whose the names are.
func (f *tlsFlags) newAuthority(dir, listen string, listener net.Listener, logger *slog.Logger) (_ *authority, err error) {
	a := &authority{}
	if a.domains, err = f.acmeDomains(); err != nil {
		return nil, err
	}
	roots, err := f.acmeRoots()
	if err != nil {
		return nil, err
	}
	zapLogger := zap.New(slogCore{logger.Handler()})
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil },
		Logger:           zapLogger,
	})
	a.magic = certmagic.New(a.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: dir}, DefaultServerName: a.domains[0], Logger: zapLogger,
	})
	host, _, _ := net.SplitHostPort(listen)
	template := certmagic.ACMEIssuer{
		CA: f.ACMECA, Email: f.ACMEEmail, Agreed: true, TrustedRoots: roots, Logger: zapLogger,
		ListenHost: host, AltTLSALPNPort: portOf(listener), DisableHTTPChallenge: f.ACMEHTTPListen == "",
	}
	if f.ACMEHTTPListen != "" {
		if a.listener, err = net.Listen("tcp", f.ACMEHTTPListen); err != nil {
			return nil, fmt.Errorf("can't listen on --acme-http-listen %s: %w", f.ACMEHTTPListen, err)
		}
		template.AltHTTPPort = portOf(a.listener)
	}
	issuer := certmagic.NewACMEIssuer(a.magic, template)
	a.magic.Issuers = []certmagic.Issuer{issuer}
	if a.listener != nil {
		a.challenges = newChallengeServer(issuer, a.domains, portOf(listener), logger)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("a directory for the certificates: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	if err := a.magic.ManageAsync(ctx, a.domains); err != nil {
		cancel()
		return nil, fmt.Errorf("preparing certificates: %w", err)
	}
	return a, nil
}

// acmeRoots are whom to believe that they are the authority; nil: as the system
// has it.
func (f *tlsFlags) acmeRoots() (*x509.CertPool, error) {
	if f.ACMECARoot == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.ACMECARoot)
	if err != nil {
		return nil, fmt.Errorf("reading --acme-ca-root: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--acme-ca-root %s holds no certificate (PEM)", f.ACMECARoot)
	}
	return roots, nil
}

func portOf(listener net.Listener) int {
	_, text, _ := net.SplitHostPort(listener.Addr().String())
	port, _ := strconv.Atoi(text)
	return port
}

func (a *authority) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: a.magic.GetCertificate,
		NextProtos: []string{"h2", "http/1.1", acmez.ACMETLS1Protocol},
	}
}

// Run keeps the certificates until the context ends.
func (a *authority) Run(ctx context.Context) error {
	failed := make(chan error, 1)
	if a.challenges != nil {
		go func() { failed <- a.challenges.Serve(a.listener) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serving --acme-http-listen: %w", err)
	}
	if a.challenges != nil {
		_ = a.challenges.Close()
	}
	a.stop()
	a.cache.Stop()
	return err
}

// newChallengeServer answers the authority over plain HTTP, and sends browsers on.
func newChallengeServer(issuer *certmagic.ACMEIssuer, domains []string, port int, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           issuer.HTTPChallengeHandler(toHTTPS(domains, port)),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       5 * time.Second,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// toHTTPS sends on who only looks. A delivery or a key has been sent in clear
// already: to send it on as well would hide that.
func toHTTPS(domains []string, port int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		isRead := r.Method == http.MethodGet || r.Method == http.MethodHead
		if !isRead || !slices.Contains(domains, strings.ToLower(host)) {
			http.Error(w, "use https", http.StatusForbidden)
			return
		}
		if port != 443 {
			host = net.JoinHostPort(host, strconv.Itoa(port))
		}
		http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), http.StatusMovedPermanently)
	})
}
