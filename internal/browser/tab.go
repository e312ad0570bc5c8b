package browser

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is for how long a page may take for anything.
const patience = 30 * time.Second

// Look is how a reader sees the pages.
type Look struct {
	Width, Height int64 // of the window, in CSS pixels
	Dark          bool  // the reader prefers dark colours
}

// Tab is a page, and what its browser had to say of it.
type Tab struct {
	ctx  context.Context
	stop context.CancelFunc

	mu         sync.Mutex
	complaints []string
	requests   []string
}

// Open opens an empty tab, which ends with Close.
func (b *Browser) Open(look Look) (*Tab, error) {
	t := &Tab{}
	t.ctx, t.stop = chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(t.listen))
	if err := chromedp.Do(t.ctx); err != nil { // not within a time: the tab ends with it
		t.stop()
		return nil, err
	}
	if err := errors.Join(t.focus(), t.Look(look)); err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// focus has the page believe that its window is the one in front, whichever that is.
func (t *Tab) focus() error {
	return t.Do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		return err
	}))
}

// Close ends the tab.
func (t *Tab) Close() { t.stop() }

// Look changes how the reader sees the pages.
func (t *Tab) Look(look Look) error {
	scheme := "light"
	if look.Dark {
		scheme = "dark"
	}
	return t.Do(chromedp.EmulateViewport(look.Width, look.Height), chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		return err
	}))
}

// Do runs steps one after the other. It is an error if they take too long.
func (t *Tab) Do(steps ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	return chromedp.Do(ctx, steps...)
}

// Go opens an address, and waits until it is loaded.
func (t *Tab) Go(address string) error { return t.Do(chromedp.Navigate(address)) }

// Through runs steps that lead to another page, and waits until that is loaded.
func (t *Tab) Through(steps ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	_, err := chromedp.RunResponse(ctx, steps...)
	return err
}

// Value is the value of a JavaScript expression; of a promise, what it resolves to.
func Value[T any](t *Tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Until waits until a JavaScript expression is true. A page that is replaced
// meanwhile is no hindrance.
func (t *Tab) Until(expression string) error {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		isTrue, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && isTrue {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("it never came true that %s: %w", expression, errors.Join(last, ctx.Err()))
		}
	}
}

// Picture is a PNG of the whole page.
func (t *Tab) Picture() ([]byte, error) {
	size, err := Value[[2]float64](t, "[innerWidth, document.scrollingElement.scrollHeight]")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	picture, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
		Clip:                  &page.Viewport{Width: size[0], Height: size[1], Scale: 1}, // or else it lacks a scrollbar's width
		CaptureBeyondViewport: new(true),
	})
	return picture.Data, err
}

// listen keeps what the browser tells.
func (t *Tab) listen(event any) {
	switch event := event.(type) {
	case *runtime.EventConsoleAPICalled:
		t.complain("console", fmt.Sprintf("%s %s", event.Type, describe(event.Args)))
	case *runtime.EventExceptionThrown:
		text := event.ExceptionDetails.Text
		if event.ExceptionDetails.Exception != nil {
			text += " " + event.ExceptionDetails.Exception.Description
		}
		t.complain("exception", text)
	case *log.EventEntryAdded:
		if event.Entry.Level != log.EntryLevelWarning && event.Entry.Level != log.EntryLevelError {
			return // advice
		}
		t.complain(string(event.Entry.Source), string(event.Entry.Level)+" "+event.Entry.Text+" "+event.Entry.URL)
	case *page.EventJavascriptDialogOpening:
		t.complain("dialog", event.Message)
	case *network.EventRequestWillBeSent:
		t.mu.Lock()
		t.requests = append(t.requests, event.Request.URL)
		t.mu.Unlock()
	}
}

func (t *Tab) complain(source, text string) {
	t.mu.Lock()
	t.complaints = append(t.complaints, source+": "+text)
	t.mu.Unlock()
}

func describe(args []*runtime.RemoteObject) string {
	text := ""
	for _, arg := range args {
		text += fmt.Sprintf("%s%s ", arg.Value, arg.Description)
	}
	return text
}

// Complaints are what the browser has told in its console since the last call: what
// a page logs, exceptions, violations of its policy, answers that are errors.
func (t *Tab) Complaints() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	told := t.complaints
	t.complaints = nil
	return told
}

// Hosts are all that the tab has asked for anything since the last call, each once;
// what is in an address itself (data: and the like) is no request.
func (t *Tab) Hosts() []string {
	t.mu.Lock()
	requests := t.requests
	t.requests = nil
	t.mu.Unlock()
	var hosts []string
	for _, request := range requests {
		asked, err := url.Parse(request)
		if err == nil && asked.Host == "" {
			continue
		}
		host := request
		if err == nil {
			host = asked.Host
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
