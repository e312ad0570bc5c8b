package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/aggregator"
	"rapport/aggregator/reaction"
	"rapport/api"
	"rapport/store"
	"rapport/store/embedpg"
	"rapport/store/ingest"
)

const secret = "bench-secret"

// system is a whole Rapport in this process, beside a bare handler.
type system struct {
	addr, bareAddr string
	db             *store.DB
	watch          *store.Watch
	conn           *pgx.Conn // for bare INSERTs
	stops          []func()

	rules  string       // a file; empty: there are none
	follow func()       // folds the log into sessions, until halt
	react  func() error // asks the rules, if there are any, until calm
	halt   func()
	calm   func()

	batches, events, committing atomic.Int64 // committing in ns
}

func (s *system) stop() {
	for i := len(s.stops) - 1; i >= 0; i-- {
		s.stops[i]()
	}
}

// start starts a server as `rapport serve` does, with a file of rules if one is named. Who
// is over a limit waits for hold.
func start(ctx context.Context, hold time.Duration, rules string) (_ *system, err error) {
	s := &system{rules: rules, halt: func() {}, calm: func() {}}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	dir, err := os.MkdirTemp("", "rapport-bench-")
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, func() { _ = os.RemoveAll(dir) })
	debug.SetGCPercent(400) // as `rapport serve` does
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	pg, err := embedpg.Start(ctx, embedpg.Config{DataDir: dir, Logger: logger})
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, func() { _ = pg.Stop(context.Background()) })
	if err := s.open(ctx, pg); err != nil {
		return nil, err
	}
	handler, err := s.wire(ctx, pg.URL("rapport_server"), hold, logger)
	if err != nil {
		return nil, err
	}
	if s.addr, err = s.listen(handler); err != nil {
		return nil, err
	}
	s.bareAddr, err = s.listen(http.HandlerFunc(bare))
	return s, err
}

func (s *system) open(ctx context.Context, pg *embedpg.Server) (err error) {
	if _, err = store.Migrate(ctx, pg.URL("rapport_owner")); err != nil {
		return err
	}
	if s.db, err = store.Open(ctx, pg.URL("rapport_server")); err != nil {
		return err
	}
	s.stops = append(s.stops, s.db.Close)
	if s.conn, err = pgx.Connect(ctx, pg.URL("rapport_owner")); err != nil {
		return err
	}
	s.stops = append(s.stops, func() { _ = s.conn.Close(context.Background()) })
	_, err = s.conn.Exec(ctx, "CREATE TABLE bench_bare (id bigint PRIMARY KEY, body text NOT NULL)")
	return err
}

// wire starts the services as `rapport serve` does.
func (s *system) wire(ctx context.Context, url string, hold time.Duration, logger *slog.Logger) (http.Handler, error) {
	settings, err := s.db.Settings(ctx)
	if err != nil {
		return nil, err
	}
	sessions, err := aggregator.NewSessions(settings)
	if err != nil {
		return nil, err
	}
	sources, err := api.NewSources([]string{secret}, nil, true)
	if err != nil {
		return nil, err
	}
	metrics := api.NewMetrics()
	in := ingest.New(s.db, ingest.Options{Logger: logger, OnCommit: func(c ingest.Commit) {
		metrics.OnCommit(c)
		s.batches.Add(1)
		s.events.Add(int64(c.Events))
		s.committing.Add(int64(c.Took))
	}})
	s.watch = store.NewWatch(url)
	s.stops = append(s.stops, begin(ctx, s.watch.Run, s.db.Announce, in.Run))
	s.follow = func() { s.halt = begin(ctx, aggregator.NewFollower(s.db, s.watch, sessions, logger).Run) }
	s.react = func() error {
		if s.rules == "" {
			return nil
		}
		r, err := reaction.Open(s.db, s.watch, reaction.Options{File: s.rules, Allow: loopback, Logger: logger})
		if err == nil {
			s.calm = begin(ctx, r.Run)
		}
		return err
	}
	s.stops = append(s.stops, func() { s.halt(); s.calm() })
	s.follow()
	if err := s.react(); err != nil {
		return nil, err
	}
	return api.New(api.Config{
		DB: s.db, Watch: s.watch, Ingest: in, Sources: sources, Metrics: metrics, Logger: logger,
		Limits: api.Limits{KeyRate: 10_000, UnprovenRate: 600, Reads: 64, Hold: hold},
	})
}

// begin starts services, and returns what stops them.
func begin(ctx context.Context, services ...func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, service := range services {
		running.Go(func() { _ = service(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// bare is what every handler costs: the body is read, 200 is answered.
func bare(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"status":"success","position":1}`)
}

func (s *system) listen(handler http.Handler) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}()
	s.stops = append(s.stops, func() { _ = server.Close() })
	return listener.Addr().String(), nil
}

// insert is one bare INSERT, committed.
func (s *system) insert(ctx context.Context, id int) error {
	_, err := s.conn.Exec(ctx, "INSERT INTO bench_bare VALUES ($1, $2)", id, `{"status":"success"}`)
	return err
}

// lag is how many events the rollups are behind.
func (s *system) lag(ctx context.Context) (int64, error) {
	lag, err := s.db.FollowerLag(ctx, store.SessionsFollower, time.Now())
	return lag.Events, err
}

// caughtUp waits until the rollups have the whole log.
func (s *system) caughtUp(ctx context.Context) error {
	return s.followed(ctx, store.SessionsFollower)
}

// followed waits until a follower has the whole log.
func (s *system) followed(ctx context.Context, follower string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	head, err := s.db.Head(ctx)
	if err != nil {
		return err
	}
	return s.db.WaitForFollower(ctx, s.watch, follower, head)
}
