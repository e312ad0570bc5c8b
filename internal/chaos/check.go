package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// settleWithin is how long the spools may take to drain and the rollups to catch up,
// and settleRate is how many deliveries a second they get besides.
const (
	settleWithin = 60 * time.Second
	settleRate   = 500
)

// check proves that nothing was lost or doubled: see the package comment. Loads
// are to be ended before; every server that is to run runs.
func (t *Trial) check(ctx context.Context) error {
	if err := t.settle(ctx); err != nil {
		t.violate("never settled: %v", err)
	}
	link, err := t.database("rapport_owner")
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, link)
	if err != nil {
		return fmt.Errorf("checking the log: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := t.checkLog(ctx, conn); err != nil {
		return fmt.Errorf("checking the log: %w", err)
	}
	if err := t.checkQuarantine(ctx, conn); err != nil {
		return fmt.Errorf("checking the quarantine: %w", err)
	}
	t.checkAnswers()
	return t.verify(ctx)
}

// settle waits until all that was kept is in the log, and in the rollups.
func (t *Trial) settle(ctx context.Context) error {
	spooled := time.Duration(t.ledger.tallyNow().Spooled) * time.Second / settleRate
	ctx, cancel := context.WithTimeout(ctx, settleWithin+spooled)
	defer cancel()
	for _, s := range t.servers {
		if s.child == nil || s.child.ended() {
			continue
		}
		if err := poll(ctx, func() error { return s.settled(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// checkLog reads what the log has gained since the last check. That nothing of
// before is gone again is verify's part, and that of the head.
func (t *Trial) checkLog(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
		SELECT position, sha256(coalesce(convert_to(payload::text, 'UTF8'), payload_raw))
		FROM events WHERE position > $1 ORDER BY position`, t.logged)
	if err != nil {
		return err
	}
	var position int64
	var sum []byte
	_, err = pgx.ForEachRow(rows, []any{&position, &sum}, func() error {
		t.foundAt(position, keyOf(sum))
		return nil
	})
	if err != nil {
		return err
	}
	var head, count int64
	err = conn.QueryRow(ctx, "SELECT position, (SELECT count(*) FROM events) FROM log_head").Scan(&head, &count)
	if err == nil && (head != t.logged || count != t.logged) {
		t.violate("the head is %d, and the log has %d events up to position %d", head, count, t.logged)
	}
	return err
}

func (t *Trial) foundAt(position int64, k key) {
	if position != t.logged+1 {
		t.violate("position %d follows %d", position, t.logged)
	}
	t.logged = position
	number, sent := t.ledger.byKey[k]
	if !sent {
		t.violate("position %d has what was never sent, or not to the byte", position)
		return
	}
	e := &t.ledger.entries[number]
	if e.found != 0 {
		t.violate("delivery %d is in the log twice, at %d and %d", number, e.found, position)
	}
	e.found = position
}

func (t *Trial) checkQuarantine(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, "SELECT body_sha256 FROM quarantine")
	if err != nil {
		return err
	}
	sums, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return err
	}
	there := make(map[key]bool, len(sums))
	for _, sum := range sums {
		k := keyOf(sum)
		there[k] = true
		if number, sent := t.ledger.byKey[k]; !sent || !t.ledger.entries[number].malformed {
			t.violate("the quarantine has a body that does not belong there (delivery %d, sent: %t)", number, sent)
		}
	}
	for number := range t.ledger.entries {
		if e := &t.ledger.entries[number]; e.quarantined && !there[e.key] {
			t.violate("delivery %d was answered 422 and is not in the quarantine", number)
		}
	}
	return nil
}

// checkAnswers compares what was answered with what was found.
func (t *Trial) checkAnswers() {
	for number := range t.ledger.entries {
		e := &t.ledger.entries[number]
		switch {
		case e.kept && e.found == 0:
			t.violate("delivery %d was answered 200 and is not in the log (told position %d)", number, e.told)
		case e.told != 0 && e.found != e.told:
			t.violate("delivery %d was told to be at position %d and is at %d", number, e.told, e.found)
		}
	}
	for _, surprise := range t.ledger.surprises {
		t.violate("%s", surprise)
	}
	t.ledger.surprises = nil
}

// verify runs `rapport verify` on the database.
func (t *Trial) verify(ctx context.Context) error {
	link, err := t.database("rapport_server")
	if err != nil {
		return err
	}
	began := time.Now()
	_, err = t.run(ctx, []string{"verify", "--data-dir", t.servers[0].dataDir}, "RAPPORT_DATABASE_URL="+link)
	t.verified += time.Since(began)
	if err != nil && ctx.Err() == nil {
		t.violate("%v", err)
	}
	return ctx.Err()
}
