package embedpg

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// Config tells where and how the private Postgres runs.
type Config struct {
	// DataDir is the root of Rapport's data directory; DefaultDataDir if empty.
	DataDir string

	// Listen opens a TCP port besides the socket, as "host:port", where
	// rapport_reader alone may log in, with its password. Empty: no port.
	Listen string

	// Patience is how long Start waits for Postgres to accept connections. A
	// Postgres that takes longer, or that can't be started, is no error then: Run
	// goes on with it. Zero: Start waits, and fails with it.
	Patience time.Duration

	// Ephemeral is for tests: nothing is synced to disk, memory is small, and
	// (on Linux) Postgres ends with the process that started it, however that
	// ends.
	Ephemeral bool

	// Logger is told of starts, takeovers and crashes; slog.Default if nil.
	Logger *slog.Logger
}

// Server is a running private Postgres and the lock on its data directory. Its
// methods may be called from several goroutines.
type Server struct {
	cfg      Config
	log      *slog.Logger
	dir      string // the data directory: absolute, without symbolic links
	lock     *flock.Flock
	account  account
	bin      binaries
	port     tcpPort
	endpoint endpoint
	password string // of rapport_reader over TCP; empty without Listen

	ending    context.Context // done once Stop was called
	end       context.CancelFunc
	starting  context.Context // of a late start: done once Run has ended, too
	stopStart context.CancelFunc

	mu   sync.Mutex // held while proc is started, replaced or stopped
	proc *process
}

// Start takes the lock on the data directory, makes the cluster if there is none,
// starts Postgres as a child of this process (or takes over the one that a killed
// Rapport left behind), and creates what is missing of the database rapport and
// its roles rapport_owner, rapport_server and rapport_reader. It returns when
// Postgres accepts connections; ctx bounds that alone.
//
// Postgres lives until Stop: it outlives ctx, and even this process if that is
// killed.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := newServer(cfg)
	if err != nil {
		return nil, err
	}
	if s.lock, err = acquire(s.dir); err != nil {
		return nil, err
	}
	if err := s.setUp(ctx); err != nil {
		s.end()
		return nil, errors.Join(err, release(s.lock))
	}
	return s, nil
}

func newServer(cfg Config) (*Server, error) {
	if cfg.DataDir == "" {
		cfg.DataDir = DefaultDataDir()
	}
	port, err := parseListen(cfg.Listen)
	if err != nil {
		return nil, err
	}
	dir, err := makeDataDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, dir: dir, port: port}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.ending, s.end = context.WithCancel(context.Background())
	s.starting, s.stopStart = context.WithCancel(s.ending)
	return s, nil
}

// setUp does what needs the lock.
func (s *Server) setUp(ctx context.Context) (err error) {
	if s.account, err = chooseAccount(s.cluster()); err != nil {
		return err
	}
	major, err := clusterMajor(s.cluster())
	if err != nil {
		return err
	}
	if s.bin, err = findBinaries(ctx, s.account, major, s.cluster()); err != nil {
		return err
	}
	if err := s.account.admit(ctx, s.dir, s.bin); err != nil {
		return err
	}
	if err := s.ensureCluster(ctx, major); err != nil {
		return err
	}
	if s.endpoint, err = makeEndpoint(s.dir, s.port.number, s.account); err != nil {
		return err
	}
	if s.cfg.Listen != "" {
		if s.password, err = readerPassword(s.dir); err != nil {
			return err
		}
	}
	if s.cfg.Patience > 0 {
		s.bringUpLate(ctx)
		return nil
	}
	return s.bringUp(ctx)
}

// bringUpLate begins to bring Postgres up, and waits for it for a while. If that
// fails, Run heals it.
func (s *Server) bringUpLate(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.bringUp(s.starting); err != nil && s.starting.Err() == nil {
			s.log.Error("Postgres could not be started", "error", err)
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(s.cfg.Patience):
	}
}

func (s *Server) cluster() string { return clusterDir(s.dir) }

func clusterDir(dataDir string) string { return filepath.Join(dataDir, "postgres") }

// URL is where role connects over the socket, for psql and pgx alike. The
// database is rapport, but for the superuser postgres, who gets postgres.
func (s *Server) URL(role string) string { return s.endpoint.url(role) }

// ListenURL is where rapport_reader connects over TCP, password included; empty
// if Config.Listen is.
func (s *Server) ListenURL() string {
	if s.cfg.Listen == "" {
		return ""
	}
	return s.port.url(roleReader, s.password)
}

// Run watches over Postgres until ctx is done or Stop is called, and returns nil
// then, with Postgres left as it is. A Postgres that ends meanwhile is started
// again, as often as it takes.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	defer context.AfterFunc(ctx, s.stopStart)()
	housekeeping := time.NewTicker(time.Minute)
	defer housekeeping.Stop()
	var healed time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-housekeeping.C:
			s.pruneLogs()
		case <-s.exited():
			s.heal(ctx, healed)
			healed = time.Now()
		}
	}
}

// exited is closed while no Postgres runs.
func (s *Server) exited() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		none := make(chan struct{})
		close(none)
		return none
	}
	return s.proc.done
}

// heal starts Postgres again until that succeeds or ctx is done: at once, unless
// it has just been healed.
func (s *Server) heal(ctx context.Context, last time.Time) {
	delay := 100 * time.Millisecond
	if time.Since(last) < 10*time.Second {
		delay = 2 * time.Second
	}
	for ctx.Err() == nil && s.ending.Err() == nil {
		s.log.Error("Postgres ended unexpectedly, starting it again", "in", delay)
		if pause(ctx, delay) != nil {
			return
		}
		err := s.bringUp(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.log.Error("starting Postgres again failed", "error", err)
		delay = min(2*delay, 5*time.Second)
	}
}

// Stop shuts Postgres down and releases the lock: fast at first, without waiting
// for clients; as if it had crashed when ctx's deadline nears; and killed in the
// end. Nothing committed is lost by any of them. Without a deadline it takes a
// minute at most. Stopping twice does no harm.
func (s *Server) Stop(ctx context.Context) error {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lock.Locked() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if s.proc == nil { // it never started
		return release(s.lock)
	}
	return errors.Join(s.proc.stop(ctx, s.log), release(s.lock))
}
