package embedpg

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the command get the signal when the thread that starts it
// ends: lock the goroutine to its thread for as long.
func dieWithParent(cmd *exec.Cmd, signal syscall.Signal) {
	cmd.SysProcAttr.Pdeathsig = signal
}
