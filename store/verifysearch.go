package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// SearchRecord is what the database says of the search.
type SearchRecord struct {
	Follower *FollowerRecord // nil if its row is missing
	Rows     int64           // of message_search
}

func (s *Snapshot) recordedSearch(ctx context.Context, r *Recorded) error {
	followers, err := s.q.VerifyFollower(ctx, SearchFollower)
	if err != nil {
		return err
	}
	for _, row := range followers {
		r.Search.Follower = &FollowerRecord{Position: row.Position, MadeWith: row.MadeWith}
	}
	r.Search.Rows, err = s.q.VerifySearchRows(ctx)
	return err
}

// SearchRow is a message that must be searchable.
type SearchRow struct {
	Position int64
	Frozen   bool // it is below the horizon: what it is found by may have gone
	Has      bool // there is a row for it
	OtherDay bool // the row has another occurred_at
}

// SearchRows are all whole messages as far as the search has come, in order. Their words
// are not compared: that takes far longer than all the rest.
func (s *Snapshot) SearchRows(ctx context.Context) (*Stream[SearchRow], error) {
	return newStream(ctx, s, `SELECT e.position, e.occurred_at < (SELECT frozen_before FROM log_head), m.position IS NOT NULL,
			coalesce(m.occurred_at <> e.occurred_at, false)
		FROM events e LEFT JOIN message_search m ON m.position = e.position
		WHERE e.event_type = 'chat.push' AND e.erasure IS NULL
		  AND e.position <= (SELECT position FROM followers WHERE name = 'search')
		ORDER BY e.position`, scanSearchRow)
}

func scanSearchRow(rows pgx.Rows) (row SearchRow, err error) {
	if err = rows.Scan(&row.Position, &row.Frozen, &row.Has, &row.OtherDay); err != nil {
		err = fmt.Errorf("reading what can be found: %w", err)
	}
	return row, err
}
