//go:build !linux

package embedpg

import "syscall"

// Restrain does nothing here.
func Restrain(int) error { return nil }

// Terminate ends a backend of a private Postgres as pg_terminate_backend does.
func Terminate(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }
