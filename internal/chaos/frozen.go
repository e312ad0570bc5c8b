package chaos

import (
	"context"
	"time"
)

// frozenServer: a server that stops in the middle of what it does holds up the other
// for no longer than a sender waits, and goes on where it was.
func frozenServer(ctx context.Context, t *Trial) error {
	p, err := t.startPostgres(ctx)
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := t.serve(ctx, p.url("rapport_server")); err != nil {
			return err
		}
	}
	var worst slowest
	err = t.eachRound(ctx, func(ctx context.Context) error {
		before := t.ledger.tallyNow()
		got, err := t.freezeOneOfTwo(ctx)
		worst.add(got)
		t.mustAllBeKept(before)
		return err
	})
	t.measure("answers of the other in the worst round", "%v", worst)
	return err
}

func (t *Trial) freezeOneOfTwo(ctx context.Context) (latency, error) {
	victim := t.random.IntN(2)
	frozen, other := t.servers[victim], t.servers[1-victim]
	rate := t.between(t.Rate/4, t.Rate) / 2
	theirs, its := t.load(other.addr, rate), t.load(frozen.addr, rate)
	defer theirs.end()
	defer its.end()
	if err := pause(ctx, t.someTime(time.Second, 2*time.Second)); err != nil {
		return latency{}, err
	}
	if err := frozen.freeze(); err != nil {
		return latency{}, err
	}
	defer func() { _ = frozen.thaw() }()
	began := time.Now()
	if err := pause(ctx, t.someTime(t.For/2, t.For)); err != nil {
		return latency{}, err
	}
	theirs.end() // before the other goes on: whatever held them up has to be over by itself
	got := t.mustAnswerWithin(patience, theirs, began, time.Now())
	if err := frozen.thaw(); err != nil {
		return latency{}, err
	}
	return got, pause(ctx, time.Second)
}

// frozenPostgres: a Postgres that says nothing is as good as one that is away.
func frozenPostgres(ctx context.Context, t *Trial) error {
	p, err := t.startPostgres(ctx)
	if err != nil {
		return err
	}
	s, err := t.serve(ctx, p.url("rapport_server"))
	if err != nil {
		return err
	}
	return t.unnoticed(ctx, s, func(ctx context.Context) error {
		thaw, err := p.freeze()
		if err != nil {
			return err
		}
		defer thaw()
		return pause(ctx, t.someTime(t.For/2, t.For))
	})
}
