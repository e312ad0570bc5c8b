package embedpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// process is a postmaster: a child of ours, or the orphan of a killed Rapport.
type process struct {
	os   *os.Process
	done chan struct{} // closed when it has ended
}

// spawn starts the postmaster. Its output goes to start.log until its own log is
// open.
func (s *Server) spawn() (*process, error) {
	// Made anew each time: the last one may belong to another user.
	if err := os.Remove(s.startLog()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	out, err := os.OpenFile(s.startLog(), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := s.account.command(context.Background(), s.bin.postgres(), "-D", s.cluster(), "-c", "config_file="+confPath(s.dir))
	cmd.Stdout, cmd.Stderr = out, out
	if s.cfg.Ephemeral {
		dieWithParent(cmd, syscall.SIGQUIT)
	}
	withholdInheritedFiles()
	return startChild(cmd)
}

// withholdInheritedFiles closes on exec what this process was started with beyond
// the standard files, such as a shell's pipes: whoever waits for their end must
// not wait for an orphan. Files that Go opened are closed on exec anyway.
func withholdInheritedFiles() {
	entries, _ := os.ReadDir("/dev/fd")
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// startChild starts the command on a thread of its own, which stays for as long
// as the child: its end would set off dieWithParent.
func startChild(cmd *exec.Cmd) (*process, error) {
	started := make(chan error)
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return &process{os: cmd.Process, done: done}, nil
}

// follow watches a process that is no child of ours.
func follow(p *os.Process) *process {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for alive(p) {
			time.Sleep(50 * time.Millisecond)
		}
	}()
	return &process{os: p, done: done}
}

// alive passes over a zombie, which a lazy init may leave for ever.
func alive(p *os.Process) bool {
	err := p.Signal(syscall.Signal(0))
	if err != nil && !errors.Is(err, os.ErrPermission) {
		return false
	}
	line, known := commandLine(p.Pid)
	return line != "" || !known
}

// stop ends the process: by a fast shutdown, for which it gets most of the time
// until ctx's deadline, then by an immediate one, then by a kill.
func (p *process) stop(ctx context.Context, log *slog.Logger) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	left := time.Until(deadline)
	steps := []struct {
		signal   syscall.Signal
		patience time.Duration
	}{
		{syscall.SIGINT, left * 7 / 10},
		{syscall.SIGQUIT, max(left*2/10, 500*time.Millisecond)},
		{syscall.SIGKILL, 5 * time.Second},
	}
	for i, step := range steps {
		if i > 0 {
			log.Warn("Postgres does not end, so it is forced", "pid", p.os.Pid, "signal", step.signal)
		}
		if p.signalAndWait(step.signal, step.patience) {
			return nil
		}
	}
	return fmt.Errorf("can't stop Postgres (pid %d)", p.os.Pid)
}

// signalAndWait reports whether the process has ended in time.
func (p *process) signalAndWait(signal syscall.Signal, patience time.Duration) bool {
	_ = p.os.Signal(signal) // fails if it has ended, which is what done tells
	select {
	case <-p.done:
		return true
	case <-time.After(patience):
		return false
	}
}
