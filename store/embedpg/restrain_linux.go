package embedpg

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// What a restrained backend may have.
const (
	restrainedMemory = 512 << 20 // bytes of its own, beside the shared ones
	restrainedNice   = 10        // a tenth of the weight of a process of nice 0
	restrainedCPU    = 90        // seconds, more than what can be stopped ever has
)

// Restrain holds a backend of a private Postgres back for as long as it lives: Postgres
// itself has no bound on the memory of a statement, and one that the system ends for
// its memory takes all other connections with it. Some functions of Postgres hear of no
// cancellation, for days if they are given enough: meanwhile what all others write could
// not be cleaned up, and deliveries would become slower and slower. So the system ends
// those for their time; Postgres starts anew then, within seconds. It is an error where
// the system doesn't let this process do that.
func Restrain(pid int) error {
	if os.Geteuid() != 0 {
		return restrain(pid)
	}
	// In a container, root may not do to others what they may do to themselves.
	uid, gid, err := owner(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		// Linux has a user for each thread. This one is never unlocked, so it ends here.
		runtime.LockOSThread()
		err := become(uid, gid)
		if err == nil {
			err = restrain(pid)
		}
		done <- err
	}()
	return <-done
}

// become makes this thread alone another user's.
func become(uid, gid int) error {
	for _, call := range []struct{ number, id uintptr }{
		{unix.SYS_SETRESGID, uintptr(gid)}, {unix.SYS_SETRESUID, uintptr(uid)}, // #nosec G115 -- the system's own ids
	} {
		if _, _, errno := syscall.RawSyscall(call.number, call.id, call.id, call.id); errno != 0 {
			return fmt.Errorf("acting as the user of Postgres: %w", errno)
		}
	}
	return nil
}

func restrain(pid int) error {
	limit := &unix.Rlimit{Cur: restrainedMemory, Max: restrainedMemory}
	if err := unix.Prlimit(pid, unix.RLIMIT_DATA, limit, nil); err != nil {
		return fmt.Errorf("limiting the memory of a statement: %w", err)
	}
	// Both limits: at the first one alone it would leave its memory in a file.
	limit = &unix.Rlimit{Cur: restrainedCPU, Max: restrainedCPU}
	if err := unix.Prlimit(pid, unix.RLIMIT_CPU, limit, nil); err != nil {
		return fmt.Errorf("limiting the time of a statement: %w", err)
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, pid, restrainedNice); err != nil {
		return fmt.Errorf("lowering the priority of a statement: %w", err)
	}
	return nil
}

// Terminate ends a backend of a private Postgres as pg_terminate_backend does.
func Terminate(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }
