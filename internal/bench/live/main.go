// Command live measures the live stream of a real server: its memory with thousands of
// streams open, and how long an event takes from its commit to each of those who hear it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

type options struct {
	rapport string
	streams int
	hearers int
	rate    int
	during  time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.rapport, "rapport", "bin/rapport", "the program that is measured")
	flag.IntVar(&o.streams, "streams", 5000, "live streams that are open")
	flag.IntVar(&o.hearers, "hearers", 500, "those of them that hear every event; the others listen for an agent that is silent")
	flag.IntVar(&o.rate, "rate", 500, "events a second")
	flag.DurationVar(&o.during, "for", 20*time.Second, "for how long events are delivered")
	flag.Parse()
	// However it ends, its server has to end with it.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.hearers > o.streams || o.rate < 1 {
		return errors.New("there can't be more -hearers than -streams, and -rate is at least 1")
	}
	s, err := start(ctx, o.rapport)
	if err != nil {
		return err
	}
	defer s.stop()
	before, err := s.memory()
	if err != nil {
		return err
	}
	crowd, err := gather(ctx, s.addr, o)
	if err != nil {
		return err
	}
	defer crowd.leave()
	idle, err := s.memory()
	if err != nil {
		return err
	}
	sent, err := deliver(ctx, s.addr, o, crowd)
	if err != nil {
		return err
	}
	heard := crowd.await(ctx)
	after, err := s.memory()
	if err != nil {
		return err
	}
	fmt.Printf("memory of the server, its Postgres aside\n")
	fmt.Printf("  without a stream                                %8.0f MiB\n", before.now)
	fmt.Printf("  with %4d idle ones                             %8.0f MiB\n", o.streams, idle.now)
	fmt.Printf("  with them under load, and at most               %8.0f MiB, %.0f MiB  (below 200 MiB)\n", after.now, after.most)
	fmt.Printf("\n%d events/s for %v to %d streams: %d of %d messages came\n", o.rate, o.during, o.hearers, heard, sent*o.hearers)
	fromCommit, fromSending := crowd.latencies()
	fmt.Printf("  from the answer, which follows the commit       %s  (p99 below 250 ms)\n", fromCommit)
	fmt.Printf("  from sending the delivery                       %s\n", fromSending)
	if heard != sent*o.hearers {
		return errors.New("messages are missing")
	}
	return nil
}

// latency counts times by milliseconds; the last one has whatever is longer.
type latency [10_000]uint32

func (l *latency) add(d time.Duration) {
	l[min(max(int(d/time.Millisecond), 0), len(l)-1)]++
}

// quantile is the end of the millisecond in which a part of all lies.
func (l *latency) quantile(part float64) time.Duration {
	var total, sum uint64
	for _, n := range l {
		total += uint64(n)
	}
	at := slices.IndexFunc(l[:], func(n uint32) bool {
		sum += uint64(n)
		return float64(sum) >= part*float64(total)
	})
	return time.Duration(at+1) * time.Millisecond
}

func (l *latency) String() string {
	return fmt.Sprintf("p50 %4d ms, p99 %4d ms, p99.9 %4d ms", l.quantile(.5).Milliseconds(), l.quantile(.99).Milliseconds(), l.quantile(.999).Milliseconds())
}
