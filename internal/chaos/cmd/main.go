// Command chaos runs the fault rig: see package chaos. `make chaos` builds rapport
// and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"rapport/internal/chaos"
)

func main() {
	chaos.BeJanitor()
	var o options
	flag.StringVar(&o.program, "rapport", "bin/rapport", "the program")
	flag.StringVar(&o.names, "scenario", "", "the scenarios to run, separated by commas; all of them if empty")
	flag.Uint64Var(&o.seed, "seed", 0, "of all choices; a random one if 0")
	flag.BoolVar(&o.short, "short", false, "as much as `make test` runs, one after the other")
	flag.BoolVar(&o.list, "list", false, "list the scenarios")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of each scenario, instead of its own number")
	flag.Float64Var(&o.rate, "rate", 0, "deliveries a second, instead of the scenario's own")
	flag.DurationVar(&o.length, "for", 0, "how long a fault lasts, instead of the scenario's own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

type options struct {
	program string
	names   string
	seed    uint64
	short   bool
	list    bool
	rounds  int
	rate    float64
	length  time.Duration
}

func run(ctx context.Context, o options) error {
	scenarios, err := choose(o.names)
	if err != nil {
		return err
	}
	if o.list {
		for _, s := range scenarios {
			fmt.Printf("%-16s %s\n", s.Name, s.About)
		}
		return nil
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	fmt.Printf("seed %d\n", o.seed)
	began := time.Now()
	rig, err := chaos.NewRig(ctx, o.program, o.seed, func(line string) {
		fmt.Printf("%7.1f s  %s\n", time.Since(began).Seconds(), line)
	})
	if err != nil {
		return err
	}
	defer rig.Close()
	var results []*chaos.Result
	failed := false
	for _, s := range scenarios {
		if ctx.Err() != nil {
			break
		}
		result := rig.Run(ctx, s, o.scale(s))
		results = append(results, result)
		failed = failed || result.Failed()
	}
	chaos.Summarise(os.Stdout, o.seed, results)
	if failed {
		return errors.New("a promise was broken")
	}
	return ctx.Err()
}

// choose is the scenarios that are named.
func choose(names string) ([]chaos.Scenario, error) {
	all := chaos.Scenarios()
	if names == "" {
		return all, nil
	}
	var chosen []chaos.Scenario
	for name := range strings.SplitSeq(names, ",") {
		found := false
		for _, s := range all {
			if s.Name == strings.TrimSpace(name) {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no scenario %q: see -list", name)
		}
	}
	return chosen, nil
}

func (o options) scale(s chaos.Scenario) chaos.Scale {
	scale := s.Long
	if o.short {
		scale = s.Short
	}
	if o.rounds > 0 {
		scale.Rounds = o.rounds
	}
	if o.rate > 0 {
		scale.Rate = o.rate
	}
	if o.length > 0 {
		scale.For = o.length
	}
	return scale
}
