package main

import (
	"context"
	"errors"
	"log/slog"

	"rapport/aggregator"
	"rapport/store"
)

// bringUp makes a database ready for a server: migrated, and with settings that
// this binary can fold with. Mostly that is done at the start. A server that has a
// spool starts without its database too, and does it when that is back.
type bringUp struct {
	db       *store.DB
	database *database
	migrate  bool
	logger   *slog.Logger

	sessions *aggregator.Sessions // once ready
	ready    chan struct{}
}

func newBringUp(db *store.DB, database *database, migrate bool, logger *slog.Logger) *bringUp {
	return &bringUp{db: db, database: database, migrate: migrate, logger: logger, ready: make(chan struct{})}
}

// run brings the database up, once. It is repeated until it succeeds.
func (b *bringUp) run(ctx context.Context) error {
	if err := b.database.migrate(ctx, b.db, b.migrate, b.logger); err != nil {
		return err
	}
	settings, err := b.db.Settings(ctx)
	if err != nil {
		return err
	}
	sessions, err := aggregator.NewSessions(settings)
	if err != nil {
		return err
	}
	if err := b.db.MakeWith(ctx, sessions.Name(), settings); err != nil {
		return err
	}
	b.sessions = sessions
	close(b.ready)
	return nil
}

// atStart brings the database up, or lets it be late: if it may, and if nothing
// is wrong but that it is away.
func (b *bringUp) atStart(ctx context.Context, mayBeLate bool) error {
	if !mayBeLate {
		return b.run(ctx)
	}
	err := b.reach(ctx)
	if err == nil {
		err = b.run(ctx) // for as long as a migration takes
	}
	if err == nil || !isAway(err) || ctx.Err() != nil {
		return err
	}
	b.logger.Error("the database is away: deliveries go to the spool until it is back", "error", err)
	return nil
}

// reach looks for the database, but not for long.
func (b *bringUp) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return b.db.Ping(ctx)
}

// isAway reports whether the database could not be asked, rather than that it, or
// what is known of it, is not as it must be.
func isAway(err error) bool {
	for _, wrong := range []error{
		store.ErrSchemaOld, store.ErrSchemaNew, store.ErrNotOwner, store.ErrNotServer, store.ErrURL,
		store.ErrSettingsChanged, store.ErrRestoreUnfinished, aggregator.ErrSettings,
	} {
		if errors.Is(err, wrong) {
			return false
		}
	}
	return store.IsUnavailable(err)
}

// pending is what is still to be done before the log may be used; nil if nothing is.
func (b *bringUp) pending() func(context.Context) error {
	select {
	case <-b.ready:
		return nil
	default:
		return b.run
	}
}

// then is a service that begins once the database is ready.
func (b *bringUp) then(do func(context.Context, *aggregator.Sessions) error) service {
	return serviceFunc(func(ctx context.Context) error {
		select {
		case <-b.ready:
			return do(ctx, b.sessions)
		case <-ctx.Done():
			return nil
		}
	})
}
