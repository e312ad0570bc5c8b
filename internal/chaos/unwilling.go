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

// noSlots: strangers take every connection, ours included.
func noSlots(ctx context.Context, t *Trial) error {
	p, s, err := t.serveOn(ctx)
	if err != nil {
		return err
	}
	most := 0
	err = t.unnoticed(ctx, s, func(ctx context.Context) error {
		admin, err := pgx.Connect(ctx, p.url("postgres")) // while there is one left
		if err != nil {
			return err
		}
		defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
		strangers := newCrowd(ctx, p.url("rapport_reader"))
		defer func() { most = max(most, strangers.leave()) }()
		if err := driveOut(ctx, admin); err != nil {
			return err
		}
		return pause(ctx, t.someTime(t.For/2, t.For))
	})
	t.measure("connections of strangers", "%d", most)
	return err
}

// driveOut ends the server's connections until it gets no new ones for a while.
func driveOut(ctx context.Context, admin *pgx.Conn) error {
	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	without := 0
	return poll(within, func() error {
		var left int
		err := admin.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE usename = 'rapport_server'`).Scan(&left)
		without++
		if err != nil || left > 0 {
			without = 0
		}
		if err == nil && without < 10 {
			err = fmt.Errorf("the server keeps getting connections (%d)", left)
		}
		return err
	})
}

// crowd is connections that do nothing, and more of them as soon as there is room.
type crowd struct {
	url    string
	cancel context.CancelFunc
	takers sync.WaitGroup

	mu    sync.Mutex
	conns []*pgx.Conn // guarded by mu
}

func newCrowd(ctx context.Context, url string) *crowd {
	ctx, cancel := context.WithCancel(ctx)
	c := &crowd{url: url, cancel: cancel}
	for range 4 { // to be faster than a server
		c.takers.Go(func() { c.take(ctx) })
	}
	return c
}

func (c *crowd) take(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := pgx.Connect(ctx, c.url)
		if err != nil {
			_ = pause(ctx, 5*time.Millisecond)
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, conn)
		c.mu.Unlock()
	}
}

// leave ends them, and tells how many there were.
func (c *crowd) leave() int {
	c.cancel()
	c.takers.Wait()
	for _, conn := range c.conns {
		_ = conn.Close(context.Background())
	}
	return len(c.conns)
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
