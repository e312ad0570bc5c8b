package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// forged is a signature that only the body can refute.
var forged = "sha256=" + strings.Repeat("0", 64)

// unproven compares what a request without a valid proof costs with what a proven
// one costs: processor time of the server, with its Postgres and the folding.
func unproven(ctx context.Context, s *system, o options) error {
	var proven, without, ratios []float64
	for range o.rounds {
		p, err := cost(ctx, s, o)
		if err != nil {
			return err
		}
		attack := o
		attack.forge = true
		u, err := cost(ctx, s, attack)
		if err != nil {
			return err
		}
		proven, without, ratios = append(proven, p), append(without, u), append(ratios, u/p)
	}
	fmt.Printf("\nprocessor time of a request, Postgres and the folding included (medians of %d runs of %v)\n", o.rounds, o.duration)
	fmt.Printf("  a proven delivery                               %8.1f µs\n", median(proven))
	fmt.Printf("  a delivery with a wrong signature               %8.1f µs\n", median(without))
	fmt.Printf("  an unproven request ÷ a proven one (CPU)        %8.2f  (at most 0.60)\n", median(ratios))
	return nil
}

// cost is the processor time of one request under load, in µs.
func cost(ctx context.Context, s *system, o options) (float64, error) {
	before, err := processorTime()
	if err != nil {
		return 0, err
	}
	rate, err := load(ctx, s.addr, o)
	if err != nil {
		return 0, err
	}
	if err := s.caughtUp(ctx); err != nil {
		return 0, err
	}
	after, err := processorTime()
	if err != nil {
		return 0, err
	}
	return float64((after - before).Microseconds()) / (rate * o.duration.Seconds()), nil
}

// processorTime is what this process and its Postgres have used. What posts is a
// process of its own, and isn't counted.
func processorTime() (time.Duration, error) {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0, err
	}
	postgres, err := postgresTime()
	return time.Duration(own.Utime.Nano()+own.Stime.Nano()) + postgres, err
}

// tick is the unit of /proc/PID/stat: Linux has 100 of them in a second.
const tick = 10 * time.Millisecond

// postgresTime is what the Postgres below this process has used, those of its
// processes included that have ended.
func postgresTime() (time.Duration, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	stats := make(map[int]processStat, len(paths))
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil { // else it has just ended
			stat := parseStat(string(text))
			stats[stat.pid] = stat
		}
	}
	var total time.Duration
	for _, stat := range stats {
		if stat.name == "postgres" && isBelow(stats, stat, os.Getpid()) {
			total += stat.used
		}
	}
	if total == 0 {
		return 0, fmt.Errorf("no Postgres is below process %d: its time can't be told", os.Getpid())
	}
	return total, nil
}

type processStat struct {
	pid, parent int
	name        string
	used        time.Duration // by itself and by its children that have ended
}

// parseStat reads /proc/PID/stat: proc(5).
func parseStat(text string) processStat {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < 0 {
		return processStat{}
	}
	fields := strings.Fields(text[end+1:]) // from the third on
	if len(fields) < 15 {
		return processStat{}
	}
	number := func(text string) int { n, _ := strconv.Atoi(text); return n }
	stat := processStat{pid: number(strings.TrimSpace(text[:open])), parent: number(fields[1]), name: text[open+1 : end]}
	for _, field := range fields[11:15] {
		stat.used += time.Duration(number(field)) * tick
	}
	return stat
}

func isBelow(stats map[int]processStat, stat processStat, ancestor int) bool {
	for range 8 {
		if stat.parent == ancestor {
			return true
		}
		parent, known := stats[stat.parent]
		if !known {
			return false
		}
		stat = parent
	}
	return false
}

// attackRate is how many wrong signatures a second hostile sends, and validRate how
// many deliveries.
const (
	attackRate = 10_000
	validRate  = 200
)

// attackLead is how long the attack goes on before and after what is measured: the
// attacker first makes its requests, which takes the processor from everybody.
const attackLead = 2 * time.Second

// hostile compares the latency of deliveries on a quiet server with that beside
// very many wrong signatures, over few connections and over many.
func hostile(ctx context.Context, s *system, o options) error {
	g := &generator{run: "hostile"}
	for _, connections := range []int{64, 1024} {
		if err := besides(ctx, s, g, connections, o); err != nil {
			return err
		}
	}
	return nil
}

func besides(ctx context.Context, s *system, g *generator, connections int, o options) error {
	var quiet, beside, ratios, rates []float64
	for range o.rounds {
		q, err := paced(s.addr, g, o.duration)
		if err != nil {
			return err
		}
		attack := o
		attack.forge, attack.rate, attack.connections = true, attackRate, connections
		attack.duration = o.duration + 2*attackLead
		var rate float64
		var attackErr error
		var attacker sync.WaitGroup
		attacker.Go(func() { rate, attackErr = load(ctx, s.addr, attack) })
		time.Sleep(attackLead)
		b, err := paced(s.addr, g, o.duration)
		attacker.Wait()
		if err != nil || attackErr != nil {
			return fmt.Errorf("beside the attack: %w, %w", err, attackErr)
		}
		quiet, beside, ratios, rates = append(quiet, q), append(beside, b), append(ratios, b/q), append(rates, rate)
	}
	fmt.Printf("\n%d deliveries/s beside wrong signatures from this machine, %d/s asked for over %d connections (medians of %d runs of %v)\n",
		validRate, attackRate, connections, o.rounds, o.duration)
	fmt.Printf("  wrong signatures a second that were sent        %8.0f\n", median(rates))
	fmt.Printf("  p99 of a delivery, quiet                        %8.0f µs\n", median(quiet))
	fmt.Printf("  p99 of a delivery, beside them                  %8.0f µs\n", median(beside))
	fmt.Printf("  ratio                                           %8.2f  (at most 2.00)\n", median(ratios))
	return nil
}

// paced sends validRate deliveries a second, and returns the 99th percentile of
// their latency, in µs.
func paced(addr string, g *generator, duration time.Duration) (float64, error) {
	const connections = 8
	var mu sync.Mutex // guards latencies and failed
	var latencies []float64
	var failed error
	var senders sync.WaitGroup
	pace := time.NewTicker(time.Second / validRate)
	defer pace.Stop()
	work := make(chan delivery, validRate)
	for range connections {
		senders.Go(func() {
			connection, err := dial(addr)
			if err != nil {
				failed = err
				return
			}
			defer func() { _ = connection.conn.Close() }()
			sender := newSender(addr, connection)
			for d := range work {
				began := time.Now()
				err := sender.post(d)
				mu.Lock()
				latencies = append(latencies, float64(time.Since(began).Microseconds()))
				if err != nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	for end := time.Now().Add(duration); time.Now().Before(end); <-pace.C {
		work <- g.next()
	}
	close(work)
	senders.Wait()
	slices.Sort(latencies)
	return latencies[len(latencies)*99/100], failed
}
