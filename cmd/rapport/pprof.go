package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// profiles serves Go's profiles of this process, on loopback alone.
type profiles struct {
	listener net.Listener
	http     *http.Server
}

// openProfiles listens on an address, which must be loopback's.
func openProfiles(address string, logger *slog.Logger) (*profiles, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--pprof-listen must be HOST:PORT, such as 127.0.0.1:6060: %w", err)
	}
	if !isLoopback(host) {
		return nil, fmt.Errorf("--pprof-listen %s is not loopback: profiles are for this machine alone, such as 127.0.0.1:6060", address)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("can't listen on %s for profiles: %w", address, err)
	}
	logger.Info("profiles are served", "url", "http://"+listener.Addr().String()+"/debug/pprof/")
	return &profiles{listener, &http.Server{Handler: onlyLoopback(profileMux()), ReadHeaderTimeout: 5 * time.Second}}, nil
}

// profileMux leaves out /debug/pprof/cmdline: a secret may be on the command line.
func profileMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", http.NotFound)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// onlyLoopback refuses names that were rebound to loopback: a browser would bring
// strangers here.
func onlyLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !isLoopback(host) {
			http.Error(w, "ask for 127.0.0.1 or localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Run serves until the context ends.
func (p *profiles) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = p.http.Close() })()
	if err := p.http.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving profiles: %w", err)
	}
	return nil
}
