package archive

import (
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"rapport/store"
)

const (
	// sessionWriters is how many objects are under way at once.
	sessionWriters = 8

	// sessionBuffer is what a writer keeps of an object before it sends a part of it.
	sessionBuffer = 5 << 20

	// sessionsFor is for how long sessions are written before blocks come again.
	sessionsFor = 20 * time.Second
)

// sessions writes the sessions that have closed, or have changed since.
func (f *Follower) sessions(ctx context.Context) error {
	for began := time.Now(); time.Since(began) < sessionsFor; {
		more, err := f.archive.Look(ctx)
		if err != nil {
			return err
		}
		taken, err := f.archive.TakeSessions(ctx, nameOfSession)
		if err != nil {
			return err
		}
		if err := f.writeSessions(ctx, taken); err != nil {
			return err
		}
		if !more && len(taken) == 0 {
			return nil
		}
	}
	return nil
}

func (f *Follower) writeSessions(ctx context.Context, taken []store.ArchivedSession) error {
	if len(taken) == 0 {
		return nil
	}
	var mu sync.Mutex
	var stored, deleted []store.ArchivedSession // guarded by mu
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(sessionWriters)
	for _, s := range taken {
		group.Go(func() error {
			exists, err := f.writeSession(writing, s)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if exists {
				stored = append(stored, s)
			} else {
				deleted = append(deleted, s)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err // those that are there are written again: the same bytes
	}
	return f.archive.StoredSessions(ctx, stored, deleted)
}

// writeSession writes the object of a session, or deletes that of one that is no more.
func (f *Follower) writeSession(ctx context.Context, of store.ArchivedSession) (exists bool, err error) {
	session, closesAt, exists, err := f.archive.SessionToArchive(ctx, of)
	if err != nil {
		return false, err
	}
	if !exists {
		return false, f.Bucket.remove(ctx, of.Object)
	}
	return true, f.Bucket.write(ctx, of.Object, "application/json", sessionBuffer, func(w io.Writer) error {
		return writeSession(ctx, w, f.DB, &session, closesAt)
	})
}
