package embedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// unfinished is how a cluster is called until initdb is through with it.
const unfinished = "postgres.tmp-"

// clusterMajor reads which Postgres made the cluster; 0 if there is none yet.
func clusterMajor(cluster string) (int, error) {
	content, err := os.ReadFile(filepath.Join(cluster, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the version of the cluster: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("%s/PG_VERSION is no version: %w", cluster, err)
	}
	return major, nil
}

// ensureCluster makes the cluster if major says that there is none. It is made
// under another name and then renamed, so one that is half made (by an initdb
// that was killed) is never taken for one.
func (s *Server) ensureCluster(ctx context.Context, major int) error {
	s.removeUnfinished()
	if major != 0 {
		return nil
	}
	if err := os.Remove(s.cluster()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is neither empty nor a Postgres cluster: move it away (%w)", s.cluster(), err)
	}
	began := time.Now()
	made, err := s.initCluster(ctx)
	if err != nil {
		return fmt.Errorf("making the Postgres cluster: %w", err)
	}
	if err := os.Rename(made, s.cluster()); err != nil {
		return fmt.Errorf("making the Postgres cluster: %w", err)
	}
	s.log.Info("made a Postgres cluster", "dir", s.cluster(), "major", s.bin.major, "took", time.Since(began).Round(time.Millisecond))
	return syncDir(s.dir)
}

// removeUnfinished is no more than tidying up: names are never used twice.
func (s *Server) removeUnfinished() {
	left, _ := filepath.Glob(filepath.Join(globEscape(s.dir), unfinished+"*"))
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			s.log.Warn("removing a half-made cluster failed", "error", err)
		}
	}
}

func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// initCluster makes a cluster under a new name, which it returns. Text sorts by
// code point, fast and alike on every machine. Upper and lower case are known for
// all of Unicode where the system has the locale for it.
func (s *Server) initCluster(ctx context.Context) (string, error) {
	made, err := s.initdb(ctx, "C.UTF-8")
	if err != nil && strings.Contains(err.Error(), "invalid locale") {
		made, err = s.initdb(ctx, "C")
	}
	return made, err
}

func (s *Server) initdb(ctx context.Context, ctype string) (string, error) {
	dir, err := os.MkdirTemp(s.dir, unfinished+"*")
	if err != nil {
		return "", err
	}
	if err := s.account.own(dir); err != nil {
		return "", err
	}
	args := []string{"-D", dir, "--encoding=UTF8", "--locale=C", "--lc-ctype=" + ctype, "--auth=trust", "--username=" + roleSuper}
	if s.cfg.Ephemeral {
		args = append(args, "--no-sync")
	}
	cmd := s.account.command(ctx, s.bin.initdb(), args...)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second

	// An initdb without its Rapport is of no use. Its life hangs on this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dieWithParent(cmd, syscall.SIGKILL)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("initdb: %w: %s", err, oneLine(string(out))), os.RemoveAll(dir))
	}
	return dir, nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
