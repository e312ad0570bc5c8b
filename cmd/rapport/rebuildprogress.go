package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"rapport/aggregator"
)

// rebuildLineEvery is how often a rebuild without a terminal says how far it is.
const rebuildLineEvery = 10 * time.Second

// rebuildProgress is a bar on a terminal, and a line of the log now and then
// anywhere else.
type rebuildProgress struct {
	bar    *progressbar.ProgressBar // nil without a terminal
	logger *slog.Logger
	phase  string
	last   time.Time // when a line was written
}

func newRebuildProgress(w io.Writer, logger *slog.Logger) *rebuildProgress {
	p := &rebuildProgress{logger: logger, last: time.Now()}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.bar = progressbar.NewOptions64(1,
			progressbar.OptionSetWriter(w),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("events"),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetWidth(30),
			progressbar.OptionUseANSICodes(true),
		)
	}
	return p
}

func (p *rebuildProgress) show(now aggregator.RebuildProgress) {
	if p.bar != nil {
		p.showBar(now)
		return
	}
	if waits := now.Phase == aggregator.PhaseSwap; time.Since(p.last) < rebuildLineEvery && (!waits || p.phase == now.Phase) {
		return
	}
	p.phase, p.last = now.Phase, time.Now()
	args := []any{"phase", now.Phase, "events", now.Done, "of", now.Total}
	if len(now.Readers) > 0 {
		args = append(args, "backends", now.Readers)
	}
	p.logger.Info("rebuilding the sessions", args...)
}

// showBar draws. What a terminal can't show is no reason to stop.
func (p *rebuildProgress) showBar(now aggregator.RebuildProgress) {
	description := now.Phase
	if len(now.Readers) > 0 {
		description = fmt.Sprint(description, " ", now.Readers)
	}
	p.bar.Describe(description)
	if p.bar.GetMax64() != now.Total {
		p.bar.ChangeMax64(max(now.Total, 1))
	}
	_ = p.bar.Set64(now.Done)
}

// clear takes the bar from the screen.
func (p *rebuildProgress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
