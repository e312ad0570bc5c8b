package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rapport/aggregator/reaction/rules"
)

// rulesKeeper has the rules read again when their file holds something else, and on
// SIGHUP. What is in the file tells, for a file may be replaced by another one, or by
// another directory behind a symbolic link, as Kubernetes does.
type rulesKeeper struct {
	file    string
	reload  func() error // it keeps the rules as they are where it fails
	hangups <-chan os.Signal
	refused prometheus.Gauge
	logger  *slog.Logger

	seen  string // what was in the file when it was looked at last
	taken string // what was in it when it was reloaded last
	wrong string // why that failed; empty if it has not
	again bool   // it failed for another reason than what is in the file
}

// newRulesKeeper is made before the file is read, so that no change is missed.
func newRulesKeeper(file string, hangups <-chan os.Signal, logger *slog.Logger) *rulesKeeper {
	now := contentOf(file)
	return &rulesKeeper{
		file: file, hangups: hangups, logger: logger, seen: now, taken: now,
		refused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rapport_rules_refused", Help: "1 while the file of rules can't be used, and those that were read before it are in force.",
		}),
	}
}

// rulesLookEvery is how often the file is looked at.
const rulesLookEvery = time.Second

// Run looks until the context ends.
func (k *rulesKeeper) Run(ctx context.Context) error {
	tick := time.NewTicker(rulesLookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.hangups:
			k.wrong = "" // whoever asks is told
			k.take(contentOf(k.file))
		case <-tick.C:
			k.look()
		}
	}
}

// look takes what is new in the file once it has stayed the same for two looks: it may be
// in the middle of being written.
func (k *rulesKeeper) look() {
	now := contentOf(k.file)
	isWhole := now == k.seen
	k.seen = now
	if isWhole && (now != k.taken || k.again) {
		k.take(now)
	}
}

func (k *rulesKeeper) take(now string) {
	err := k.reload()
	k.seen, k.taken = now, now
	mistakes, isMistaken := errors.AsType[rules.Mistakes](err)
	k.again = err != nil && !isMistaken
	if err == nil {
		k.wrong = ""
		k.refused.Set(0)
		k.logger.Info("the rules are read again", "file", k.file)
		return
	}
	k.refused.Set(1)
	if err.Error() == k.wrong { // which is told already
		return
	}
	k.wrong = err.Error()
	const refused = "the rules can't be read again, and those before stay in force"
	if k.again {
		k.logger.Error(refused, "error", err)
	}
	for _, mistake := range mistakes {
		k.logger.Error(refused, "mistake", mistake.Error())
	}
}

// contentOf stands for what is in a file, or for why it can't be read.
func contentOf(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(text)
	return string(sum[:])
}

// takeHangups has SIGHUP end the program no more, but be told to the channel.
func takeHangups() <-chan os.Signal {
	hangups := make(chan os.Signal, 1)
	signal.Reset(syscall.SIGHUP)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups
}
