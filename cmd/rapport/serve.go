package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"rapport/aggregator"
	"rapport/api"
	"rapport/store"
	"rapport/store/embedpg"
	"rapport/store/ingest"
)

type serveCmd struct {
	databaseFlags
	logFlags
	spoolFlags
	recordFlags
	redactFlags
	retainFlags
	tlsFlags
	limitFlags
	liveFlags
	archiveFlags
	streamFlags
	rulesFlags
	Listen             string        `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where to listen. Default: ${default}."`
	WebhookSecret      string        `secret:"" placeholder:"SECRET,…" help:"Secrets that webhooks are signed with, separated by commas."`
	WebhookToken       string        `secret:"" placeholder:"TOKEN,…" help:"Tokens that webhooks carry in Authorization, X-API-Key or X-Webhook-Secret, separated by commas."`
	APIToken           string        `secret:"" name:"api-token" placeholder:"TOKEN" help:"The first API key, which may do everything; see rapport key. Needed unless there is another, or listening on loopback."`
	MaxBodyBytes       int64         `default:"1048576" placeholder:"BYTES" help:"The largest webhook body that is accepted. Default: ${default} (1 MiB)."`
	CommitDeadline     time.Duration `placeholder:"DURATION" help:"How long the database may take to keep a batch of deliveries, before they go to the spool (default: 2s) or, without one, are answered 503 (default: 8s)."`
	QuarantineMaxAge   time.Duration `default:"720h" placeholder:"DURATION" help:"For how long the quarantine keeps a body that was last seen then. Default: ${default} (30 days)."`
	QuarantineMaxBytes int64         `default:"67108864" placeholder:"BYTES" help:"How much the quarantine keeps; the newest stay. Default: ${default} (64 MiB)."`
	LagAlarm           time.Duration `default:"1m" placeholder:"DURATION" help:"How far the rollups may be behind before /readyz says that they are late, and /readyz?for=reads 503. Default: ${default}."`
	ShutdownDelay      time.Duration `default:"0s" placeholder:"DURATION" help:"After SIGTERM, for how long /readyz says 503 while all is served as before: so long a balancer needs to notice. Default: ${default}."`
	HealEvery          time.Duration `placeholder:"DURATION" help:"Read the sender's own record so often, and append the messages that no webhook has brought; see rapport heal. Default: never."`
	PostgresListen     string        `placeholder:"HOST:PORT" help:"Open the private Postgres to Grafana and the like, for the role rapport_reader, whose password is in reader.password of the data directory."`
	PprofListen        string        `placeholder:"HOST:PORT" help:"Serve Go's profiles of this process at /debug/pprof/ there: a loopback address, for it asks nobody who they are."`
	Migrate            bool          `default:"true" negatable:"" help:"Bring the schema up to date at the start, as is the default."`
}

// startPatience is how long a start waits for a database that may come later.
const startPatience = 2 * time.Second

// At a shutdown, requests that are under way have lingerTimeout to come in, and
// deliveries have hurryTimeout to be kept, so that all requests
// have their answer within shutdownTimeout. With stopTimeout for Postgres, that is
// less than 10 s.
const (
	lingerTimeout   = 300 * time.Millisecond
	hurryTimeout    = 2 * time.Second
	shutdownTimeout = 3 * time.Second
)

// gcPercent trades memory, of which a server uses little, for processor time:
// the live heap is some megabytes, and every delivery leaves some kilobytes.
const gcPercent = 400

// Run serves until the context ends.
func (c *serveCmd) Run(ctx context.Context, io streams, cautions cautions) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	logger := c.logger(io.Err)
	if err := errors.Join(c.check(), c.beginRules(io)); err != nil {
		return err
	}
	telemetry, err := openTelemetry(ctx, os.Getenv, logger)
	if err != nil {
		return err
	}
	defer telemetry.close() // last of all
	logger = telemetry.logger(logger, c.LogLevel)
	// First of all, so that nothing is started in vain; who connects now waits.
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("can't listen on %s: %w", c.Listen, err)
	}
	defer func() { _ = listener.Close() }()
	return c.serve(ctx, listener, telemetry, logger, cautions)
}

// serve opens what there is to be opened, and runs it.
func (c *serveCmd) serve(ctx context.Context, listener net.Listener, telemetry *telemetry, logger *slog.Logger, cautions cautions) (err error) {
	// Where deliveries can be kept without it, the database may come later.
	address, err := c.address()
	if err != nil {
		return err
	}
	mayBeLate := c.mayBeLate(c.DataDir, address)
	var patience time.Duration
	if mayBeLate {
		patience = startPatience
	}
	database, err := c.open(ctx, logger, false, embedpg.Config{Listen: c.PostgresListen, Patience: patience})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.close()) }()
	db, err := store.OpenTraced(ctx, database.ServerURL, telemetry.statements())
	if err != nil {
		return err
	}
	defer db.Close()
	bringUp := newBringUp(db, database, c.Migrate, logger)
	if err := bringUp.atStart(ctx, mayBeLate); err != nil {
		return err
	}
	spools, err := c.openSpools(c.DataDir, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spools.close()) }()
	if bringUp.pending() == nil {
		if err := c.know(c.DataDir, address); err != nil {
			return err
		}
	}
	keys, err := c.keys(ctx, db, bringUp.pending() != nil, logger)
	if err != nil {
		return err
	}
	sources, err := c.openSources(ctx, db, bringUp.pending() != nil, address, logger)
	if err != nil {
		return err
	}
	server, err := c.assemble(db, database, bringUp, spools, sources, keys, telemetry, logger)
	if err != nil {
		return err
	}
	listener, err = c.guard(server, listener, logger)
	if err != nil {
		return err
	}
	c.greet(listener, database, logger)
	for _, caution := range cautions {
		logger.Warn(caution)
	}
	if bringUp.pending() == nil { // else it could not be asked
		warnOfRights(ctx, db, logger)
		warnOfSandbox(ctx, database, logger)
	}
	return server.run(ctx, listener)
}

// server is everything that runs, wired.
type server struct {
	http          *http.Server
	draining      *atomic.Bool // readiness fails
	leaving       *atomic.Bool // each answer is the last of its connection
	shutdownDelay time.Duration
	ingest        *ingest.Ingest
	others        []service // that outlive the requests and the ingest
	logger        *slog.Logger
}

// service runs until its context ends.
type service interface{ Run(context.Context) error }

type serviceFunc func(context.Context) error

func (f serviceFunc) Run(ctx context.Context) error { return f(ctx) }

func (c *serveCmd) assemble(db *store.DB, database *database, up *bringUp, spools *spools, sources *sourceKeeper, keys *api.Keys, telemetry *telemetry, logger *slog.Logger) (*server, error) {
	retention, err := c.retention()
	if err != nil {
		return nil, err
	}
	bounds := store.QuarantineBounds{MaxAge: retention.QuarantineAge(c.QuarantineMaxAge), MaxBytes: c.QuarantineMaxBytes}
	metrics := api.NewMetrics()
	mask, err := c.redaction()
	if err != nil {
		return nil, err
	}
	if mask != nil {
		logger.Info("deliveries are masked before they are kept", "rules", mask.Names())
	}
	watch := store.NewWatch(database.ServerURL)
	s := &server{draining: new(atomic.Bool), leaving: new(atomic.Bool), shutdownDelay: c.ShutdownDelay, logger: logger}
	s.ingest = ingest.New(db, ingest.Options{
		Deadline: c.CommitDeadline, Quarantine: bounds, Spools: spools.all(), Ready: up.pending(),
		OnCommit: telemetry.onCommit(metrics.OnCommit), Logger: logger,
	})
	s.others = []service{
		watch,
		serviceFunc(db.Announce),
		serviceFunc(s.ingest.Drain),
		keys,
		up.then(func(ctx context.Context, sessions *aggregator.Sessions) error {
			return aggregator.NewFollower(db, watch, sessions, logger).Run(ctx)
		}),
		up.then(func(ctx context.Context, _ *aggregator.Sessions) error {
			return aggregator.NewSearch(db, watch, logger).Run(ctx)
		}),
		up.then(func(ctx context.Context, _ *aggregator.Sessions) error { return sources.Run(ctx) }),
		&store.Maintenance{DB: db, Quarantine: bounds, Retention: retention, Logger: logger},
	}
	asked, err := c.askedFor(db, watch, up, metrics, mask, logger)
	if err != nil {
		return nil, err
	}
	s.others = append(s.others, asked...)
	if database.private != nil {
		s.others = append(s.others, database.private)
	}
	sandbox, err := database.sandbox()
	if err != nil {
		return nil, err
	}
	handler, err := api.New(api.Config{
		DB: db, Watch: watch, Ingest: s.ingest, Sources: sources.sources, APIToken: c.APIToken,
		Keys: keys, Exposed: c.isExposed(), Sandbox: sandbox,
		MaxBodyBytes: c.MaxBodyBytes, Redact: mask, Now: time.Now, Logger: logger, Metrics: metrics, LagAlarm: c.LagAlarm,
		Draining: s.draining, Version: version(), Traces: telemetry.requests(), TrustedProxies: c.trusted(), Limits: c.limits(), Live: c.live(),
	})
	if err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler:           lastAnswers(handler, s.leaving.Load),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       readTimeoutFor(c.MaxBodyBytes),
		WriteTimeout:      80 * time.Second, // a read may wait for a minute
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		HTTP2:             api.HTTP2(),
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// lastAnswers tells clients to close their connections, where each answer is the
// last of its connection.
func lastAnswers(next http.Handler, isLast func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isLast() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// run serves until the context ends or something fails. Then, in this order:
// requests end, the ingest keeps what it has accepted, the followers stop.
func (s *server) run(ctx context.Context, listener net.Listener) error {
	background := context.WithoutCancel(ctx)
	services, stopServices := context.WithCancel(background)
	defer stopServices()
	ingesting, stopIngest := context.WithCancel(background)
	defer stopIngest()

	group, failed := errgroup.WithContext(services)
	for _, service := range s.others {
		group.Go(func() error { return service.Run(failed) })
	}
	ingested := make(chan error, 1)
	go func() { ingested <- s.ingest.Run(ingesting) }()
	var closing atomic.Bool
	group.Go(func() error {
		if err := s.serve(listener); !closing.Load() {
			return fmt.Errorf("serving HTTP: %w", err)
		}
		return nil
	})

	select {
	case <-ctx.Done():
		s.logger.Info("shutting down", "in", s.shutdownDelay)
		s.draining.Store(true)
		wait(failed, s.shutdownDelay)
	case <-failed.Done():
	}
	s.draining.Store(true)
	closing.Store(true)
	// Connections that are open may have a request under way: each is answered,
	// and told to close, before those that are idle are closed.
	s.leaving.Store(true)
	_ = listener.Close()
	wait(failed, lingerTimeout)
	s.ingest.Hurry(hurryTimeout)
	timeout, cancel := context.WithTimeout(background, shutdownTimeout)
	defer cancel()
	if err := s.http.Shutdown(timeout); err != nil {
		s.logger.Warn("requests did not end in time", "error", err)
		_ = s.http.Close()
	}
	stopIngest()
	err := <-ingested
	stopServices()
	err = errors.Join(err, group.Wait())
	s.logger.Info("stopped")
	return err
}

// wait waits for a time, or until the context ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// list splits a comma-separated flag. One that is set but names nothing is an
// error: it would leave the door open.
func list(flag, value string) ([]string, error) {
	if value == "" {
		return nil, nil
	}
	var items []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("--%s (%s) is set, but holds nothing", flag, variable(flag))
	}
	return items, nil
}

// check refuses what would be unsafe or make no sense.
func (c *serveCmd) check() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen must be HOST:PORT, such as 127.0.0.1:8080: %w", err)
	}
	var missing []string
	if _, err := c.environmentSources(); err != nil {
		return err
	}
	if c.WebhookSecret == "" && c.WebhookToken == "" && !c.mayHaveKeys() { // nor sources
		missing = append(missing, needsProof)
	}
	if c.APIToken == "" && !c.mayHaveKeys() {
		missing = append(missing, needsToken)
	}
	if !isLoopback(host) && len(missing) > 0 {
		return fmt.Errorf("listening on %s, which is not loopback, needs %s", c.Listen, strings.Join(missing, " and "))
	}
	if err := errors.Join(c.checkTLS(), c.checkLimits(), c.checkLive()); err != nil {
		return err
	}
	if strings.TrimSpace(c.APIToken) != c.APIToken {
		return fmt.Errorf("--api-token (%s) has space around it, which no header can carry", variable("api-token"))
	}
	if _, err := c.redaction(); err != nil {
		return err
	}
	if _, err := c.retention(); err != nil {
		return err
	}
	if err := c.checkStreams(); err != nil {
		return err
	}
	if c.MaxBodyBytes < 1 {
		return errors.New("--max-body-bytes must be at least 1")
	}
	if c.HealEvery < 0 || c.ShutdownDelay < 0 || c.CommitDeadline < 0 || c.SpoolMaxBytes < 0 || c.SpoolMinFree < 0 {
		return errors.New("--heal-every, --shutdown-delay, --commit-deadline, --spool-max-bytes and --spool-min-free must be at least 0")
	}
	if c.HealEvery > 0 {
		if _, err := c.record(); err != nil {
			return err
		}
	}
	if c.PostgresListen != "" && c.DatabaseURL != "" {
		return errors.New("--postgres-listen is for the private Postgres; --database-url names another")
	}
	if c.OwnerDatabaseURL != "" && c.DatabaseURL == "" {
		return errors.New("--owner-database-url is the owner's way to a database that --database-url names: set both")
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// greet says what runs where, and what is open.
func (c *serveCmd) greet(listener net.Listener, database *database, logger *slog.Logger) {
	base := c.base(c.Listen, listener)
	logger.Info("rapport is ready", "page", base+"/", "webhooks", "POST "+base+"/webhook", "sessions", "GET "+base+"/sessions")
	c.warnOfPlainHTTP(c.Listen, logger)
	c.warnOfWeakSecrets(logger)
	if database.private != nil && c.PostgresListen != "" {
		logger.Info("the private Postgres listens", "address", c.PostgresListen, "role", "rapport_reader",
			"password_file", filepath.Join(c.DataDir, "reader.password"))
		if host, _, err := net.SplitHostPort(c.PostgresListen); err == nil && !isLoopback(host) {
			logger.Warn("the private Postgres has no TLS: let only a network that you trust reach it", "address", c.PostgresListen)
		}
	}
}

// warnOfWeakSecrets says which secrets are no secret; rapport doctor looks closer.
func (c *serveCmd) warnOfWeakSecrets(logger *slog.Logger) {
	for _, flag := range []struct{ name, values string }{
		{"webhook-secret", c.WebhookSecret}, {"webhook-token", c.WebhookToken}, {"api-token", c.APIToken},
	} {
		for value := range strings.SplitSeq(flag.values, ",") {
			if isWellKnown(strings.TrimSpace(value)) {
				logger.Warn(variable(flag.name) + " is one that everybody tries first: take a random one, such as openssl rand -hex 32")
			}
		}
	}
}

// warnOfRights says where the database lets somebody do more than they should.
func warnOfRights(ctx context.Context, db *store.DB, logger *slog.Logger) {
	if triggers, err := db.GuardedByTriggersOnly(ctx); err == nil && triggers {
		logger.Warn("the log is append-only by triggers alone, since the server's role owns it; see RAPPORT_OWNER_DATABASE_URL")
	}
	if public, err := db.PublicMayCreate(ctx); err == nil && public {
		logger.Warn("every role of the database may create functions where the server could call them: " +
			"REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	}
}
