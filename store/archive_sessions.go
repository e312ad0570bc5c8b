package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// How much one transaction takes.
const (
	lookEvents    = 10_000
	dueRows       = 500
	takenSessions = 200
)

// ArchivedSession is a session that has an object of its own in the bucket, or is to
// have one.
type ArchivedSession struct {
	Conversation
	StartedAt time.Time
	Object    string
}

// Look notes which sessions are to be archived, since they have closed, or have changed
// since they were. It reports whether there may be more.
func (a *Archive) Look(ctx context.Context) (more bool, err error) {
	if err := a.lookAtSettings(ctx); err != nil {
		return false, fmt.Errorf("looking for sessions to archive: %w", err)
	}
	_, err = a.db.q.ArchiveLook(ctx, dbsqlc.ArchiveLookParams{Owner: a.owner, MaxEvents: lookEvents})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, fmt.Errorf("looking for conversations to archive: %w", err)
	}
	more = err == nil
	due := 0
	err = a.owned(ctx, func(q *dbsqlc.Queries) (err error) {
		due, err = noteDue(ctx, q)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("looking for sessions to archive: %w", err)
	}
	return more || due == dueRows, nil
}

// lookAtSettings has every session written again whose numbers may be others, and looks
// for those that went for their age.
func (a *Archive) lookAtSettings(ctx context.Context) error {
	return a.owned(ctx, func(q *dbsqlc.Queries) error {
		if err := q.LongStatements(ctx); err != nil {
			return err
		}
		_, err := q.ArchiveMadeWith(ctx, a.owner)
		if err == nil {
			err = errors.Join(q.ArchiveDueAll(ctx), q.ArchiveSessionsOutdate(ctx))
		}
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		_, err = q.ArchiveSessionsDroppedSeen(ctx, a.owner)
		if err == nil {
			_, err = q.ArchiveSessionsDropped(ctx)
		}
		if errors.Is(err, pgx.ErrNoRows) {
			err = nil
		}
		return err
	})
}

func noteDue(ctx context.Context, q *dbsqlc.Queries) (int, error) {
	rows, err := q.ArchiveDueTake(ctx, dueRows)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	var sessions, agents []string
	for _, row := range rows {
		sessions, agents = append(sessions, row.SessionID), append(agents, row.AgentID)
	}
	if err := q.ArchiveSessionsNote(ctx, dbsqlc.ArchiveSessionsNoteParams{SessionIds: sessions, AgentIds: agents}); err != nil {
		return 0, err
	}
	if err := q.ArchiveSessionsGone(ctx, dbsqlc.ArchiveSessionsGoneParams{SessionIds: sessions, AgentIds: agents}); err != nil {
		return 0, err
	}
	return len(rows), q.ArchiveDuePostpone(ctx, dbsqlc.ArchiveDuePostponeParams{SessionIds: sessions, AgentIds: agents})
}

// TakeSessions are the next sessions that are to be written, each with its name in the
// bucket: that of its identity, unless a session of another agent has it already. Call
// StoredSessions afterwards.
func (a *Archive) TakeSessions(ctx context.Context, name func(s ArchivedSession, isNamesake bool) string) ([]ArchivedSession, error) {
	var taken []ArchivedSession
	err := a.held(ctx, func(q *dbsqlc.Queries) error {
		rows, err := q.ArchiveSessionsTake(ctx, takenSessions)
		if err != nil {
			return err
		}
		for _, row := range rows {
			s := ArchivedSession{Conversation{row.AgentID, row.SessionID}, row.StartedAt, row.Object}
			if s.Object == "" {
				if err := giveName(ctx, q, &s, name); err != nil {
					return err
				}
			}
			taken = append(taken, s)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("taking sessions to archive: %w", err)
	}
	return taken, nil
}

func giveName(ctx context.Context, q *dbsqlc.Queries, s *ArchivedSession, name func(ArchivedSession, bool) string) error {
	s.Object = name(*s, false)
	isNamesake, err := q.ArchiveSessionNamesake(ctx, dbsqlc.ArchiveSessionNamesakeParams{
		SessionID: s.SessionID, AgentID: s.AgentID, StartedAt: s.StartedAt, Object: s.Object,
	})
	if err != nil {
		return err
	}
	if isNamesake {
		s.Object = name(*s, true)
	}
	return q.ArchiveSessionName(ctx, dbsqlc.ArchiveSessionNameParams{
		SessionID: s.SessionID, AgentID: s.AgentID, StartedAt: s.StartedAt, Object: s.Object,
	})
}

// StoredSessions notes which sessions lie in the bucket, and which do not any more.
func (a *Archive) StoredSessions(ctx context.Context, stored, deleted []ArchivedSession) error {
	err := a.owned(ctx, func(q *dbsqlc.Queries) error {
		if err := q.ArchiveSessionsStored(ctx, keysOfSessions(stored)); err != nil {
			return err
		}
		return q.ArchiveSessionsDelete(ctx, dbsqlc.ArchiveSessionsDeleteParams(keysOfSessions(deleted)))
	})
	if err != nil {
		return fmt.Errorf("noting the sessions that are archived: %w", err)
	}
	return nil
}

func keysOfSessions(sessions []ArchivedSession) (keys dbsqlc.ArchiveSessionsStoredParams) {
	for _, s := range sessions {
		keys.SessionIds, keys.AgentIds = append(keys.SessionIds, s.SessionID), append(keys.AgentIds, s.AgentID)
		keys.StartedAts = append(keys.StartedAts, s.StartedAt)
	}
	return keys
}

// InterruptedSessions are the objects that somebody was writing.
func (a *Archive) InterruptedSessions(ctx context.Context) ([]string, error) {
	return a.db.q.ArchiveSessionsInterrupted(ctx)
}

// KnownSessions are the objects of the sessions that began in an hour.
func (a *Archive) KnownSessions(ctx context.Context, hour time.Time) (map[string]bool, error) {
	objects, err := a.db.q.ArchiveSessionsKnown(ctx, dbsqlc.ArchiveSessionsKnownParams{Since: hour, Until: hour.Add(time.Hour)})
	if err != nil {
		return nil, fmt.Errorf("reading which sessions are archived: %w", err)
	}
	known := make(map[string]bool, len(objects))
	for _, object := range objects {
		known[object] = true
	}
	return known, nil
}

// NoOrphans notes that the bucket has no object of a session that the log knows nothing of.
func (a *Archive) NoOrphans(ctx context.Context) error {
	return a.db.q.ArchiveOrphansGone(ctx, a.owner)
}

// SessionToArchive is a session as it is now, with the idle timeout that its closes_at
// is made with; ok is false if there is none that began then.
func (a *Archive) SessionToArchive(ctx context.Context, of ArchivedSession) (s rapport.Session, closesAt time.Time, ok bool, err error) {
	row, err := a.db.q.ArchiveSessionGet(ctx, dbsqlc.ArchiveSessionGetParams{
		SessionID: of.SessionID, AgentID: of.AgentID, StartedAt: of.StartedAt,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return rapport.Session{}, time.Time{}, false, nil
	}
	if err != nil {
		return rapport.Session{}, time.Time{}, false, fmt.Errorf("reading a session: %w", err)
	}
	return sessionOf(row), row.ClosesAt, true, nil
}
