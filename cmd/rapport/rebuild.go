package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
	"unicode"

	"rapport"
	"rapport/aggregator"
	"rapport/store"
	"rapport/store/embedpg"
)

type rebuildCmd struct {
	databaseFlags
	logFlags
	settingsFlags
	Search bool `help:"Instead of the sessions, make all messages searchable anew: a running server does it, when nothing else is to be done; until then, old ones are not found."`
}

// settingsFlags change the settings that sessions are made with. What is not given
// stays as it is in the database.
type settingsFlags struct {
	IdleTimeout          *time.Duration `placeholder:"DURATION" help:"A gap longer than this cuts a session, and a session closes after it: 1s to 24h."`
	ActiveGapCap         *time.Duration `placeholder:"DURATION" help:"The most that one gap adds to active_s: 0s to 24h."`
	QuickAnswer          *time.Duration `placeholder:"DURATION" help:"A response within this is a quick answer: 0s to 24h."`
	FrustrationWords     *string        `placeholder:"WORD,…" help:"A user message with one of these words or phrases is friction. Empty (--frustration-words=): none."`
	FrustrationSentiment *float64       `placeholder:"NUMBER" help:"A user message of this sentiment or lower is friction: --frustration-sentiment=-0.5, from -1 to 1, in thousandths."`
}

// Help is what --help says besides the flags.
func (*rebuildCmd) Help() string {
	return `Folds the whole log into fresh tables, which then replace the old ones in one transaction. Deliveries
and reads go on, beside a running server or without one. Needed after a settings flag below, or a
rapport with newer formulas; harmless at any time. Running servers go on with the new settings.

It needs room on the database's disk for a second copy of the sessions, and the role that owns the
schema. Interrupted or killed, it leaves the old sessions as they were: run it again.

Dead letters stay aside. The tables are replaced when no transaction uses them for long: it waits for
those that do, and names their backends. A REPEATABLE READ transaction that began before that, and reads
the sessions only afterwards, misses some: let it LOCK TABLE analytics.sessions IN ACCESS SHARE MODE first.
An index, a grant or a view of your own on the tables is kept; of triggers, foreign keys, materialized
views and the like it says that they are in the way, and does nothing.`
}

// Run rebuilds.
func (c *rebuildCmd) Run(ctx context.Context, io streams) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	logger := c.logger(io.Err)
	if _, err := os.Stat(filepath.Join(c.DataDir, "postgres")); err != nil && !c.isConfigured() {
		return fmt.Errorf("there is no Rapport data in %s: name it with --data-dir, or a database with --database-url", c.DataDir)
	}
	database, err := c.open(ctx, logger, true, embedpg.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.close()) }()
	if c.Search && c.settingsFlags != (settingsFlags{}) {
		return errors.New("--search has no settings: leave them out, or rebuild the sessions without it")
	}
	if c.Search {
		return c.resetSearch(ctx, io, database, logger)
	}
	settings, err := c.settings(ctx, database, logger)
	if err != nil {
		return err
	}
	logger.Info("rebuilding the sessions", "idle_timeout", settings.IdleTimeout, "active_gap_cap", settings.ActiveGapCap,
		"quick_answer", settings.QuickAnswer, "frustration_words", settings.FrustrationWords,
		"frustration_sentiment", float64(settings.FrustrationSentiment)/1000, "score_version", settings.ScoreVersion)
	began := time.Now()
	begin := func(ctx context.Context) (*store.Rebuild, error) { return store.BeginRebuild(ctx, database.OwnerURL) }
	rebuilt, err := rebuild(ctx, begin, settings, newRebuildProgress(io.Err, logger))
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: the sessions are as they were; run `rapport rebuild` again")
	}
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	_, err = fmt.Fprintf(io.Out, "%d sessions rebuilt from %d events in %.1f s (%.0f events/s)\n",
		rebuilt.Sessions, rebuilt.Events, seconds, float64(rebuilt.Events)/seconds)
	return err
}

// resetSearch has the messages made searchable anew.
func (c *rebuildCmd) resetSearch(ctx context.Context, io streams, database *database, logger *slog.Logger) error {
	db, err := database.migrated(ctx, false, logger)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := store.ResetSearch(ctx, database.OwnerURL); err != nil {
		return err
	}
	if err := db.Audit(ctx, store.AuditEntry{Actor: cliActor(), Action: "search.rebuild"}); err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.Out, "a running server makes all messages searchable anew; see rapport doctor for how far it is")
	return err
}

// settings are the stored ones with what the flags change, and the formulas of
// this binary.
func (c *rebuildCmd) settings(ctx context.Context, database *database, logger *slog.Logger) (rapport.Settings, error) {
	db, err := database.migrated(ctx, false, logger)
	if err != nil {
		return rapport.Settings{}, err
	}
	defer db.Close()
	settings, err := db.Settings(ctx)
	if err != nil {
		return rapport.Settings{}, err
	}
	settings.ScoreVersion = rapport.ScoreVersion
	if err := c.change(&settings); err != nil {
		return rapport.Settings{}, err
	}
	return settings, db.Audit(ctx, store.AuditEntry{
		Actor: cliActor(), Action: "session.rebuild", Details: settingsDetails(&settings),
	})
}

// settingsDetails are the settings for the audit.
func settingsDetails(s *rapport.Settings) map[string]any {
	return map[string]any{
		"idle_timeout": s.IdleTimeout.String(), "active_gap_cap": s.ActiveGapCap.String(), "quick_answer": s.QuickAnswer.String(),
		"frustration_words": s.FrustrationWords, "frustration_sentiment": float64(s.FrustrationSentiment) / 1000,
		"score_version": s.ScoreVersion,
	}
}

func rebuild(ctx context.Context, begin func(context.Context) (*store.Rebuild, error), settings rapport.Settings, progress *rebuildProgress) (aggregator.Rebuilt, error) {
	r, err := begin(ctx)
	if err != nil {
		return aggregator.Rebuilt{}, err
	}
	defer r.Close()
	defer progress.clear()
	return aggregator.Rebuild(ctx, r, settings, progress.show)
}

// change makes the settings those of the flags.
func (f *settingsFlags) change(settings *rapport.Settings) error {
	for _, d := range []struct {
		flag  string
		given *time.Duration
		least time.Duration
		set   *time.Duration
	}{
		{"idle-timeout", f.IdleTimeout, time.Second, &settings.IdleTimeout},
		{"active-gap-cap", f.ActiveGapCap, 0, &settings.ActiveGapCap},
		{"quick-answer", f.QuickAnswer, 0, &settings.QuickAnswer},
	} {
		if d.given == nil {
			continue
		}
		if *d.given < d.least || *d.given > 24*time.Hour || *d.given%time.Second != 0 {
			return fmt.Errorf("--%s (%s) must be whole seconds from %v to 24h, and is %v", d.flag, variable(d.flag), d.least, *d.given)
		}
		*d.set = *d.given
	}
	if err := f.changeSentiment(settings); err != nil {
		return err
	}
	return f.changeWords(settings)
}

func (f *settingsFlags) changeSentiment(settings *rapport.Settings) error {
	if f.FrustrationSentiment == nil {
		return nil
	}
	const flag = "frustration-sentiment"
	thousandths := math.Round(*f.FrustrationSentiment * 1000)
	// Written so that NaN is refused too.
	if !(math.Abs(thousandths) <= 1000) || math.Abs(thousandths-*f.FrustrationSentiment*1000) > 1e-6 {
		return fmt.Errorf("--%s (%s) must be from -1 to 1, with three decimals at most, and is %v", flag, variable(flag), *f.FrustrationSentiment)
	}
	settings.FrustrationSentiment = int(thousandths)
	return nil
}

func (f *settingsFlags) changeWords(settings *rapport.Settings) error {
	if f.FrustrationWords == nil {
		return nil
	}
	words := []string{}
	if *f.FrustrationWords != "" {
		var err error
		if words, err = list("frustration-words", *f.FrustrationWords); err != nil {
			return err
		}
	}
	for _, word := range words {
		if rapport.CleanText(word) != word || !strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			return fmt.Errorf("--frustration-words (RAPPORT_FRUSTRATION_WORDS) can't be %q: a word has a letter or a digit", word)
		}
	}
	settings.FrustrationWords = words
	return nil
}
