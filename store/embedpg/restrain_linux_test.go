package embedpg_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"rapport/store/embedpg"
)

func TestARestrainedBackendIsBounded(t *testing.T) {
	t.Parallel()
	child := exec.CommandContext(t.Context(), "sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	if err := embedpg.Restrain(child.Process.Pid); err != nil {
		t.Fatal(err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", child.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`Max data size +536870912 +536870912 `, `Max cpu time +90 +90 `} {
		if !regexp.MustCompile(want).Match(limits) {
			t.Errorf("no %q in\n%s", want, limits)
		}
	}
}
