package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// serveThroughProxy starts a Postgres, a proxy to it, and a server.
func (t *Trial) serveThroughProxy(ctx context.Context) (*proxy, *server, error) {
	p, err := t.startPostgres(ctx)
	if err != nil {
		return nil, nil, err
	}
	x, err := t.newProxy(p)
	if err != nil {
		return nil, nil, err
	}
	s, err := t.serve(ctx, x.url("rapport_server"))
	return x, s, err
}

// swallowed: a commit whose answer was lost is neither lost nor doubled.
func swallowed(ctx context.Context, t *Trial) error {
	x, s, err := t.serveThroughProxy(ctx)
	if err != nil {
		return err
	}
	happened := 0
	err = t.unnoticed(ctx, s, func(ctx context.Context) error {
		var linger time.Duration
		if t.oneIn(4) { // longer than the server waits
			linger = 4 * time.Second
		}
		asked := x.swallowNext(linger)
		select {
		case <-asked.done:
		case <-time.After(20 * time.Second):
			return errors.New("there was no append whose answer could be swallowed")
		case <-ctx.Done():
			return ctx.Err()
		}
		if !asked.committed {
			return fmt.Errorf("the append failed whose answer was to be swallowed")
		}
		happened++
		return pause(ctx, linger)
	})
	t.measure("answers swallowed after COMMIT", "%d", happened)
	return err
}

// cut: connections that break are no more than a wait.
func cut(ctx context.Context, t *Trial) error {
	x, s, err := t.serveThroughProxy(ctx)
	if err != nil {
		return err
	}
	return t.unnoticed(ctx, s, func(ctx context.Context) error {
		defer x.slow(0)
		for end := time.Now().Add(t.For); time.Now().Before(end); {
			x.slow(t.someTime(0, 30*time.Millisecond))
			if err := pause(ctx, t.someTime(10*time.Millisecond, 300*time.Millisecond)); err != nil {
				return err
			}
			x.cutSome(func() bool { return t.oneIn(2) })
		}
		return nil
	})
}

// stalled: a network that loses everything is no more than a wait.
func stalled(ctx context.Context, t *Trial) error {
	x, s, err := t.serveThroughProxy(ctx)
	if err != nil {
		return err
	}
	return t.unnoticed(ctx, s, func(ctx context.Context) error {
		x.stall()
		defer x.resume()
		if err := pause(ctx, t.someTime(t.For/2, t.For)); err != nil {
			return err
		}
		if t.oneIn(2) {
			x.cut()
		}
		return nil
	})
}
