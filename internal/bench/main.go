// Command bench measures what a delivery costs, on this machine: deliveries per
// second against a handler that only reads the body, and the latency of a single
// delivery against one bare INSERT. Machines are noisy, so what counts are the
// ratios, of figures taken by turns in one run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"

	"rapport/api"
)

func main() {
	var o options
	flag.IntVar(&o.connections, "connections", 256, "connections that post at once")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "of each measurement")
	flag.IntVar(&o.rounds, "rounds", 3, "measurements of each kind, taken by turns; the median counts")
	flag.IntVar(&o.single, "single", 1000, "single deliveries whose latency is measured; 0 for none")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of rapport under load to this file")
	flag.StringVar(&o.post, "post", "", "only post to this address: what the benchmark has its own processes do")
	flag.BoolVar(&o.forge, "forge", false, "with -post: send wrong signatures")
	flag.IntVar(&o.rate, "rate", 0, "with -post: so many a second at most; 0 for no limit")
	flag.BoolVar(&o.hostile, "hostile", false, "only measure deliveries beside an attack")
	flag.StringVar(&o.rules, "rules", "", "only measure what this file of rules costs, and what a destination that hangs costs the others")
	flag.Parse()
	run := run
	if o.post != "" {
		run = func(context.Context, options) error { return postAll(o) }
	}
	// However it ends, its Postgres has to end with it.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	connections int
	duration    time.Duration
	rounds      int
	single      int
	profile     string
	post        string
	forge       bool
	rate        int
	hostile     bool
	rules       string
}

func run(ctx context.Context, o options) error {
	if o.rules != "" {
		return measureRules(ctx, o)
	}
	var hold time.Duration // of no interest for what one request costs
	if o.hostile {
		hold = api.RefusalHold
	}
	s, err := start(ctx, hold, "")
	if err != nil {
		return err
	}
	defer s.stop()
	if o.hostile {
		return hostile(ctx, s, o)
	}
	if o.single > 0 {
		if err := single(ctx, s, o); err != nil {
			return err
		}
	}
	if err := throughput(ctx, s, o); err != nil {
		return err
	}
	return unproven(ctx, s, o)
}

// throughput compares deliveries per second.
func throughput(ctx context.Context, s *system, o options) error {
	var bare, real []float64
	var lag int64
	s.batches.Store(0)
	s.events.Store(0)
	s.committing.Store(0)
	for range o.rounds {
		b, err := load(ctx, s.bareAddr, o)
		if err != nil {
			return fmt.Errorf("posting to the bare handler: %w", err)
		}
		r, err := profiled(o.profile, func() (float64, error) { return load(ctx, s.addr, o) })
		if err != nil {
			return fmt.Errorf("posting to rapport: %w", err)
		}
		bare, real = append(bare, b), append(real, r)
		behind, err := s.lag(ctx)
		if err != nil {
			return err
		}
		lag = max(lag, behind)
		if err := s.caughtUp(ctx); err != nil {
			return err
		}
	}
	fmt.Printf("\n%d connections, distinct signed deliveries, the aggregator at work (medians of %d runs of %v)\n",
		o.connections, o.rounds, o.duration)
	fmt.Printf("  a handler that reads the body and answers 200   %8.0f deliveries/s\n", median(bare))
	fmt.Printf("  rapport: verified, in the log, durable          %8.0f deliveries/s\n", median(real))
	fmt.Printf("  ratio                                           %8.2f  (at least 0.40)\n", median(real)/median(bare))
	fmt.Printf("  events a batch, and its time to commit          %8.0f, %v\n",
		float64(s.events.Load())/float64(s.batches.Load()),
		(time.Duration(s.committing.Load()) / time.Duration(s.batches.Load())).Round(10*time.Microsecond))
	fmt.Printf("  rollups behind at the end of a run, at most     %8d events\n", lag)
	return nil
}

// single compares the latency of one delivery on an idle server with that of
// one INSERT, taken by turns.
func single(ctx context.Context, s *system, o options) error {
	generate := generator{run: "single"}
	connection, err := dial(s.addr)
	if err != nil {
		return err
	}
	defer func() { _ = connection.conn.Close() }()
	sender := newSender(s.addr, connection)
	var inserts, deliveries []float64
	for i := range o.single {
		began := time.Now()
		if err := s.insert(ctx, i); err != nil {
			return err
		}
		inserts = append(inserts, float64(time.Since(began).Microseconds()))
		d := generate.next()
		began = time.Now()
		if err := sender.post(d); err != nil {
			return fmt.Errorf("a single delivery: %w", err)
		}
		deliveries = append(deliveries, float64(time.Since(began).Microseconds()))
		if err := s.caughtUp(ctx); err != nil { // idle again
			return err
		}
	}
	fmt.Printf("one delivery at a time on an idle server (medians of %d)\n", o.single)
	fmt.Printf("  a bare INSERT by pgx                            %8.0f µs\n", median(inserts))
	fmt.Printf("  a delivery, from request to answer              %8.0f µs\n", median(deliveries))
	fmt.Printf("  ratio                                           %8.2f  (under 3.00)\n", median(deliveries)/median(inserts))
	return nil
}

// profiled writes a CPU profile of f to a file, if one is named.
func profiled(name string, f func() (float64, error)) (float64, error) {
	if name == "" {
		return f()
	}
	file, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return 0, err
	}
	defer pprof.StopCPUProfile()
	return f()
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
