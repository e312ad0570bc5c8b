package heal

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Bar shows on a terminal how far a run is. Anywhere else it is silent: the report
// says all that matters.
type Bar struct {
	w   io.Writer                // nil if it is no terminal
	bar *progressbar.ProgressBar // nil until the first Show
}

// NewBar makes a bar that is shown on w.
func NewBar(w io.Writer) *Bar {
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return &Bar{w: w}
	}
	return &Bar{}
}

// Show shows how many of the sessions are done: see Healer.OnProgress. What a
// terminal can't show is no reason to stop.
func (b *Bar) Show(done, sessions int) {
	if b.w == nil {
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions(sessions,
			progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetDescription("healing"),
			progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetWidth(30),
			progressbar.OptionUseANSICodes(true),
		)
	}
	_ = b.bar.Set(done)
}

// Clear takes the bar from the screen.
func (b *Bar) Clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
