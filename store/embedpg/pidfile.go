package embedpg

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Running finds the private Postgres of a data directory from another process,
// and returns what makes the URL of a role. It is an error if none is running, or
// if this user may not look.
func Running(dataDir string) (urlFor func(role string) string, err error) {
	if dataDir == "" {
		dataDir = DefaultDataDir()
	}
	dir, err := filepath.EvalSymlinks(dataDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no Postgres is running in %s: start rapport serve first", dataDir)
	}
	if err != nil {
		return nil, fmt.Errorf("no Postgres is running in %s: %w", dataDir, err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	file, err := readPIDFile(clusterDir(dir))
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("only the user who runs rapport serve (or root) can use the Postgres of %s: %w", dir, err)
	}
	if err != nil || findPostmaster(clusterDir(dir), file.pid) == nil {
		return nil, fmt.Errorf("no Postgres is running in %s: start rapport serve first", dir)
	}
	if file.status != statusReady {
		return nil, fmt.Errorf("the Postgres in %s (pid %d) is starting or stopping: try again", dir, file.pid)
	}
	return endpoint{dir: file.socketDir, port: file.port}.url, nil
}

// What Postgres says of itself in postmaster.pid.
const (
	statusReady    = "ready"
	statusStopping = "stopping"
)

// pidFile is what is needed of postmaster.pid, which Postgres writes line by line
// in its start. https://www.postgresql.org/docs/current/storage-file-layout.html
type pidFile struct {
	pid       int
	port      int
	socketDir string
	status    string
}

func pidPath(cluster string) string { return filepath.Join(cluster, "postmaster.pid") }

func readPIDFile(cluster string) (pidFile, error) {
	content, err := os.ReadFile(pidPath(cluster))
	if err != nil {
		return pidFile{}, err
	}
	lines := make([]string, 8)
	copy(lines, strings.Split(string(content), "\n"))
	pid, err := strconv.Atoi(lines[0])
	if err != nil {
		return pidFile{}, fmt.Errorf("%s: %w", pidPath(cluster), err)
	}
	port, _ := strconv.Atoi(lines[3])
	return pidFile{pid: pid, port: port, socketDir: lines[4], status: strings.TrimSpace(lines[7])}, nil
}

// findPostmaster returns the process if it is the postmaster of the cluster: the
// pid of one that has ended may be anybody's now.
func findPostmaster(cluster string, pid int) *os.Process {
	if pid <= 0 {
		return nil
	}
	// The handle is taken first, so that what is checked is what is kept.
	p, err := os.FindProcess(pid)
	if err != nil || !alive(p) {
		return nil
	}
	line, _ := commandLine(pid)
	if !strings.Contains(line+" ", " -D "+cluster+" ") {
		return nil
	}
	return p
}

// findOrphan returns the running postmaster of the cluster and what it says of
// itself; nil if there is none.
func findOrphan(cluster string) (*process, string) {
	file, err := readPIDFile(cluster)
	if err != nil {
		return nil, ""
	}
	p := findPostmaster(cluster, file.pid)
	if p == nil {
		return nil, ""
	}
	return follow(p), file.status
}

// clearReusedPID removes the lock files of a Postgres that has ended if its pid
// is another program's now, for Postgres takes any process of its user for its
// like. (Pids come again soon in a container.) It still finds backends that are
// left, by their shared memory.
func clearReusedPID(cluster string, e endpoint) error {
	file, err := readPIDFile(cluster)
	if err != nil || file.pid <= 0 {
		return nil
	}
	line, known := commandLine(file.pid)
	if !known || strings.Contains(line, "postgres") {
		return nil
	}
	for _, path := range []string{pidPath(cluster), e.socket() + ".lock"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// commandLine returns a process's arguments, separated by spaces; empty for a
// zombie. It is not known if there is no such process or the system does not
// tell.
func commandLine(pid int) (line string, known bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil {
		return strings.TrimRight(strings.ReplaceAll(string(content), "\x00", " "), " "), true
	}
	if runtime.GOOS == "linux" {
		return "", false
	}
	content, err = exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output() // #nosec G204 -- a number
	return strings.TrimSpace(string(content)), err == nil
}
