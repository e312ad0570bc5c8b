package chaos

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// serveOn starts a Postgres and a server on it.
func (t *Trial) serveOn(ctx context.Context) (*postgres, *server, error) {
	p, err := t.startPostgres(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, err := t.serve(ctx, p.url("rapport_server"))
	return p, s, err
}

// locked: what waits for a lock is kept in the spool meanwhile.
func locked(ctx context.Context, t *Trial) error {
	p, s, err := t.serveOn(ctx)
	if err != nil {
		return err
	}
	locks := []string{
		"SELECT FROM log_head FOR UPDATE", "SELECT FROM followers FOR UPDATE",
		"LOCK TABLE events IN ACCESS EXCLUSIVE MODE", "LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE",
	}
	return t.unnoticed(ctx, s, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, p.url("rapport_owner"))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for _, statement := range []string{"BEGIN", locks[(t.round-1)%len(locks)]} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return pause(ctx, t.For)
	})
}

// readOnly: a primary that is none any more keeps nothing, and says so at each try.
func readOnly(ctx context.Context, t *Trial) error {
	p, s, err := t.serveOn(ctx)
	if err != nil {
		return err
	}
	admin := p.url("postgres") + "&options=-c%20default_transaction_read_only%3Doff"
	return t.unnoticed(ctx, s, func(ctx context.Context) error {
		err := do(ctx, admin, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
		if err != nil {
			return err
		}
		if err := pause(ctx, t.someTime(t.For/2, t.For)); err != nil {
			return err
		}
		return do(ctx, admin, "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
	})
}

// noSlots: strangers take every connection that becomes free, ours included.
func noSlots(ctx context.Context, t *Trial) error {
	p, s, err := t.serveOn(ctx)
	if err != nil {
		return err
	}
	most := 0
	err = t.unnoticed(ctx, s, func(ctx context.Context) error {
		strangers := &crowd{url: p.url("rapport_reader")}
		defer strangers.leave()
		end := time.Now().Add(t.someTime(t.For/2, t.For))
		strangers.take(ctx)
		if err := do(ctx, p.url("postgres"),
			"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rapport_server'"); err != nil {
			return err
		}
		for time.Now().Before(end) && ctx.Err() == nil {
			strangers.take(ctx)
			most = max(most, len(strangers.conns))
		}
		return ctx.Err()
	})
	t.measure("connections of strangers", "%d", most)
	return err
}

// crowd is connections that do nothing.
type crowd struct {
	url   string
	mu    sync.Mutex
	conns []*pgx.Conn // guarded by mu
}

// take takes what connections are left, several at once to be faster than a server.
func (c *crowd) take(ctx context.Context) {
	var takers sync.WaitGroup
	for range 4 {
		takers.Go(func() {
			for {
				conn, err := pgx.Connect(ctx, c.url)
				if err != nil {
					return
				}
				c.mu.Lock()
				c.conns = append(c.conns, conn)
				c.mu.Unlock()
			}
		})
	}
	takers.Wait()
}

func (c *crowd) leave() {
	for _, conn := range c.conns {
		_ = conn.Close(context.Background())
	}
}

// restarted: a Postgres that is restarted is no more than a wait.
func restarted(ctx context.Context, t *Trial) error {
	p, s, err := t.serveOn(ctx)
	if err != nil {
		return err
	}
	return t.unnoticed(ctx, s, func(ctx context.Context) error {
		signal := syscall.SIGINT // fast
		if t.oneIn(2) {
			signal = syscall.SIGQUIT // immediate
		}
		if err := p.end(signal); err != nil {
			return fmt.Errorf("stopping Postgres: %w", err)
		}
		return p.start(ctx)
	})
}
