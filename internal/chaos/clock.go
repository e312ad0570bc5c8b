package chaos

import (
	"context"
	"fmt"
	"time"

	"rapport"
	"rapport/api/webhook"
	"rapport/store"
)

// aheadBy is more than the day that an event may be ahead of the server's clock.
const aheadBy = 48 * time.Hour

// clockBehind: a clock that was set back must not refuse live traffic. The clock of a
// process can't be moved without everybody's on the machine; so the log is ahead
// instead, by what another server has appended whose clock is right.
func clockBehind(ctx context.Context, t *Trial) error {
	p, err := t.startPostgres(ctx)
	if err != nil {
		return err
	}
	t.ledger.made.began = time.Now().Add(aheadBy)
	if err := t.appendAs(ctx, p.url("rapport_server"), time.Now().Add(aheadBy)); err != nil {
		return err
	}
	s, err := t.serve(ctx, p.url("rapport_server"))
	if err != nil {
		return err
	}
	if err := t.settle(ctx); err != nil { // it has looked at the log by then
		return err
	}
	return t.unnoticed(ctx, s, func(ctx context.Context) error { return pause(ctx, time.Second) })
}

// appendAs appends a delivery as a server does whose clock says now.
func (t *Trial) appendAs(ctx context.Context, link string, now time.Time) error {
	db, err := store.Open(ctx, link)
	if err != nil {
		return err
	}
	defer db.Close()
	d := t.ledger.next()
	for d.malformed {
		d = t.ledger.next()
	}
	event, err := webhook.Decode(d.body, now, now)
	if err != nil {
		return err
	}
	kept, err := db.Append(ctx, []*rapport.Event{&event})
	if err != nil {
		return fmt.Errorf("appending: %w", err)
	}
	t.ledger.record(d, answer{status: 200, Position: kept[0].Position})
	return nil
}
