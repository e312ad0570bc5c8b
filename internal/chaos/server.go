package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"rapport/store/embedpg"
)

// secret is what deliveries are signed with.
const secret = "chaos-secret"

// server is a `rapport serve` that can be started again on the same address and
// data directory.
type server struct {
	name    string
	addr    string
	dataDir string
	program string
	args    []string
	env     []string
	output  string // the file of its log
	child   *child // the last one that was started
}

// newServer makes a server, not started, with flags besides those that every server
// has. With an empty URL it has a Postgres of its own.
func (t *Trial) newServer(database string, flags ...string) (*server, error) {
	name := fmt.Sprintf("server-%d", len(t.servers)+1)
	addr, err := t.freeAddress()
	if err != nil {
		return nil, err
	}
	s := &server{
		name: name, addr: addr, program: t.program, dataDir: filepath.Join(t.dir, name),
		output: filepath.Join(t.dir, name+".log"), env: []string{"RAPPORT_WEBHOOK_SECRET=" + secret},
	}
	s.args = append([]string{"serve", "--listen", addr, "--data-dir", s.dataDir}, flags...)
	if database != "" {
		s.env = append(s.env, "RAPPORT_DATABASE_URL="+database)
		err = os.MkdirAll(s.dataDir, 0o711)
	} else {
		t.database = s.privateURL
		err = t.copyPostgres(s.dataDir)
	}
	t.servers = append(t.servers, s)
	return s, err
}

// serve makes a server and starts it.
func (t *Trial) serve(ctx context.Context, database string, flags ...string) (*server, error) {
	s, err := t.newServer(database, flags...)
	if err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

// privateURL is the way to the server's own Postgres.
func (s *server) privateURL(role string) (string, error) {
	urlOf, err := embedpg.Running(s.dataDir)
	if err != nil {
		return "", err
	}
	return urlOf(role), nil
}

// startWithin is how long a start may take here, where much else goes on.
const startWithin = 40 * time.Second

// start returns when the server can keep deliveries.
func (s *server) start(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	return s.ready(ctx)
}

func (s *server) launch() (err error) {
	s.child, err = startChild(exec.Command(s.program, s.args...), s.output, s.env)
	return err
}

// ready waits until the server can keep deliveries.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return poll(ctx, func() error {
		if s.child.ended() {
			return final{fmt.Errorf("%s ended: %s", s.name, s.lastWords())}
		}
		_, err := s.readiness(ctx)
		return err
	})
}

func (s *server) lastWords() string {
	content, _ := os.ReadFile(s.output)
	return lastLines(string(content), 8)
}

func (s *server) pid() int { return s.child.cmd.Process.Pid }

// kill is what an out-of-memory killer does. A Postgres of its own lives on.
func (s *server) kill() error {
	if err := s.child.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-s.child.done
	return nil
}

func (s *server) freeze() error { return s.child.signal(syscall.SIGSTOP) }
func (s *server) thaw() error   { return s.child.signal(syscall.SIGCONT) }

// terminateWithin is promised, but for --shutdown-delay.
const terminateWithin = 10 * time.Second

// terminate ends the server by SIGTERM, and returns how long that took.
func (s *server) terminate() (time.Duration, error) {
	began := time.Now()
	if err := s.child.signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-s.child.done:
	case <-time.After(3 * terminateWithin):
		return 0, fmt.Errorf("%s does not end by SIGTERM: %s", s.name, s.lastWords())
	}
	if code := s.child.cmd.ProcessState.ExitCode(); code != 0 {
		return 0, fmt.Errorf("%s ended with code %d: %s", s.name, code, s.lastWords())
	}
	return time.Since(began), nil
}

// readiness is of GET /readyz what the rig looks at.
type readiness struct {
	Status   string
	Database struct{ Status string }
	Lag      struct {
		Events  *int64   `json:"lag_events"`
		Seconds *float64 `json:"lag_seconds"`
	}
	Spool struct {
		Status  string
		Records int64
		Damaged int `json:"damaged_segments"`
		Open    bool
	}
}

var errNotReady = errors.New("not ready")

// readiness asks the server; the error is errNotReady if it says that it is not.
func (s *server) readiness(ctx context.Context) (readiness, error) {
	var r readiness
	code, err := s.get(ctx, "/readyz", &r)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s: %w: %s", s.name, errNotReady, r.Status)
	}
	return r, err
}

// settled is nil once nothing waits in the spool, and the rollups have the whole log.
func (s *server) settled(ctx context.Context) error {
	r, err := s.readiness(ctx)
	switch {
	case err != nil:
		return err
	case r.Database.Status != "ok":
		return fmt.Errorf("%s: its database is %s", s.name, r.Database.Status)
	case r.Spool.Records != 0 || r.Spool.Open:
		return fmt.Errorf("%s: %d records in its spool (%s)", s.name, r.Spool.Records, r.Spool.Status)
	case r.Lag.Events == nil || *r.Lag.Events != 0:
		return fmt.Errorf("%s: its rollups are behind", s.name)
	}
	return nil
}

var reader = &http.Client{
	Timeout:   10 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true}, // a server may be another by now
}

// get reads a path as JSON, and returns the status.
func (s *server) get(ctx context.Context, path string, into any) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		return 0, err
	}
	response, err := reader.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode, json.NewDecoder(response.Body).Decode(into)
}

// final is an error that waiting does not mend.
type final struct{ error }

// poll repeats something until it succeeds. The error is its last one.
func poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		if last, ok := errors.AsType[final](err); ok {
			return last.error
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not in time: %w", err)
		}
	}
}
