package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// The index of the words, which is faster made when all of them are there.
const searchIndex = "message_search_words_idx"

// searchStep is how many events of the log are made searchable in one statement.
const searchStep = 20_000

// makeSearchable fills the search as its follower does (see SearchFill among the
// queries), but for the order of it.
func (d *database) makeSearchable(ctx context.Context) error {
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := d.dropSearchIndex(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "TRUNCATE message_search"); err != nil {
		return err
	}
	if err := d.fillSearch(ctx); err != nil {
		return err
	}
	p := newProgress(d.name + ": indexing the words")
	for _, statement := range []string{
		"SET maintenance_work_mem = '1GB'", d.made.SearchIndex,
		"UPDATE followers SET position = (SELECT position FROM log_head), updated_at = now() WHERE name = 'search'",
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	p.end(d.made.Events, " events")
	return nil
}

// connect connects as the owner, for statements that take long and are made again if
// they are lost.
func (d *database) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, d.url("rapport_owner"))
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "SET synchronous_commit = off"); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// dropSearchIndex notes what it drops, for a run that is interrupted before it is made
// again.
func (d *database) dropSearchIndex(ctx context.Context, conn *pgx.Conn) error {
	err := conn.QueryRow(ctx, "SELECT indexdef FROM pg_indexes WHERE indexname = $1", searchIndex).Scan(&d.made.SearchIndex)
	if errors.Is(err, pgx.ErrNoRows) && d.made.SearchIndex != "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for the index %s: %w", searchIndex, err)
	}
	if err := d.logs.writeManifest(); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "DROP INDEX "+searchIndex)
	return err
}

// fillSearch takes stretches of the log, on all processors.
func (d *database) fillSearch(ctx context.Context) error {
	p := newProgress(d.name + ": making searchable")
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for worker := range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			conn, err := d.connect(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			for {
				after := next.Add(searchStep) - searchStep
				if after >= d.made.Events {
					return nil
				}
				_, err := conn.Exec(ctx, `INSERT INTO message_search (position, occurred_at, words)
					SELECT position, occurred_at, search_vector(position, occurred_at, agent_id, role, message) FROM events
					WHERE position > $1 AND position <= $2 AND event_type = 'chat.push' AND erasure IS NULL`, after, after+searchStep)
				if err != nil {
					return err
				}
				if worker == 0 {
					p.show(after, " events")
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	p.end(d.made.Events, " events")
	return nil
}
