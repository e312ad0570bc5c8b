package embedpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// Set in the environment of a test binary, they make it a server of that data
// directory instead of running tests.
const (
	serveEnv     = "EMBEDPG_TEST_SERVE"
	ephemeralEnv = "EMBEDPG_TEST_EPHEMERAL"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		if err := serve(Config{DataDir: dir, Ephemeral: os.Getenv(ephemeralEnv) != ""}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// serve runs a server until its standard input ends, which it does with the test
// at the latest.
func serve(cfg Config) error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	s, err := Start(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return errors.Join(s.Run(ctx), s.Stop(context.Background()))
}

// helper is a process that serves a data directory, to be killed. It writes to
// two pipes: its standard output, and one as a shell may leave open to it.
type helper struct {
	cmd    *exec.Cmd
	stdout *bufio.Reader
	extra  *os.File
}

func startHelper(t *testing.T, dir string, env ...string) *helper {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), serveEnv+"="+dir), env...)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	extra, theirs, err := os.Pipe()
	must(t, err)
	cmd.ExtraFiles = []*os.File{theirs}
	must(t, cmd.Start())
	must(t, theirs.Close())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
		_ = extra.Close()
	})
	return &helper{cmd: cmd, stdout: bufio.NewReader(stdout), extra: extra}
}

func (h *helper) awaitReady(t *testing.T) {
	t.Helper()
	if line, err := h.stdout.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the helper said %q: %v", line, err)
	}
}

// kill does what kill -9 does, and waits until whoever reads the process's
// output is at its end.
func (h *helper) kill(t *testing.T) {
	t.Helper()
	must(t, h.cmd.Process.Kill())
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, io.MultiReader(h.stdout, h.extra))
		ended <- err
	}()
	select {
	case err := <-ended:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("the output of a killed process has no end: somebody inherited it")
	}
}

// dataDir is a directory that any user can reach. When the test is over it
// is gone, and so is a Postgres in it.
func dataDir(t *testing.T) string {
	t.Helper()
	parent, err := os.MkdirTemp("", "embedpg-test-")
	must(t, err)
	must(t, os.Chmod(parent, 0o755))
	dir := filepath.Join(parent, "data")
	t.Cleanup(func() {
		if orphan, _ := findOrphan(clusterDir(dir)); orphan != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			must(t, orphan.stop(ctx, slog.New(slog.DiscardHandler)))
		}
		must(t, os.RemoveAll(parent))
	})
	return dir
}

// start starts a server that is stopped when the test is over.
func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	s, err := Start(ctx, cfg)
	must(t, err)
	t.Logf("started in %v", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must(t, s.Stop(ctx))
}

// run runs the server's supervision until the test is over.
func run(t *testing.T, s *Server) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
}

// query returns the one text that the query gives.
func query(t *testing.T, url, sql string) string {
	t.Helper()
	text, err := tryQuery(t.Context(), url, sql)
	must(t, err)
	return text
}

func tryQuery(ctx context.Context, url, sql string) (text string, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, sql).Scan(&text)
	return text, err
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), sql)
	must(t, err)
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("in vain waited for: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks for an error of one line that has all the parts.
func refused(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	t.Log(err)
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than a line: %v", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}
