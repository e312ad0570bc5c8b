package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rapport/api"
	"rapport/store"
	"rapport/store/ingest"
)

// subject is a log that questions are asked of, over HTTP, and a handler beside it
// that does SELECT 1.
type subject struct {
	*database
	base, bare string // addresses, with http://
	client     *http.Client
	reader     *pgx.Conn // as a BI tool connects
	stops      []func()
}

func (s *subject) stop() {
	for i := len(s.stops) - 1; i >= 0; i-- {
		s.stops[i]()
	}
}

// conns is as many connections as the server's own pool has.
const conns = 12

func (d *database) serve(ctx context.Context) (_ *subject, err error) {
	// Compressing is the same work for whatever is asked.
	s := &subject{database: d, client: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	handler, err := s.wire(ctx)
	if err != nil {
		return nil, err
	}
	if s.base, err = s.listen(handler); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(d.url("rapport_server"))
	if err != nil {
		return nil, err
	}
	config.MaxConns = conns
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, pool.Close)
	if s.bare, err = s.listen(selectOne(pool)); err != nil {
		return nil, err
	}
	if s.reader, err = pgx.Connect(ctx, d.url("rapport_reader")); err != nil {
		return nil, err
	}
	s.stops = append(s.stops, func() { _ = s.reader.Close(context.Background()) })
	return s, nil
}

// wire makes the handler of `rapport serve`, on a log that nothing is added to.
func (s *subject) wire(ctx context.Context) (http.Handler, error) {
	db, err := store.Open(ctx, s.url("rapport_server"))
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, db.Close)
	watch := store.NewWatch(s.url("rapport_server"))
	running, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = watch.Run(running) }()
	s.stops = append(s.stops, func() { cancel(); <-done })
	sources, err := api.NewSources(nil, nil, true)
	if err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return api.New(api.Config{
		DB: db, Watch: watch, Ingest: ingest.New(db, ingest.Options{Logger: logger}), Sources: sources, Logger: logger,
		Limits: api.Limits{KeyRate: 100, UnprovenRate: 60, Reads: 64}, // as `rapport serve` has them
	})
}

func selectOne(pool *pgxpool.Pool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var one int
		if err := pool.QueryRow(r.Context(), "SELECT 1").Scan(&one); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"one":%d}`, one)
	})
}

func (s *subject) listen(handler http.Handler) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "bench-queries:", err)
		}
	}()
	s.stops = append(s.stops, func() { _ = server.Close() })
	return "http://" + listener.Addr().String(), nil
}

// get asks, and keeps the whole answer. Anything but 200 is an error.
func (s *subject) get(ctx context.Context, url string) ([]byte, error) {
	var body bytes.Buffer
	err := s.read(ctx, url, &body)
	return body.Bytes(), err
}

// read asks, and passes on the whole answer. What is measured keeps nothing: making
// room for it would be the client's time.
func (s *subject) read(ctx context.Context, url string, to io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 200)) // what it says is only for the reader
		return fmt.Errorf("answered %s: %s", response.Status, body)
	}
	_, err = io.Copy(to, response.Body)
	return err
}
