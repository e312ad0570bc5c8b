package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"rapport/aggregator"
	"rapport/aggregator/reaction"
	"rapport/api"
	"rapport/store"
)

// rulesFlags tell who is to be told when something happens.
type rulesFlags struct {
	Rules string `type:"path" placeholder:"FILE" help:"Act on what happens as the rules in this file say, such as deploy/rules/rules.yaml. It is read again when it changes, and on SIGHUP; see docs/rules.md and rapport rules check."`

	hangups <-chan os.Signal // SIGHUP, which ends a server without rules
}

// beginRules refuses a file that is wrong, and writes each mistake in a line of its own.
// From then on SIGHUP means the rules.
func (f *rulesFlags) beginRules(io streams) error {
	if f.Rules == "" {
		return nil
	}
	if _, err := loadRules(f.Rules, io); err != nil {
		return err
	}
	f.hangups = takeHangups()
	return nil
}

// reaction acts on what happens, if there are rules.
func (c *serveCmd) reaction(db *store.DB, watch *store.Watch, up *bringUp, metrics *api.Metrics, logger *slog.Logger) ([]service, error) {
	if c.Rules == "" {
		return nil, nil
	}
	allow, err := c.outboundNetworks()
	if err != nil {
		return nil, err
	}
	keeper := newRulesKeeper(c.Rules, c.hangups, logger)
	r, err := reaction.Open(db, watch, reaction.Options{File: c.Rules, Allow: allow, Logger: logger})
	if err != nil {
		return nil, err
	}
	keeper.reload = r.Reload
	for _, collector := range append(r.Collectors(), keeper.refused) {
		if err := metrics.Register(collector); err != nil {
			return nil, fmt.Errorf("registering the metrics of the rules: %w", err)
		}
	}
	return []service{
		up.then(func(ctx context.Context, _ *aggregator.Sessions) error { return r.Run(ctx) }),
		up.then(func(ctx context.Context, _ *aggregator.Sessions) error { return keeper.Run(ctx) }),
	}, nil
}
