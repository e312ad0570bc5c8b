package chaos

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// child is a process that was started, in a process group of its own: a Ctrl-C
// at the terminal is for the rig alone.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startChild starts the command with its output going to a file, to which it is
// appended. It sees no RAPPORT_ variable but those given, as NAME=value.
func startChild(cmd *exec.Cmd, output string, env []string) (*child, error) {
	out, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(plainEnvironment(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		_ = cmd.Wait()
	}()
	return c, nil
}

// plainEnvironment is ours, without what would configure a rapport. Where
// Postgres's programs are stays.
func plainEnvironment() []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "RAPPORT_") || strings.HasPrefix(variable, "RAPPORT_POSTGRES_BIN=") {
			env = append(env, variable)
		}
	}
	return env
}

func (c *child) signal(signal syscall.Signal) error {
	err := c.cmd.Process.Signal(signal)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}
