package transfer

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Bar shows on a terminal how far an export or import is. Anywhere else it is silent.
type Bar struct{ bar *progressbar.ProgressBar } // nil if it is no terminal

// NewBar makes a bar that is shown on w. Where the total is not known, it is -1.
func NewBar(w io.Writer, what string, total int64, bytes bool) *Bar {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return &Bar{}
	}
	return &Bar{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionShowBytes(bytes),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetWidth(30),
		progressbar.OptionUseANSICodes(true),
	)}
}

// Set shows how much is done. What a terminal can't show is no reason to stop.
func (b *Bar) Set(done int64) {
	if b.bar != nil {
		_ = b.bar.Set64(done)
	}
}

// Clear takes the bar from the screen.
func (b *Bar) Clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
