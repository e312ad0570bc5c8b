package ingest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"rapport"
	"rapport/store"
	"rapport/store/ingest/spool"
)

// fakeLog is a log in memory that can be told to fail.
type fakeLog struct {
	mu          sync.Mutex
	positions   map[rapport.Fingerprint]int64
	order       []string // texts of the events, as they were kept
	batches     []int    // sizes of those that were tried
	quarantined []string
	pruned      int
	drained     map[string]uint64
	refusals    int // how often the quarantine fails at first

	hang    chan struct{}                    // an Append waits for it, or for its context; may be nil
	prepare func(event *rapport.Event) error // may be nil
	ping    func() error                     // may be nil
	before  func(batch int) error            // an error here keeps nothing; may be nil
	after   func(batch int) error            // an error here comes although all was kept; may be nil
	bad     func(event *rapport.Event) bool  // rows that the database refuses; may be nil
}

func (l *fakeLog) Ping(context.Context) error {
	if l.ping == nil {
		return nil
	}
	return l.ping()
}

func (l *fakeLog) SpoolDrained(_ context.Context, to store.SpoolRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drained == nil {
		l.drained = make(map[string]uint64)
	}
	l.drained[to.Spool] = max(l.drained[to.Spool], to.Sequence)
	return nil
}

func (l *fakeLog) QuarantineDrained(ctx context.Context, from store.SpoolRecord, body []byte, reason string, headers map[string]string, at time.Time) error {
	l.mu.Lock()
	known := l.drained[from.Spool] >= from.Sequence
	l.mu.Unlock()
	if known {
		return nil
	}
	if _, err := l.Quarantine(ctx, body, reason, headers, at); err != nil {
		return err
	}
	return l.SpoolDrained(ctx, from)
}

func (l *fakeLog) Prepared(*rapport.Event) bool { return l.prepare == nil }

func (l *fakeLog) Prepare(_ context.Context, event *rapport.Event) error {
	if l.prepare == nil {
		return nil
	}
	return l.prepare(event)
}

func (l *fakeLog) Append(ctx context.Context, events []*rapport.Event) ([]store.Appended, error) {
	l.mu.Lock()
	l.batches = append(l.batches, len(events))
	batch := len(l.batches)
	l.mu.Unlock()
	if l.before != nil {
		if err := l.before(batch); err != nil {
			return nil, err
		}
	}
	if l.hang != nil {
		select {
		case <-l.hang:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		if l.bad != nil && l.bad(e) {
			return nil, &pgconn.PgError{Code: "22P02", Message: "invalid input"}
		}
	}
	if l.positions == nil {
		l.positions = make(map[rapport.Fingerprint]int64)
	}
	appended := make([]store.Appended, len(events))
	for i, e := range events {
		position, known := l.positions[e.Fingerprint]
		if !known {
			position = int64(len(l.positions) + 1)
			l.positions[e.Fingerprint] = position
			l.order = append(l.order, e.Text)
		}
		appended[i] = store.Appended{Position: position, Duplicate: known}
	}
	if l.after != nil {
		if err := l.after(batch); err != nil {
			return nil, err
		}
	}
	return appended, nil
}

func (l *fakeLog) Quarantine(_ context.Context, body []byte, _ string, _ map[string]string, _ time.Time) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refusals > 0 {
		l.refusals--
		return 0, errGone
	}
	l.quarantined = append(l.quarantined, string(body))
	return int64(len(l.quarantined)), nil
}

func (l *fakeLog) QuarantinePrune(context.Context, store.QuarantineBounds, time.Time) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pruned++
	return 0, nil
}

// fakeSpool is a spool in memory that can be told to fail.
type fakeSpool struct {
	mu      sync.Mutex
	records [][]byte
	at      []time.Time
	next    int   // index of the first that was not drained
	full    error // of Room, and of Append

	before func() error // of an Append, an error here keeps nothing; may be nil
	after  func() error // an error here comes although all was kept; may be nil
}

func (s *fakeSpool) ID() string { return "fake" }

func (s *fakeSpool) Append(records [][]byte, at time.Time) (uint64, error) {
	if s.before != nil {
		if err := s.before(); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full != nil {
		return 0, s.full
	}
	for _, r := range records {
		s.records, s.at = append(s.records, slices.Clone(r)), append(s.at, at)
	}
	if s.after != nil {
		if err := s.after(); err != nil {
			return 0, err
		}
	}
	return uint64(len(s.records)), nil
}

func (s *fakeSpool) Next(maxRecords int, _ int64) (spool.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := min(s.next+maxRecords, len(s.records))
	return spool.Batch{First: uint64(s.next + 1), Last: uint64(end), Records: s.records[s.next:end]}, nil
}

func (s *fakeSpool) Drained(to uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = max(s.next, int(to))
	return nil
}

func (s *fakeSpool) Room() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

func (s *fakeSpool) Stats() spool.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := spool.Stats{Records: int64(len(s.records) - s.next)}
	if stats.Records > 0 {
		stats.OldestAt = s.at[s.next]
	}
	return stats
}

// texts are those of the events of the log, in its order.
func (l *fakeLog) texts() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.order)
}

var errNoSpace = errors.New("no space left on device")
