package store

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// pollEvery is how soon a change is noticed at the latest: notifications are
// lost when their connection is, and a standby has none.
const pollEvery = time.Second

// Announce tells all processes that the log has grown, until the context ends;
// it then returns nil. It comes after the answers, and under load for many
// appends at once: nobody waits for it, and whoever misses it polls.
func (db *DB) Announce(ctx context.Context) error {
	for {
		select {
		case <-db.grown:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(announceAfter):
			_ = db.q.LogNotify(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// announceAfter leaves the machine to the answers first, and gathers.
const announceAfter = 2 * time.Millisecond

// Watch wakes those who wait for the log or the rollups to move. A wake-up is
// never data: who is woken looks for itself.
type Watch struct {
	url string

	mu    sync.Mutex
	moved chan struct{} // closed and replaced at each wake-up; guarded by mu
}

// NewWatch makes a watch of the database of a URL; Run does the watching.
func NewWatch(url string) *Watch {
	return &Watch{url: url, moved: make(chan struct{})}
}

// Moved is closed when something may have moved after the call.
func (w *Watch) Moved() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.moved
}

func (w *Watch) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.moved)
	w.moved = make(chan struct{})
}

// Run listens until the context ends, and then returns nil. Without a database
// it polls on: it never fails.
func (w *Watch) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		w.listen(ctx)
		w.wake()
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
	return nil
}

// listen wakes at every notification, until its connection fails.
func (w *Watch) listen(ctx context.Context) {
	config, err := parseURL(w.url)
	if err != nil {
		return
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN rapport_log; LISTEN rapport_rollups"); err != nil {
		return
	}
	for ctx.Err() == nil {
		poll, cancel := context.WithTimeout(ctx, pollEvery)
		_, err := conn.WaitForNotification(poll)
		late := poll.Err() != nil
		cancel()
		if err != nil && !late {
			return
		}
		w.wake()
	}
}

// WaitForFollower waits until a follower has come to a position, or the context
// ends; it then returns the context's error.
func (db *DB) WaitForFollower(ctx context.Context, w *Watch, follower string, position int64) error {
	for {
		moved := w.Moved() // before the look, so that nothing is missed between
		at, err := db.FollowerPosition(ctx, follower)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if at >= position {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
