package store

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Maintenance does what has to be done from time to time: partitions are made
// ahead, what is too old goes, the quarantine is kept within its bounds, and the
// newest receipt of other servers becomes known.
type Maintenance struct {
	DB         *DB
	Quarantine QuarantineBounds
	Retention  Retention
	Every      time.Duration // a minute if zero
	Logger     *slog.Logger
}

// Run maintains until the context ends, and then returns nil. What fails is
// logged, and tried again the next time.
func (m *Maintenance) Run(ctx context.Context) error {
	every := m.Every
	if every == 0 {
		every = time.Minute
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if err := m.once(ctx, time.Now()); err != nil && ctx.Err() == nil {
			m.Logger.Warn("maintenance failed, trying again later", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (m *Maintenance) once(ctx context.Context, now time.Time) error {
	if _, err := m.DB.Head(ctx); err != nil {
		return err
	}
	if err := m.DB.EnsureMonth(ctx, now); err != nil {
		return err
	}
	_, err := m.DB.QuarantinePrune(ctx, m.Quarantine, now)
	return errors.Join(err, m.retain(ctx, now))
}

// retain goes on with what was begun also where nothing is asked for any more.
func (m *Maintenance) retain(ctx context.Context, now time.Time) error {
	done, err := m.DB.Retain(ctx, m.Retention, "rapport", now)
	if done.HorizonMoved {
		m.Logger.Info("the horizon has moved: what is older goes", "events_before", done.Horizon.Events,
			"messages_before", done.Horizon.Messages, "sessions_before", done.Horizon.Sessions, "dead_letters", done.DeadLetters)
	}
	for _, month := range done.Months {
		m.Logger.Info("a month was let go", "month", month.Month.Format("2006-01"), "events", month.Events, "dropped", month.Dropped)
	}
	if done.Sessions > 0 {
		m.Logger.Info("sessions were let go", "count", done.Sessions)
	}
	return err
}
