package chaos

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// Trial is one run of a scenario.
type Trial struct {
	*Rig
	Scale
	dir      string
	random   *rand.Rand // of this round
	ledger   *ledger
	database func(role string) (string, error) // the way to the database that no fault is on
	servers  []*server
	loads    []*load
	ends     []func()

	result   *Result
	round    int // from 1
	logged   int64
	verified time.Duration // spent by verify
}

// Result tells of a trial.
type Result struct {
	Scenario   string
	Rounds     int // that were finished
	Took       time.Duration
	Answers    tally
	Logged     int64
	Figures    []Figure
	Violations []string
	NotRun     string // why it could not be had here; empty if it was
}

// Figure is something measured.
type Figure struct{ Name, Value string }

// Failed reports whether a promise was broken.
func (r *Result) Failed() bool { return len(r.Violations) > 0 }

// maxViolations is how many are worth reading.
const maxViolations = 20

// Run runs a scenario in a directory of its own, which is removed.
func (r *Rig) Run(ctx context.Context, s Scenario, scale Scale) *Result {
	began := time.Now()
	t := &Trial{
		Rig: r, Scale: scale, dir: filepath.Join(r.dir, s.Name), result: &Result{Scenario: s.Name},
	}
	t.random = t.randomOf(0)
	t.ledger = newLedger(t.randomOf(-1))
	ctx, cancel := context.WithTimeout(ctx, scale.Within)
	defer cancel()
	err := os.Mkdir(t.dir, 0o711)
	if err == nil {
		err = s.Run(ctx, t)
	}
	t.close(ctx, err)
	t.result.Took = time.Since(began)
	return t.result
}

// randomOf makes the choices of a round the same, whatever the rounds before it did.
func (t *Trial) randomOf(round int) *rand.Rand {
	hash := fnv.New64a()
	_, _ = fmt.Fprint(hash, t.result.Scenario, round)
	return rand.New(rand.NewPCG(t.seed, hash.Sum64()))
}

// close ends what the trial has started, tells what is left to tell, and tidies up.
func (t *Trial) close(ctx context.Context, err error) {
	switch {
	case errors.Is(err, errNotHere):
		t.result.NotRun = err.Error()
	case errors.Is(ctx.Err(), context.Canceled):
		t.result.NotRun = "interrupted"
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		t.violate("not done within %v (%v)", t.Within, err)
	case err != nil:
		t.violate("%v", err)
	}
	if t.result.Failed() {
		t.tellLogs()
	}
	for i := len(t.ends) - 1; i >= 0; i-- {
		t.ends[i]()
	}
	sweep(t.dir)
	for _, l := range t.loads { // nobody answers any more
		l.end()
	}
	t.result.Answers = t.ledger.tallyNow()
	t.result.Logged = t.logged
	if err := os.RemoveAll(t.dir); err != nil {
		t.say("tidying up: %v", err)
	}
}

// tellLogs shows what the servers said last.
func (t *Trial) tellLogs() {
	for _, s := range t.servers {
		t.say("the end of %s's log:\n%s", s.name, s.lastWords())
	}
}

func (t *Trial) atEnd(f func()) { t.ends = append(t.ends, f) }

// violate notes a broken promise, with the round, which the seed gives again.
func (t *Trial) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if t.round > 0 {
		text = fmt.Sprintf("round %d: %s", t.round, text)
	}
	t.say("VIOLATION: %s", text)
	if len(t.result.Violations) < maxViolations {
		t.result.Violations = append(t.result.Violations, text)
	}
}

// measure notes a figure.
func (t *Trial) measure(name, format string, args ...any) {
	t.result.Figures = append(t.result.Figures, Figure{name, fmt.Sprintf(format, args...)})
}

func (t *Trial) say(format string, args ...any) {
	t.tell(fmt.Sprintf("%-16s %s", t.result.Scenario, fmt.Sprintf(format, args...)))
}

// eachRound runs the rounds, each with a check behind it. A broken promise ends
// the trial: what follows from it says nothing new.
func (t *Trial) eachRound(ctx context.Context, round func(context.Context) error) error {
	for t.round = 1; t.round <= t.Rounds; t.round++ {
		began, before := time.Now(), t.ledger.tallyNow()
		t.random = t.randomOf(t.round)
		if err := round(ctx); err != nil {
			return fmt.Errorf("round %d: %w", t.round, err)
		}
		if err := t.check(ctx); err != nil {
			return fmt.Errorf("round %d: %w", t.round, err)
		}
		t.sayRound(t.ledger.tallyNow().since(before), time.Since(began))
		if t.result.Failed() {
			return nil
		}
		t.result.Rounds++
	}
	t.round = 0
	return nil
}

func (t *Trial) sayRound(n tally, took time.Duration) {
	t.say("%d/%d: %d sent, %d answered 200 (%d spooled), %d refused, %d unanswered, %d to nobody; the log has %d; %.1f s",
		t.round, t.Rounds, n.Sent, n.Kept, n.Spooled, n.Refused, n.Unanswered, n.Unconnected, t.logged, took.Seconds())
}

// between picks a number from low to high.
func (t *Trial) between(low, high float64) float64 { return low + t.random.Float64()*(high-low) }

// someTime picks a time from low to high.
func (t *Trial) someTime(low, high time.Duration) time.Duration {
	return low + time.Duration(t.random.Int64N(int64(high-low)+1))
}

// oneIn is true once in n times.
func (t *Trial) oneIn(n int) bool { return t.random.IntN(n) == 0 }
