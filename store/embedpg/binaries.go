package embedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The majors of Postgres that Rapport is made for.
const (
	oldestMajor = 14
	newestMajor = 18
)

// binEnv names the directory of initdb and postgres, and rules out all others.
const binEnv = "RAPPORT_POSTGRES_BIN"

// binaries is a directory with Postgres's server programs.
type binaries struct {
	dir   string
	major int
}

func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }
func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }

// findBinaries looks for server programs of the given major, or for the newest
// ones if major is 0, that the account can run.
func findBinaries(ctx context.Context, a account, major int, cluster string) (binaries, error) {
	var found []binaries
	var failures []error
	for _, dir := range candidateDirs(ctx, a) {
		bin, err := probe(ctx, a, dir)
		switch {
		case err == nil:
			found = append(found, bin)
		case !errors.Is(err, os.ErrNotExist):
			failures = append(failures, err)
		}
	}
	if len(found) == 0 {
		return binaries{}, noBinaries(failures)
	}
	return choose(found, major, cluster)
}

func noBinaries(failures []error) error {
	var why strings.Builder
	for _, err := range failures {
		fmt.Fprintf(&why, " (%v)", err)
	}
	if dir := os.Getenv(binEnv); dir != "" {
		return fmt.Errorf("%s=%s has no initdb and postgres of Postgres %d to %d%s", binEnv, dir, oldestMajor, newestMajor, &why)
	}
	return fmt.Errorf("no server programs of Postgres %d to %d found%s: install them (apt-get install postgresql), name their directory in %s, or name a running Postgres in RAPPORT_DATABASE_URL",
		oldestMajor, newestMajor, &why, binEnv)
}

// choose prefers the first of equals: what the user put on the path.
func choose(found []binaries, major int, cluster string) (binaries, error) {
	if major == 0 {
		return slices.MaxFunc(found, func(a, b binaries) int { return a.major - b.major }), nil
	}
	var majors []string
	for _, bin := range found {
		if bin.major == major {
			return bin, nil
		}
		majors = append(majors, strconv.Itoa(bin.major))
	}
	slices.Sort(majors)
	return binaries{}, fmt.Errorf("%s was made by Postgres %d, and here is only %s: install Postgres %d (apt-get install postgresql-%d), "+
		"or dump the data with it (pg_dumpall), move the directory away, start again and restore the dump",
		cluster, major, strings.Join(slices.Compact(majors), ", "), major, major)
}

// installDirs are where packages put the server programs, outside the path.
var installDirs = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // the PGDG's for Red Hat and SUSE
	"/usr/libexec/postgresql*",                           // Alpine
	"/usr/local/pgsql/bin",                               // from source
	"/opt/homebrew/opt/postgresql*/bin",                  // Homebrew
	"/usr/local/opt/postgresql*/bin",                     // Homebrew on Intel
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
}

func candidateDirs(ctx context.Context, a account) []string {
	if dir := os.Getenv(binEnv); dir != "" {
		return []string{dir}
	}
	var dirs []string
	if path, err := exec.LookPath("pg_config"); err == nil {
		if out, err := a.command(ctx, path, "--bindir").Output(); err == nil {
			dirs = append(dirs, strings.TrimSpace(string(out)))
		}
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, pattern := range installDirs {
		matches, _ := filepath.Glob(pattern)
		dirs = append(dirs, matches...)
	}
	return unique(dirs)
}

func unique(dirs []string) []string {
	var seen []string
	for _, dir := range dirs {
		if !slices.Contains(seen, dir) {
			seen = append(seen, dir)
		}
	}
	return seen
}

var versionPattern = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// probe reads the major of the programs in dir. It is os.ErrNotExist if there
// are none.
func probe(ctx context.Context, a account, dir string) (binaries, error) {
	bin := binaries{dir: dir}
	if _, err := os.Stat(bin.initdb()); err != nil {
		return bin, err
	}
	out, err := a.command(ctx, bin.postgres(), "--version").Output()
	if err != nil {
		return bin, fmt.Errorf("user %s can't run %s: %w", a.name, bin.postgres(), err)
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return bin, fmt.Errorf("%s has no version: %q", bin.postgres(), out)
	}
	bin.major, err = strconv.Atoi(string(match[1]))
	if err == nil && (bin.major < oldestMajor || bin.major > newestMajor) {
		err = fmt.Errorf("%s is Postgres %d", bin.postgres(), bin.major)
	}
	return bin, err
}
