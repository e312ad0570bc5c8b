package verify

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Bar shows on a terminal how far a run is, and how fast. Anywhere else it is
// silent: the report tells the rate.
type Bar struct {
	w   io.Writer
	bar *progressbar.ProgressBar // nil until the first Show, and where it is silent
}

// NewBar makes a bar on w.
func NewBar(w io.Writer) *Bar {
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return &Bar{w: w}
	}
	return &Bar{}
}

// Show is an Options.Progress.
func (b *Bar) Show(done, total int64) {
	if b.w == nil {
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetDescription("verifying"),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("events"),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetWidth(30),
			progressbar.OptionUseANSICodes(true),
		)
	}
	_ = b.bar.Set64(done) // what a terminal can't show is no reason to stop
}

// Clear takes the bar from the screen.
func (b *Bar) Clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
