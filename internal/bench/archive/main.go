// Command archive measures the archive: a log is archived in a directory, `rapport
// restore` makes an empty database from that alone, `rapport verify` proves it, and every
// table is compared with what it was.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

type options struct {
	rapport  string
	sessions int
	seed     uint64
	days     int
}

func main() {
	var o options
	flag.StringVar(&o.rapport, "rapport", "bin/rapport", "the program that is measured")
	flag.IntVar(&o.sessions, "sessions", 51_000, "conversations in the log, of 20 events on average")
	flag.Uint64Var(&o.seed, "seed", 1, "of what they say")
	flag.IntVar(&o.days, "days", 90, "that the log spans")
	flag.Parse()
	// However it ends, its Postgres has to end with it.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-archive:", err)
		os.Exit(1)
	}
}

// mostBytes is the share of the JSON's bytes that the archive may have.
const mostBytes = 0.2

func run(ctx context.Context, o options) error {
	if o.sessions < 1 || o.days < 1 {
		return errors.New("-sessions and -days are at least 1")
	}
	b, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	for _, step := range []struct {
		what string
		do   func(context.Context) (string, error)
	}{
		{"loading the log", b.load},
		{"folding it", b.fold},
		{"archiving it", b.archive},
		{"archiving the sessions", b.archiveSessions},
		{"rapport restore", b.restore},
		{"rapport verify", b.verify},
		{"comparing all tables", b.compare},
	} {
		if err := timed(ctx, step.what, step.do); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return b.size(ctx)
}
