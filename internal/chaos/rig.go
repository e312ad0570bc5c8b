package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// errNotHere is of a scenario that can't be had on this machine. It is told, and
// never passes for one that was run.
var errNotHere = errors.New("can't be had here")

// Rig is what the trials have in common: the program, a directory, and a migrated
// Postgres of which each gets a copy.
type Rig struct {
	program string
	dir     string
	seed    uint64
	tell    func(line string)
	janitor *janitor

	mu      sync.Mutex
	ports   map[int]bool // given out; guarded by mu
	closers sync.Once
}

// NewRig makes a rig for a built rapport, of which it takes a copy. Lines of progress go to tell, from several
// goroutines. Close it.
func NewRig(ctx context.Context, program string, seed uint64, tell func(line string)) (*Rig, error) {
	dir, err := os.MkdirTemp("", "rapport-chaos-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	r := &Rig{program: filepath.Join(dir, "rapport"), dir: dir, seed: seed, tell: tell, ports: make(map[int]bool)}
	// Root's Postgres runs as another user, who has to pass.
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if r.janitor, err = startJanitor(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := r.takeProgram(program); err != nil {
		r.Close()
		return nil, err
	}
	if err := r.makeTemplate(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close ends every process that is left, and removes the directory.
func (r *Rig) Close() { r.closers.Do(r.janitor.dismiss) }

// takeProgram copies the program: it may be built anew meanwhile.
func (r *Rig) takeProgram(from string) error {
	if err := copyFile(from, r.program); err != nil {
		return fmt.Errorf("the program (make build): %w", err)
	}
	return os.Chmod(r.program, 0o755)
}

// makeTemplate has the program make a data directory with a migrated Postgres.
func (r *Rig) makeTemplate(ctx context.Context) error {
	_, err := r.run(ctx, []string{"migrate", "--data-dir", r.template()})
	if err != nil {
		return fmt.Errorf("making a Postgres: %w", err)
	}
	return nil
}

func (r *Rig) template() string { return filepath.Join(r.dir, "template") }

// run runs the program to its end, and returns what it printed.
func (r *Rig) run(ctx context.Context, args []string, env ...string) (string, error) {
	cmd := exec.CommandContext(ctx, r.program, args...)
	cmd.Env = append(plainEnvironment(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("rapport %s: %w: %s", args[0], err, firstLines(string(out), 12))
	}
	return string(out), nil
}

// copyPostgres puts a copy of the migrated, stopped Postgres into a data directory.
func (r *Rig) copyPostgres(dataDir string) error {
	if err := os.MkdirAll(dataDir, 0o711); err != nil {
		return err
	}
	if err := os.Chmod(dataDir, 0o711); err != nil {
		return err
	}
	return copyTree(filepath.Join(r.template(), "postgres"), filepath.Join(dataDir, "postgres"))
}
