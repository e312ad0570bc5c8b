package main

import (
	"context"
	"log/slog"

	"rapport/aggregator"
	"rapport/api"
	"rapport/internal/heal"
	"rapport/internal/redact"
	"rapport/store"
)

// askedFor are the services that only run where a flag asks for them.
func (c *serveCmd) askedFor(db *store.DB, watch *store.Watch, up *bringUp, metrics *api.Metrics, mask *redact.Rules, logger *slog.Logger) ([]service, error) {
	var services []service
	streams, err := c.followers(db, watch, metrics, logger)
	if err != nil {
		return nil, err
	}
	for _, stream := range streams {
		services = append(services, up.then(func(ctx context.Context, _ *aggregator.Sessions) error { return stream.Run(ctx) }))
	}
	reactions, err := c.reaction(db, watch, up, metrics, logger)
	if err != nil {
		return nil, err
	}
	services = append(services, reactions...)
	if c.HealEvery > 0 {
		healer, err := c.healer(db, mask, logger)
		if err != nil {
			return nil, err
		}
		healing := &heal.Service{Healer: healer, Every: c.HealEvery, Logger: logger}
		services = append(services, up.then(func(ctx context.Context, _ *aggregator.Sessions) error { return healing.Run(ctx) }))
	}
	archiver, err := c.archiver(db, watch, up, logger)
	if err != nil {
		return nil, err
	}
	if archiver != nil {
		services = append(services, archiver)
	}
	if c.PprofListen != "" {
		profiles, err := openProfiles(c.PprofListen, logger)
		if err != nil {
			return nil, err
		}
		services = append(services, profiles)
	}
	return services, nil
}
