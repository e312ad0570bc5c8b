package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/time/rate"

	"rapport/api"
	"rapport/store"
)

// needsProof is what a server lacks that listens beyond loopback and can tell no
// delivery's sender.
const needsProof = "RAPPORT_WEBHOOK_SECRET, RAPPORT_WEBHOOK_TOKEN or a source of `rapport source add` (proof that a webhook is the sender's)"

// How often a server looks for changes of the stored sources, how long it waits for
// them, and how often it tells the database what came from each.
const (
	sourcesEvery  = 2 * time.Second
	sourcesWithin = 5 * time.Second
	talliesEvery  = 10 * time.Second
	lastTally     = 500 * time.Millisecond
)

// sourceKeeper keeps the webhook sources that a server knows as they are stored,
// and a copy of them in the data directory: a server that starts while its database
// is away still knows whose deliveries it may keep.
type sourceKeeper struct {
	sources *api.Sources
	db      *store.DB
	logger  *slog.Logger

	database string // which one, as store.Address tells it
	path     string // of the copy; empty: none is kept
	copied   string // what the copy has
	known    string // what the sources were made of
	failing  bool   // the database did not tell them, and the log has it

	copyReports rate.Sometimes
}

// sourcesFile is the copy's name. Who reads it can sign deliveries: it is as private
// as the spool beside it.
const sourcesFile = "sources.json"

// sourcesCopy is its content.
type sourcesCopy struct {
	Database string         `json:"database"` // that they are of
	Sources  []store.Source `json:"sources"`
}

// openSources are the sources at the start: those of the database, or of the copy
// while that is away. Who listens beyond loopback needs one.
func (c *serveCmd) openSources(ctx context.Context, db *store.DB, isAway bool, database string, logger *slog.Logger) (*sourceKeeper, error) {
	sources, err := c.environmentSources()
	if err != nil {
		return nil, err
	}
	k := &sourceKeeper{
		sources: sources, db: db, logger: logger, database: database,
		copyReports: rate.Sometimes{First: 1, Interval: time.Minute},
	}
	if !c.NoSpool { // without one the database is never away at the start
		k.path = filepath.Join(c.DataDir, sourcesFile)
	}
	if err := k.begin(ctx, isAway); err != nil {
		return nil, err
	}
	switch {
	case sources.AreOpen():
		logger.Warn("webhooks are taken without proof, since there is no RAPPORT_WEBHOOK_SECRET, no RAPPORT_WEBHOOK_TOKEN and no source of `rapport source add`")
	case !sources.Any():
		return nil, fmt.Errorf("listening on %s, which is not loopback, needs %s", c.Listen, needsProof)
	}
	return k, nil
}

// begin takes over what is stored or, while the database is away, what was known last.
func (k *sourceKeeper) begin(ctx context.Context, isAway bool) error {
	if isAway {
		return k.recall()
	}
	stored, err := k.read(ctx)
	if k.path != "" && store.IsUnavailable(err) {
		return k.recall()
	}
	if err != nil {
		return err
	}
	return k.adopt(stored)
}

// environmentSources are those that the environment configures.
func (c *serveCmd) environmentSources() (*api.Sources, error) {
	secrets, err := list("webhook-secret", c.WebhookSecret)
	if err != nil {
		return nil, err
	}
	tokens, err := list("webhook-token", c.WebhookToken)
	if err != nil {
		return nil, err
	}
	return api.NewSources(secrets, tokens, c.isExposed())
}

// Run looks for changes until the context ends. What is known stays so while the
// database is away.
func (k *sourceKeeper) Run(ctx context.Context) error {
	looks, tallies := time.NewTicker(sourcesEvery), time.NewTicker(talliesEvery)
	defer looks.Stop()
	defer tallies.Stop()
	for {
		var err error
		select {
		case <-looks.C:
			var stored []store.Source
			if stored, err = k.read(ctx); err == nil {
				err = k.adopt(stored)
			}
		case <-tallies.C:
			err = k.tell(ctx, sourcesWithin)
		case <-ctx.Done():
			if err := k.tell(context.WithoutCancel(ctx), lastTally); err != nil {
				k.logger.Debug("what came last from the webhook sources is not counted", "error", err)
			}
			return nil
		}
		k.report(err)
	}
}

// report tells of the first failure of several, and of its end.
func (k *sourceKeeper) report(err error) {
	switch {
	case err != nil && !k.failing:
		k.logger.Warn("the webhook sources stay as they were known last", "error", err)
	case err == nil && k.failing:
		k.logger.Info("the webhook sources are known again")
	}
	k.failing = err != nil
}

func (k *sourceKeeper) read(ctx context.Context) ([]store.Source, error) {
	ctx, cancel := context.WithTimeout(ctx, sourcesWithin)
	defer cancel()
	return k.db.Sources(ctx)
}

// adopt takes the stored sources over if they have changed. The copy comes first:
// what a delivery was proven with is still known after a crash. A disk that takes
// no copy is no reason to refuse deliveries.
func (k *sourceKeeper) adopt(stored []store.Source) error {
	content, err := json.Marshal(sourcesCopy{Database: k.database, Sources: stored})
	if err != nil {
		return err
	}
	if err := k.copy(content); err != nil {
		k.copyReports.Do(func() {
			k.logger.Warn("no copy of the webhook sources could be kept, for a start without the database", "error", err)
		})
	}
	if string(content) == k.known {
		return nil
	}
	if err := k.take(stored); err != nil {
		return err
	}
	k.known = string(content)
	return nil
}

// take has the sources be these.
func (k *sourceKeeper) take(stored []store.Source) error {
	if err := k.sources.Set(stored); err != nil {
		return err
	}
	names := make([]string, len(stored))
	for i, s := range stored {
		names[i] = s.Name
	}
	switch {
	case len(names) > 0:
		k.logger.Info("the webhook sources are known", "stored", names)
	case k.known != "" && !k.sources.Any():
		k.logger.Warn("no webhook source is left: all deliveries are refused until there is one")
	case k.known != "":
		k.logger.Info("no webhook source is stored any more: there is that of the environment")
	}
	return nil
}

// tell adds what came from each source to the database.
func (k *sourceKeeper) tell(ctx context.Context, within time.Duration) error {
	untold := k.sources.Untold()
	if len(untold) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := k.db.AddSourceTallies(ctx, untold); err != nil {
		return err
	}
	k.sources.Told(untold)
	return nil
}

// copy writes the copy, if it has something else.
func (k *sourceKeeper) copy(content []byte) error {
	if k.path == "" || string(content) == k.copied {
		return nil
	}
	if err := writeDurably(k.path, content); err != nil {
		return err
	}
	k.copied = string(content)
	return nil
}

// recall takes the sources over from the copy. There may be none: then nobody has
// stored a source yet.
func (k *sourceKeeper) recall() error {
	content, err := os.ReadFile(k.path) // #nosec G304 -- it is in the data directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var found sourcesCopy
	if err == nil {
		err = json.Unmarshal(content, &found)
	}
	if err != nil {
		return fmt.Errorf("reading %s, which has the webhook sources while the database is away: %w", k.path, err)
	}
	if found.Database != k.database {
		return nil // of another database
	}
	return k.take(found.Sources)
}

// writeDurably replaces a file by one of this content, which nobody else may read.
// After a crash it is the old one or the new one.
func writeDurably(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	opened, err := os.Open(dir) // #nosec G304 -- it is the data directory
	if err != nil {
		return err
	}
	return errors.Join(opened.Sync(), opened.Close())
}
