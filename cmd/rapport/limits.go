package main

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"rapport/api"
)

// limitFlags bound what clients may take.
type limitFlags struct {
	APIRate        int `name:"api-rate" default:"10000" placeholder:"N" help:"Requests a second that one API key may send; 0: any number. Default: ${default}, more than a client sends that waits for its answers."`
	UnprovenRate   int `default:"600" placeholder:"N" help:"Requests a minute without a valid key or proof that one client address (of IPv6: one /64) may send; 0: any number. A proven delivery is never refused for its rate. Default: ${default}."`
	MaxReads       int `default:"64" placeholder:"N" help:"Requests, other than deliveries, that are answered at once; further ones wait for five seconds, and are then answered 503; as many lists may be streamed besides, a quarter of them by one key; 0: any number. Default: ${default}."`
	MaxConnections int `default:"10000" placeholder:"N" help:"Connections that are open at once; further ones wait. From half of them on, none is kept open after an answer. Default: ${default}."`
}

func (f *limitFlags) limits() api.Limits {
	return api.Limits{KeyRate: f.APIRate, UnprovenRate: f.UnprovenRate, Reads: f.MaxReads, Hold: api.RefusalHold}
}

func (f *limitFlags) checkLimits() error {
	if err := f.limits().Check(); err != nil {
		return errors.New("--api-rate, --unproven-rate and --max-reads must be at least 0")
	}
	if f.MaxConnections < 2 {
		return errors.New("--max-connections must be at least 2")
	}
	return nil
}

// ownFiles is how many files are left for all that is no connection of a client:
// the spool, the database's connections, the private Postgres.
const ownFiles = 512

// bound limits the connections of a listener, to fewer if the process may not open
// as many files.
func (f *limitFlags) bound(listener net.Listener, logger *slog.Logger) (net.Listener, *crowd) {
	most := f.MaxConnections
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil {
		if room := max(int(min(files.Cur, 1<<30))-ownFiles, int(min(files.Cur, 1<<30))/2, 2); room < most {
			logger.Warn("fewer connections than --max-connections: raise the limit of open files (ulimit -n)",
				"connections", room, "open_files", files.Cur)
			most = room
		}
	}
	return netutil.LimitListener(listener, most), &crowd{most: int64(most)}
}

// crowd counts the open connections. Who keeps connections without need would in
// the end keep everybody else out.
type crowd struct {
	most int64
	open atomic.Int64
}

// track is for http.Server.ConnState.
func (c *crowd) track(conn net.Conn, state http.ConnState) {
	if strict, ok := conn.(*strictConn); ok {
		strict.track(state)
	}
	switch state {
	case http.StateNew:
		c.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		c.open.Add(-1)
	}
}

func (c *crowd) isDense() bool { return c.open.Load() > c.most/2 }

// A request has readTimeout to come in, and a second more for each MiB that a body
// may have beyond the first.
const readTimeout = 10 * time.Second

func readTimeoutFor(maxBodyBytes int64) time.Duration {
	return readTimeout + time.Duration(min(maxBodyBytes>>20, 600))*time.Second
}

// guard has a server keep to its limits, and encrypt what travels. It returns the
// listener to serve on.
func (c *serveCmd) guard(s *server, listener net.Listener, logger *slog.Logger) (net.Listener, error) {
	bounded, crowd := c.bound(listener, logger)
	s.http.ConnState = crowd.track
	s.http.Handler = lastAnswers(s.http.Handler, crowd.isDense)
	encryption, err := c.encryption(c.DataDir, c.Listen, bounded, logger)
	if err != nil {
		return nil, err
	}
	if encryption.config == nil {
		bounded = strictListener{bounded}
	}
	s.http.TLSConfig = encryption.config
	if encryption.service != nil {
		s.others = append(s.others, encryption.service)
	}
	return bounded, nil
}

// serve serves HTTP, by TLS if that is configured.
func (s *server) serve(listener net.Listener) error {
	if s.http.TLSConfig == nil {
		return s.http.Serve(listener)
	}
	return s.http.ServeTLS(listener, "", "") // the TLSConfig has the certificate
}
