// Command cmd measures how soon a page can be used, in Chromium: each time of a reader
// who comes for the first time, with an empty cache.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"rapport/internal/browser"
)

func main() {
	var o options
	flag.IntVar(&o.times, "times", 5, "how often the page is opened")
	flag.StringVar(&o.dir, "data", "", "serve the log of this data directory, such as bench-queries keeps; by default a server runs at -url")
	flag.StringVar(&o.url, "url", "http://127.0.0.1:8080/", "where the server is")
	flag.StringVar(&o.page, "page", "", "what follows in the page's address, such as ui/sessions?range=90d")
	flag.Parse()
	// However it ends, its Postgres has to end with it.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-page:", err)
		os.Exit(1)
	}
}

type options struct {
	times          int
	dir, url, page string
}

func run(ctx context.Context, out io.Writer, o options) error {
	if o.dir != "" {
		server, err := serve(ctx, o.dir)
		if err != nil {
			return err
		}
		defer server.stop()
		o.url = server.address
	}
	chromium, err := browser.Start()
	if err != nil {
		return err
	}
	defer chromium.Close()
	_, _ = fmt.Fprintf(out, "%12s %12s %12s\n", "server", "painted", "interactive")
	for range o.times {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		timing, err := measure(chromium, o.url+o.page)
		if err != nil {
			return fmt.Errorf("%s: %w", o.url+o.page, err)
		}
		_, _ = fmt.Fprintf(out, "%12s %12s %12s\n", timing.Server, timing.Painted, timing.Interactive)
	}
	return nil
}

func measure(chromium *browser.Browser, address string) (browser.Timing, error) {
	tab, err := chromium.Open(browser.Look{Width: 1280, Height: 900})
	if err != nil {
		return browser.Timing{}, err
	}
	defer tab.Close()
	if err := tab.Go(address); err != nil {
		return browser.Timing{}, err
	}
	return tab.Timing()
}
