package embedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// keptLogs bounds Postgres's logs, with the size at which it begins a new one:
// about 100 MB.
const keptLogs = 10

func (s *Server) startLog() string { return filepath.Join(s.dir, "start.log") }

// pruneLogs removes the oldest logs. Their names sort by time.
func (s *Server) pruneLogs() {
	names := s.logs()
	for _, name := range names[:max(len(names)-keptLogs, 0)] {
		if err := os.Remove(name); err != nil {
			s.log.Warn("removing an old log of Postgres failed", "error", err)
		}
	}
}

func (s *Server) logs() []string {
	names, _ := filepath.Glob(filepath.Join(globEscape(s.cluster()), "log", "*.log"))
	return names
}

// DropOldLogs has the Postgres of a data directory that runs begin a new log, and
// removes those before it.
func DropOldLogs(ctx context.Context, dataDir string) error {
	urlFor, err := Running(dataDir)
	if err != nil {
		return err
	}
	s := &Server{dir: dataDir}
	conn, err := connect(ctx, urlFor(roleSuper))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	before := s.logs()
	for range 30 { // a log is named by its second
		if _, err := conn.Exec(ctx, "SELECT pg_rotate_logfile()"); err != nil {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		if now := s.logs(); len(now) > len(before) {
			break
		}
	}
	now := s.logs()
	for _, name := range now[:max(len(now)-1, 0)] {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("removing an old log of Postgres: %w", err)
		}
	}
	return nil
}

// errLeftovers says that backends of a killed Postgres still run.
var errLeftovers = errors.New("processes of a killed Postgres are still ending")

// leftovers marks the error that can be cured by waiting.
func leftovers(err error) error {
	if strings.Contains(err.Error(), "pre-existing shared memory block") {
		return fmt.Errorf("%w: %w", errLeftovers, err)
	}
	return err
}

// said quotes what Postgres wrote since it was started. Its log may come a moment
// after its end.
func (s *Server) said(since time.Time) string {
	output := s.output(since)
	for range 10 {
		if strings.Contains(output, "FATAL") || strings.Contains(output, "PANIC") {
			break
		}
		time.Sleep(50 * time.Millisecond)
		output = s.output(since)
	}
	return oneLine(output)
}

// output is what Postgres wrote itself, and then to its log.
func (s *Server) output(since time.Time) string {
	content, _ := os.ReadFile(s.startLog())
	names := s.logs()
	if len(names) == 0 {
		return string(content)
	}
	newest := slices.Max(names)
	info, err := os.Stat(newest)
	if err != nil || info.ModTime().Before(since) {
		return string(content)
	}
	more, _ := os.ReadFile(newest)
	// A start within the same second goes on with the log of the last one.
	begin := max(strings.LastIndex(string(more), "starting PostgreSQL"), 0)
	return string(content) + string(more[begin:])
}

// oneLine joins what tells of a failure, without the time and pid before each
// line; the last lines if nothing does.
func oneLine(output string) string {
	var lines, failures []string
	for line := range strings.Lines(output) {
		if _, message, ok := strings.Cut(line, "] "); ok {
			line = message
		}
		line = strings.Join(strings.Fields(line), " ")
		lines = append(lines, line)
		if failure.MatchString(line) {
			failures = append(failures, line)
		}
	}
	if len(failures) == 0 {
		failures = lines
	}
	return strings.Join(failures[max(len(failures)-5, 0):], "; ")
}

var failure = regexp.MustCompile(`^(FATAL|PANIC|ERROR)|could not|error:`)
