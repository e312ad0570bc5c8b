//go:build !linux

package embedpg

import (
	"os/exec"
	"syscall"
)

// dieWithParent does nothing where the system has no such thing.
func dieWithParent(*exec.Cmd, syscall.Signal) {}
