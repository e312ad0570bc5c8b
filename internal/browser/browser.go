package browser

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/chromedp/chromedp"
)

// ErrMissing says that there is no browser on this machine, and what to do.
var ErrMissing = errors.New("the page is tested in Chromium, and there is none on this machine: apt-get install chromium")

// Browser is a Chromium that runs. Each of its tabs has cookies and a cache of its own.
type Browser struct {
	ctx  context.Context
	stop context.CancelFunc
}

// names are those of Chromium and its like in the PATH.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless_shell"}

// Start starts a browser, which ends with Close. It is ErrMissing if there is none.
func Start() (*Browser, error) {
	path, err := find()
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.DisableGPU, chromedp.Flag("hide-scrollbars", false), chromedp.Flag("lang", "en"))
	allocator, free := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	b := &Browser{ctx, func() { cancel(); free() }}
	if err := chromedp.Do(ctx); err != nil {
		b.Close()
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	return b, nil
}

// Close ends the browser and all its tabs.
func (b *Browser) Close() { b.stop() }

func find() (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrMissing
}
