package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// server is a rapport of its own, with a private Postgres.
type server struct {
	addr string
	dir  string
	cmd  *exec.Cmd
}

// readyWithin is for how long a server may take to be ready.
const readyWithin = time.Minute

func start(ctx context.Context, rapport string) (_ *server, err error) {
	s := &server{}
	if s.dir, err = os.MkdirTemp("", "rapport-bench-live-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if err := os.Chmod(s.dir, 0o755); err != nil { // started by root, Postgres is somebody else
		return nil, err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.addr = free.Addr().String()
	_ = free.Close()
	s.cmd = exec.CommandContext(ctx, rapport, "serve", "--listen", s.addr, "--data-dir", s.dir+"/data", "--log-level", "error")
	s.cmd.Stderr = os.Stderr
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	return s, s.ready(ctx)
}

func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		r, err := http.Get("http://" + s.addr + "/readyz?for=reads")
		if err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w", ctx.Err())
		}
	}
}

func (s *server) stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait()
	}
	_ = os.RemoveAll(s.dir)
}

// memory is what a process has, in MiB of resident memory.
type memory struct{ now, most float64 }

func (s *server) memory() (memory, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return memory{}, err
	}
	defer func() { _ = file.Close() }()
	var m memory
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		var kib float64
		if _, err := fmt.Sscanf(value, "%f kB", &kib); err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			m.now = kib / 1024
		case "VmHWM":
			m.most = kib / 1024
		}
	}
	return m, nil
}
