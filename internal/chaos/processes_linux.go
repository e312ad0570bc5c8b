package chaos

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sweep ends every process whose arguments name a file in dir, with its children,
// and unmounts what is mounted there. Servers and Postgres alike are started with
// their directory, so none escapes, whoever its parent is by now.
func sweep(dir string) {
	patience := time.Now().Add(3 * time.Second)
	for {
		pids := processesOf(dir)
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			end(pid, time.Now().After(patience))
		}
		time.Sleep(20 * time.Millisecond)
	}
	unmountAll(dir)
}

// end kills; but Postgres ends by itself at first, for only then is its shared
// memory given back.
func end(pid int, now bool) {
	signal := syscall.SIGKILL
	if !now && strings.HasSuffix(program(pid), "/postgres") {
		signal = syscall.SIGQUIT
	}
	for _, child := range childrenOf(pid) {
		_ = syscall.Kill(child, syscall.SIGCONT)
	}
	_ = syscall.Kill(pid, syscall.SIGCONT)
	_ = syscall.Kill(pid, signal)
}

// processesOf are the processes that have an argument with dir in it.
func processesOf(dir string) []int {
	var found []int
	for _, pid := range allProcesses() {
		arguments, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if pid != os.Getpid() && bytes.Contains(arguments, []byte(dir+"/")) {
			found = append(found, pid)
		}
	}
	return found
}

func program(pid int) string {
	arguments, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	name, _, _ := bytes.Cut(arguments, []byte{0})
	return string(name)
}

func allProcesses() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// childrenOf are the processes that a process is the parent of.
func childrenOf(parent int) []int {
	var children []int
	for _, pid := range allProcesses() {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		// The name, in brackets, may have spaces; the state and the parent follow.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children
}

// residentBytes is how much memory a process has in use.
func residentBytes(pid int) int64 {
	statm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// mountSmallDisk makes dir a file system of a size in MiB, of its own. It takes root.
func mountSmallDisk(dir string, mib int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0755", mib)); err != nil {
		return fmt.Errorf("%w: mounting a tmpfs: %w", errNotHere, err)
	}
	return nil
}

func unmountAll(dir string) {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], filepath.Clean(dir)+"/") {
			_ = syscall.Unmount(fields[1], syscall.MNT_DETACH)
		}
	}
}
