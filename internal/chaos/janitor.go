package chaos

import (
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// janitorEnv makes a program be a janitor, of the directory that it names.
const janitorEnv = "RAPPORT_CHAOS_JANITOR"

// janitor is a process that outlives the rig, however that ends: by a kill, or by
// a test's time running out, after which no deferred function runs. Then it ends
// all processes of the rig's directory, and removes it. A signal at the death of
// the parent would not reach the Postgres of a server that was killed.
type janitor struct {
	cmd  *exec.Cmd
	life io.WriteCloser // closed by the kernel when the rig ends
}

// BeJanitor is called first by every program that makes a Rig. It does not return in
// the process that the rig starts as its janitor.
func BeJanitor() {
	dir := os.Getenv(janitorEnv)
	if dir == "" {
		return
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	_, _ = io.Copy(io.Discard, os.Stdin)
	sweep(dir)
	_ = os.RemoveAll(dir)
	os.Exit(0)
}

func startJanitor(dir string) (*janitor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), janitorEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	life, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &janitor{cmd, life}, nil
}

// dismiss has it do its work, and waits for that.
func (j *janitor) dismiss() {
	_ = j.life.Close()
	_ = j.cmd.Wait()
}
