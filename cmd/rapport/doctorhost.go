package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"rapport/store"
	"rapport/store/ingest/spool"
)

// examineDisk looks at the room in the data directory.
func (c *doctorCmd) examineDisk(f *findings) {
	dir := existing(c.DataDir)
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		f.problem("disk", "name a directory that can be written with --data-dir", "%s: %v", dir, err)
		return
	}
	free := int64(disk.Bavail) * int64(disk.Bsize)
	switch {
	case c.NoSpool && c.isConfigured():
		f.ok("disk", "nothing is kept here")
	case free < c.SpoolMinFree:
		f.problem("disk", "make room: the spool keeps nothing below --spool-min-free", "%s free in %s", megabytes(free), dir)
	case !c.NoSpool && free-c.SpoolMinFree < c.SpoolMaxBytes:
		f.warn("disk", "make room, or lower --spool-max-bytes", "%s free in %s: the spool can't grow to its %s", megabytes(free), dir, megabytes(c.SpoolMaxBytes))
	default:
		f.ok("disk", "%s free in %s", megabytes(free), dir)
	}
}

// existing is a directory, or the nearest above it that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// examineSpools looks into the spools of the data directory. Without the database, a
// record may be told to wait that only its note is missing of.
func (c *doctorCmd) examineSpools(ctx context.Context, db *store.DB, f *findings) {
	if c.NoSpool {
		f.warn("spool", "only right where the disk doesn't outlive the server", "there is none: while the database is away deliveries are answered 503")
		return
	}
	var waiting, lost int64
	var damaged, spools int
	for number := 1; number <= maxSpools; number++ {
		found, err := spool.Inspect(spoolDir(c.DataDir, number))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			f.problem("spool", "run as the server's user; else see docs/reliability.md", "%v", oneLine(err))
			return
		}
		drained := found.DrainedTo
		if db != nil {
			to, err := db.SpoolDrainedTo(ctx, found.ID)
			if err != nil {
				f.problem("spool", "", "%v", oneLine(err))
				return
			}
			drained = max(drained, uint64(max(to, 0)))
		}
		spools++
		if found.Records > 0 && found.Last > drained {
			waiting += int64(min(found.Last-drained, uint64(found.Records)))
		}
		lost, damaged = lost+found.Lost, damaged+found.Damaged
	}
	if damaged > 0 || lost > 0 {
		f.problem("spool", "look at the disk; the segments set aside (*.damaged) are kept for you, remove them when done",
			"damaged segments: %d, records lost in them: %d", damaged, lost)
	}
	switch {
	case waiting > 0:
		f.warn("spool", "a running server drains them once the database keeps up; if none runs, start one", "deliveries that wait for the database: %d", waiting)
	case damaged == 0 && lost == 0:
		f.ok("spool", "%s, nothing waits", plural(spools, "spool"))
	}
}

// The days before its end at which a certificate is worth a word.
const (
	certificateSoon   = 21 * 24 * time.Hour
	certificateUrgent = 3 * 24 * time.Hour
)

// examineTLS looks at what is encrypted on the way to us and to the database.
func (c *doctorCmd) examineTLS(now time.Time, f *findings) {
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		f.problem("tls", "give --listen like 127.0.0.1:8080", "--listen can't be read")
	case c.TLSCert != "" || c.TLSKey != "":
		examineCertificate(c.TLSCert, c.TLSKey, now, f)
	case c.ACMEDomain != "":
		f.ok("tls", "certificates are fetched by ACME for %s", c.ACMEDomain)
	case isLoopback(host):
		f.ok("tls", "only this machine reaches %s", c.Listen)
	case c.TrustedProxy != "":
		f.ok("tls", "the proxy that --trusted-proxy names is taken to have it")
	case c.InsecureHTTP:
		f.warn("tls", "see that nobody but this machine or a proxy that has TLS reaches it", "%s is reached without TLS, as --insecure-http allows", c.Listen)
	default:
		f.problem("tls", "set --tls-cert and --tls-key, or --acme-domain, or put a proxy before it and name it with --trusted-proxy",
			"%s is reached without TLS: proofs, keys and transcripts travel in clear", c.Listen)
	}
	if c.isConfigured() {
		for _, link := range slices.Compact([]string{c.configured().ServerURL, c.configured().OwnerURL, c.SQLDatabaseURL}) {
			if link != "" {
				examineTransport(link, f)
			}
		}
		f.list = slices.Compact(f.list) // mostly all are the same host
	}
}

func examineCertificate(certFile, keyFile string, now time.Time, f *findings) {
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		f.problem("tls", "mend --tls-cert and --tls-key", "the certificate can't be used: %v", err)
		return
	}
	leaf, err := readCertificate(certFile)
	if err != nil {
		f.problem("tls", "mend --tls-cert", "%v", err)
		return
	}
	if info, err := os.Stat(keyFile); err == nil && info.Mode().Perm()&0o004 != 0 {
		f.warn("tls", "chmod 600 "+keyFile, "every user of this machine can read the key")
	}
	left, end := leaf.NotAfter.Sub(now), leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case now.Before(leaf.NotBefore):
		f.problem("tls", "look at the clock", "the certificate begins only at %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case left <= 0:
		f.problem("tls", "renew it now", "the certificate has ended at %s", end)
	case left < certificateUrgent:
		f.problem("tls", "renew it now", "the certificate ends at %s", end)
	case left < certificateSoon:
		f.warn("tls", "see that it is renewed", "the certificate ends at %s", end)
	default:
		f.ok("tls", "the certificate is good until %s", end)
	}
}

func readCertificate(file string) (*x509.Certificate, error) {
	content, err := os.ReadFile(file) // #nosec G304 -- the operator names it
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return x509.ParseCertificate(block.Bytes)
}

func examineTransport(link string, f *findings) {
	transport, isRemote, err := store.TransportOf(link)
	const advice = "add sslmode=verify-full&sslrootcert=FILE to its URL"
	switch {
	case err != nil:
		f.problem("database tls", "mend the URL", "%v", err)
	case !isRemote:
		f.ok("database tls", "the database is on this machine")
	case transport == store.Verified:
		f.ok("database tls", "connections are encrypted, and the server's certificate is checked")
	case transport == store.Unverified:
		f.warn("database tls", advice, "connections are encrypted, but with whoever answers")
	default:
		f.problem("database tls", advice, "transcripts and the password may travel to the database in clear")
	}
}

// shortSecret is how many characters a secret should have at least: 128 bits in hex
// have 32, and words have more.
const shortSecret = 16

// wellKnown are secrets that stand in examples.
var wellKnown = []string{"changeme", "change-me", "change_me", "secret", "password", "postgres", "rapport", "token", "test", "example", "admin", "owner", "server"}

// examineSecrets looks at the secrets, and tells nothing of them but what is wrong.
func (c *doctorCmd) examineSecrets(ctx context.Context, db *store.DB, f *findings) {
	before := len(f.list)
	for _, secret := range []struct{ flag, values string }{
		{"webhook-secret", c.WebhookSecret}, {"webhook-token", c.WebhookToken}, {"api-token", c.APIToken}, {"record-secret", c.RecordSecret},
	} {
		for value := range strings.SplitSeq(secret.values, ",") {
			if value = strings.TrimSpace(value); value != "" {
				examineSecret(variable(secret.flag), value, f)
			}
		}
	}
	for _, link := range []struct{ flag, url string }{{"database-url", c.DatabaseURL}, {"owner-database-url", c.OwnerDatabaseURL}} {
		if password := passwordOf(link.url); password != "" {
			examineSecret("the password in "+variable(link.flag), password, f)
		}
	}
	for _, flag := range []string{"webhook-secret", "webhook-token", "api-token", "record-secret", "database-url", "owner-database-url"} {
		examineOpenness(os.Getenv(fileVariable(flag)), f)
	}
	examineOpenness(filepath.Join(c.DataDir, "reader.password"), f)
	c.examineMissing(ctx, db, f)
	if len(f.list) == before {
		f.ok("secrets", "set, long enough, and for the server's eyes alone")
	}
}

func examineSecret(name, value string, f *findings) {
	const advice = "take a random one, such as openssl rand -hex 32"
	switch {
	case isWellKnown(value):
		f.problem("secrets", advice, "%s is one that everybody tries first", name)
	case len(value) < shortSecret:
		f.warn("secrets", advice, "%s has %d characters, which can be guessed", name, len(value))
	}
}

func isWellKnown(secret string) bool { return slices.Contains(wellKnown, strings.ToLower(secret)) }

func passwordOf(link string) string {
	u, err := url.Parse(link)
	if err != nil || u.User == nil {
		return ""
	}
	password, _ := u.User.Password()
	return cmp.Or(password, u.Query().Get("password"))
}

func examineOpenness(file string, f *findings) {
	if info, err := os.Stat(file); file != "" && err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 {
		f.warn("secrets", "chmod 600 "+file, "every user of this machine can read %s", file)
	}
}

// examineMissing looks for doors without a lock: sources and keys in the database
// count as well.
func (c *doctorCmd) examineMissing(ctx context.Context, db *store.DB, f *findings) {
	sources, keys := c.WebhookSecret != "" || c.WebhookToken != "", c.APIToken != ""
	if db != nil {
		if found, err := db.Sources(ctx); err == nil {
			sources = sources || len(found) > 0
		}
		if found, _, err := db.StandingKeys(ctx); err == nil {
			keys = keys || len(found) > 0
		}
	}
	host, _, _ := net.SplitHostPort(c.Listen)
	tell := f.problem
	if isLoopback(host) {
		tell = f.warn
	}
	if !sources {
		tell("secrets", "set RAPPORT_WEBHOOK_TOKEN or RAPPORT_WEBHOOK_SECRET, or rapport source add", "webhooks are taken without proof on %s", c.Listen)
	}
	if !keys {
		tell("secrets", "set RAPPORT_API_TOKEN, or rapport key create", "there is no key to read with, on %s", c.Listen)
	}
}
