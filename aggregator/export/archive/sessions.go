package archive

import (
	"context"
	"errors"
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

	// bytesOfMessage is what a message has besides its text.
	bytesOfMessage = 500

	// sessionsFor is for how long sessions are written before blocks come again.
	sessionsFor = 20 * time.Second
)

// sessions writes the sessions that have closed, or have changed since.
func (f *Follower) sessions(ctx context.Context) error {
	if err := f.tidy(ctx); err != nil {
		return err
	}
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
			return f.orphans(ctx)
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
	var group errgroup.Group                    // what is wrong with one keeps no other one
	group.SetLimit(sessionWriters)
	for _, s := range taken {
		group.Go(func() error {
			exists, err := f.writeSession(ctx, s)
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
	err := group.Wait() // those that are not noted are written again: the same bytes
	if ctx.Err() != nil {
		return err
	}
	return errors.Join(err, f.archive.StoredSessions(ctx, stored, deleted))
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
	about := upload{
		object: of.Object, contentType: "application/json", buffer: sessionBuffer,
		bytes: 4*(session.UserCharCount+session.AgentCharCount) + bytesOfMessage*session.MessageCount,
	}
	return true, f.Bucket.write(ctx, about, func(w io.Writer) error {
		return writeSession(ctx, w, f.DB, &session, closesAt)
	})
}
