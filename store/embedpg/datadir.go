package embedpg

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// DefaultDataDir is /var/lib/rapport for root, whose home Postgres could not
// enter, and $XDG_DATA_HOME/rapport or ~/.local/share/rapport for others.
func DefaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/rapport"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "rapport")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "rapport-data"
	}
	return filepath.Join(home, ".local", "share", "rapport")
}

// makeDataDir creates the directory and returns its real, absolute path, by
// which a running Postgres is recognised.
func makeDataDir(dir string) (string, error) {
	perm := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		perm = 0o711
	}
	if err := os.MkdirAll(dir, perm); err != nil {
		return "", fmt.Errorf("the data directory %s can't be made; name another with --data-dir: %w", dir, err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return filepath.Abs(real)
}

// acquire locks the data directory. The lock goes with the process: the file is
// closed on exec, so no child keeps it.
func acquire(dir string) (*flock.Flock, error) {
	path := filepath.Join(dir, "lock")
	lock := flock.New(path)
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("the data directory %s is in use by another rapport%s", dir, holder(path))
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	return lock, nil
}

func holder(path string) string {
	content, _ := os.ReadFile(path)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(content))); err == nil {
		return fmt.Sprintf(" (pid %d)", pid)
	}
	return ""
}

func release(lock *flock.Flock) error {
	// The pid is of use while the lock is held, and misleading after.
	_ = os.Truncate(lock.Path(), 0)
	return lock.Unlock()
}

// replaceFile writes a file so that at any moment it has its old content or its
// new one, and is no link to something else.
func replaceFile(path, content string, perm os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing after the rename
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
