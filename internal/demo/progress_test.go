package demo

import (
	"strings"
	"testing"
	"time"
)

func TestProgressWithoutATerminalIsALineNowAndThen(t *testing.T) {
	t.Parallel()
	var w strings.Builder
	now := noon
	p := newLines(&w, 3*time.Second, func() time.Time { return now })
	for kept := range 100 {
		p.show(tally{planned: 100, kept: kept})
		now = now.Add(100 * time.Millisecond)
	}
	p.clear()
	const want = "30 of 100 deliveries sent\n60 of 100 deliveries sent\n90 of 100 deliveries sent\n"
	if w.String() != want {
		t.Errorf("%q, want %q", w.String(), want)
	}
}

func TestProgressOnATerminalIsABarThatGoesAway(t *testing.T) {
	t.Parallel()
	var w strings.Builder
	p := newBar(&w, 2)
	p.show(tally{planned: 2, kept: 1})
	p.show(tally{planned: 2, kept: 1, failed: 1})
	p.clear()
	requireContains(t, w.String(), "2/2")
	if !strings.HasSuffix(w.String(), "\033[2K\r") {
		t.Errorf("%q does not end with a cleared line", w.String())
	}
}
