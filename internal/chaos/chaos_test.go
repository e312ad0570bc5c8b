package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var seed = flag.Uint64("seed", 0, "of all choices; a random one if 0")

func TestMain(m *testing.M) {
	BeJanitor()
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64N(1_000_000) + 1
	}
	// The scenarios wait, mostly: more of them than processors may run at once.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	code := m.Run()
	if made != nil {
		made.Close()
	}
	os.Exit(code)
}

// TestNothingIsLostOrDoubled runs every scenario in its short version.
func TestNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			result := sharedRig(t).Run(t.Context(), s, s.Short)
			var told strings.Builder
			Summarise(&told, *seed, []*Result{result})
			t.Log(told.String())
			if result.Failed() {
				t.Errorf("%s: a promise was broken; again: make chaos SCENARIO=%s SEED=%d", s.About, s.Name, *seed)
			}
		})
	}
}

// made is the rig of all tests, once one of them needed it.
var made *Rig

var makeRig = sync.OnceValues(func() (*Rig, error) {
	dir, err := os.MkdirTemp("", "rapport-chaos-program-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := filepath.Join(dir, "rapport")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "rapport/cmd/rapport")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	began := time.Now()
	made, err = NewRig(context.Background(), program, *seed, func(line string) {
		_, _ = fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(began).Seconds(), line)
	})
	return made, err
})

// sharedRig builds the program, as a user has it.
func sharedRig(t *testing.T) *Rig {
	t.Helper()
	rig, err := makeRig()
	if err != nil {
		t.Fatal(err)
	}
	return rig
}
