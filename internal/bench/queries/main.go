// Command queries measures what questions cost on a long log: each against a
// handler that does SELECT 1, and against the same question on a log ten times
// shorter. Machines are noisy, so what counts are the ratios, of figures taken by
// turns in one run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"runtime/pprof"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.IntVar(&o.sessions, "sessions", 1_000_000, "sessions of the longer log, of 20 events on average")
	flag.Uint64Var(&o.seed, "seed", 1, "another seed makes another log")
	flag.StringVar(&o.dir, "data", "", "keep the logs in this directory, for the next run; by default they go")
	flag.StringVar(&o.only, "only", "", "measure the questions that match this regular expression alone")
	flag.DurationVar(&o.each, "each", 4*time.Second, "for how long each question is asked")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of the asking to this file")
	flag.BoolVar(&o.prepareOnly, "prepare", false, "only make the logs")
	flag.Parse()
	debug.SetGCPercent(400) // as `rapport serve` does
	// However it ends, its Postgres has to end with it.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := run(ctx, o)
	if err != nil && ctx.Err() != nil && o.dir != "" {
		err = errors.New("interrupted: run it again to go on")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-queries:", err)
		os.Exit(1)
	}
}

type options struct {
	sessions    int
	seed        uint64
	dir         string
	only        string
	each        time.Duration
	profile     string
	prepareOnly bool
}

func run(ctx context.Context, o options) (err error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if o.sessions < 10 {
		return fmt.Errorf("-sessions must be at least 10, and is %d", o.sessions)
	}
	logs, err := openLogs(ctx, o)
	if err != nil {
		return err
	}
	defer logs.close()
	if err := logs.prepare(ctx); err != nil || o.prepareOnly {
		return err
	}
	if o.profile != "" {
		file, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return measureAll(ctx, logs, only, o.each)
}
