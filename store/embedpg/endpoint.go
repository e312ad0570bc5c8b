package embedpg

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const defaultPort = 5432

// maxSocketPath is in bytes, without the final zero: 107 on Linux.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// endpoint is where Postgres has its socket. The port is part of the socket's
// name.
type endpoint struct {
	dir  string
	port int
}

func (e endpoint) socket() string {
	return filepath.Join(e.dir, ".s.PGSQL."+strconv.Itoa(e.port))
}

// url names the port too, for clients go by PGPORT otherwise.
func (e endpoint) url(role string) string {
	db := database
	if role == roleSuper {
		db = roleSuper
	}
	return e.urlOf(role, db)
}

func (e endpoint) urlOf(role, db string) string {
	return fmt.Sprintf("postgres://%s@/%s?host=%s&port=%d", url.PathEscape(role), url.PathEscape(db), escapeHost(e.dir), e.port)
}

// escapeHost avoids +, which libpq does not read as a space.
func escapeHost(dir string) string {
	return strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(dir))
}

// fits reports whether clients can use the socket: its path is bounded, and in a
// URL a comma separates hosts.
func (e endpoint) fits() bool {
	return len(e.socket()) <= maxSocketPath && !strings.Contains(e.dir, ",")
}

// makeEndpoint makes the private directory of the socket: in the data directory
// if the path is short enough, else in /tmp.
func makeEndpoint(dataDir string, port int, a account) (endpoint, error) {
	e := endpoint{dir: filepath.Join(dataDir, "run"), port: port}
	if !e.fits() {
		hash := sha256.Sum256([]byte(dataDir))
		e.dir = fmt.Sprintf("/tmp/rapport-%d-%x", a.uid, hash[:8])
	}
	if err := makePrivate(e.dir, a); err != nil {
		return e, fmt.Errorf("the directory of Postgres's socket: %w", err)
	}
	return e, nil
}

// makePrivate makes a directory that only the account can enter, or sees that it
// is one: whoever can prepare it could pose as our Postgres.
func makePrivate(dir string, a account) error {
	err := os.Mkdir(dir, 0o700)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	uid, _, err := owner(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || info.Mode().Perm() != 0o700 || (uid != a.uid && uid != os.Geteuid()) {
		return fmt.Errorf("%s is not a private directory of user %s: remove it", dir, a.name)
	}
	return a.own(dir)
}

// tcpPort is the port that Postgres has, and the host where it is open for TCP,
// if at all.
type tcpPort struct {
	open   bool
	host   string // empty: all addresses
	number int
}

func parseListen(listen string) (tcpPort, error) {
	if listen == "" {
		return tcpPort{number: defaultPort}, nil
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return tcpPort{}, fmt.Errorf("the address for Postgres must be host:port: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil || number < 1 || number > 65535 {
		return tcpPort{}, fmt.Errorf("the address for Postgres needs a port from 1 to 65535: %q", listen)
	}
	return tcpPort{open: true, host: host, number: number}, nil
}

// addresses is the value of listen_addresses.
func (p tcpPort) addresses() string {
	switch {
	case !p.open:
		return ""
	case p.host == "":
		return "*"
	default:
		return p.host
	}
}

// url says that there is no TLS, for some clients insist on it otherwise.
func (p tcpPort) url(role, password string) string {
	host := p.host
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, password),
		Host: net.JoinHostPort(host, strconv.Itoa(p.number)),
		Path: database, RawQuery: "sslmode=disable",
	}
	return u.String()
}
