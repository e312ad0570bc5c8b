package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"rapport/api"
	"rapport/store"
	"rapport/store/embedpg"
	"rapport/store/ingest"
)

// served is a server of a log that nothing is added to.
type served struct {
	address string
	stops   []func()
}

func (s *served) stop() {
	for i := len(s.stops) - 1; i >= 0; i-- {
		s.stops[i]()
	}
}

// serve serves the pages of the log in a data directory, such as bench-queries keeps.
func serve(ctx context.Context, dir string) (_ *served, err error) {
	s := &served{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	pg, err := embedpg.Start(ctx, embedpg.Config{DataDir: dir, Logger: logger})
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, func() {
		if err := pg.Stop(context.WithoutCancel(ctx)); err != nil {
			logger.Error("stopping Postgres", "error", err)
		}
	})
	db, err := store.Open(ctx, pg.URL("rapport_server"))
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, db.Close)
	handler, err := wire(db, store.NewWatch(pg.URL("rapport_server")))
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // it ends with the server
	s.stops = append(s.stops, func() { _ = server.Close() })
	s.address = "http://" + listener.Addr().String() + "/"
	return s, nil
}

var logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))

func wire(db *store.DB, watch *store.Watch) (http.Handler, error) {
	sources, err := api.NewSources(nil, nil, true)
	if err != nil {
		return nil, err
	}
	return api.New(api.Config{
		DB: db, Watch: watch, Ingest: ingest.New(db, ingest.Options{Logger: logger}), Sources: sources, Logger: logger,
		Limits: api.Limits{KeyRate: 100, UnprovenRate: 60, Reads: 64}, // as `rapport serve` has them
	})
}
