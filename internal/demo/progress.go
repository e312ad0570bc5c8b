package demo

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// lineEvery is how often a progress without a terminal writes a line.
const lineEvery = 3 * time.Second

// progress shows how far the sending is.
type progress struct {
	show  func(tally)
	clear func() // takes from the screen what is no longer of use
}

// newProgress is a bar on a terminal, and a line now and then anywhere else.
func newProgress(w io.Writer, planned int) progress {
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return newBar(w, planned)
	}
	return newLines(w, lineEvery, time.Now)
}

func newBar(w io.Writer, planned int) progress {
	bar := progressbar.NewOptions(planned,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription("sending"),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetWidth(30),
		progressbar.OptionUseANSICodes(true),
	)
	// What a terminal can't show is no reason to stop sending.
	return progress{
		show:  func(t tally) { _ = bar.Set(t.sent()) },
		clear: func() { _ = bar.Clear() },
	}
}

func newLines(w io.Writer, every time.Duration, now func() time.Time) progress {
	last := now()
	return progress{
		show: func(t tally) {
			if now().Sub(last) < every {
				return
			}
			last = now()
			_, _ = fmt.Fprintf(w, "%d of %d deliveries sent\n", t.sent(), t.planned)
		},
		clear: func() {},
	}
}
