package archive

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"rapport/store"
)

// Options of a follower.
type Options struct {
	DB     *store.DB
	Watch  *store.Watch
	Bucket *Bucket
	Decode Decode
	Delay  time.Duration // after which also a block that may still grow is written; 2 minutes if zero
	Logger *slog.Logger
}

// Follower brings the log to a bucket. Any number of processes may run one; one at a
// time works.
type Follower struct {
	Options
	archive *store.Archive
	bounds  store.BlockBounds
	alarms  rate.Sometimes

	// Of Run alone.
	status    store.ArchiveStatus
	isKnown   bool      // the bucket was looked at since the lease was taken
	swept     time.Time // when it was looked last what lies there
	partial   time.Time // when a block that may still grow was written last
	committed time.Time // when a manifest was
	changed   bool      // there are blocks that it doesn't name
	recopy    bool      // copies of tables that it names are gone
	tidied    bool      // what a killed process left of the sessions is deleted
	flush     bool      // what is erased lies behind the blocks: these come to the log's head at once
}

// New makes a follower.
func New(o Options) *Follower {
	if o.Delay == 0 {
		o.Delay = 2 * time.Minute
	}
	o.Logger = o.Logger.With("archive", o.Bucket.Name)
	return &Follower{Options: o, archive: o.DB.NewArchive(rand.Text()), bounds: blockBounds, alarms: rate.Sometimes{First: 3, Interval: time.Minute}}
}

// The pace.
const (
	leaseFor    = 45 * time.Second // for which nobody else archives
	renewEvery  = 10 * time.Second
	idleRest    = time.Second
	othersRest  = 5 * time.Second // while another process archives
	failureRest = 5 * time.Second
	commitEvery = 30 * time.Second // while there is a lot to write
	sweepEvery  = time.Hour
)

// Run archives until the context ends, and then returns nil. What fails is logged, and
// tried again.
func (f *Follower) Run(ctx context.Context) error {
	defer f.Bucket.Close()
	for ctx.Err() == nil {
		rest := f.turn(ctx)
		f.wait(ctx, rest)
	}
	released, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = f.archive.Release(released) // else it ends by itself
	return nil
}

// turn does what there is to be done, and returns for how long to rest.
func (f *Follower) turn(ctx context.Context) time.Duration {
	isOurs, err := f.Step(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		f.isKnown = false
		f.alarms.Do(func() { f.Logger.Error("archiving failed, trying again", "error", err) })
		return failureRest
	case !isOurs:
		f.isKnown, f.tidied, f.swept = false, false, time.Time{}
		return othersRest
	}
	return idleRest
}

// wait rests, and then waits for the log to move: not for ever, for sessions close by
// themselves.
func (f *Follower) wait(ctx context.Context, rest time.Duration) {
	moved := f.Watch.Moved()
	pause(ctx, nil, rest)
	pause(ctx, moved, othersRest)
}

func pause(ctx context.Context, moved <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-moved:
	case <-ctx.Done():
	}
}

// Step archives what there is to be archived now. It reports false if another process
// does it.
func (f *Follower) Step(ctx context.Context) (isOurs bool, err error) {
	status, ok, err := f.archive.Lease(ctx, leaseFor)
	if err != nil || !ok {
		return false, err
	}
	f.status = status
	ctx, stop := f.keepLease(ctx)
	defer stop()
	if err := f.round(ctx); err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, store.ErrArchiveLost) {
			err = cause
		}
		return true, err
	}
	return true, nil
}

// keepLease renews the lease. The context that it returns ends before somebody else
// could have it.
func (f *Follower) keepLease(ctx context.Context) (leased context.Context, stop func()) {
	leased, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		until := time.Now().Add(leaseFor - renewEvery)
		for leased.Err() == nil {
			pause(leased, nil, renewEvery)
			limited, end := context.WithDeadline(leased, until)
			_, ok, err := f.archive.Lease(limited, leaseFor)
			end()
			switch {
			case err == nil && ok:
				until = time.Now().Add(leaseFor - renewEvery)
			case err == nil, time.Now().After(until):
				cancel(store.ErrArchiveLost)
			}
		}
	}()
	return leased, func() { cancel(nil); <-done }
}

// round writes blocks and a manifest, deletes what is not needed any more, and writes
// sessions: what is wrong with one of these keeps nobody from restoring.
func (f *Follower) round(ctx context.Context) error {
	for _, do := range []func(context.Context) error{f.look, f.blocks, f.manifest, f.clean, f.sessions} {
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ErrOtherLog says that the bucket has the archive of another log.
var ErrOtherLog = errors.New("it has the archive of another log, which must not be overwritten: restore that with `rapport restore`, or name another place")

// ErrLogBehind says that the archive has what the database does not have any more.
var ErrLogBehind = errors.New("it has more of this log than the database: that is older than its archive; restore it with `rapport restore` into an empty database, or name another place for this one")

// look makes sure, when a process begins to archive, that the bucket is ours; one
// without an archive becomes it.
func (f *Follower) look(ctx context.Context) error {
	if f.isKnown {
		return nil
	}
	newest, err := f.Bucket.newest(ctx)
	if err != nil {
		return err
	}
	if newest.number == 0 {
		err = f.begin(ctx)
	} else if err = f.compare(ctx, newest); err == nil {
		err = f.archive.SetPlace(ctx, f.Bucket.Place)
	}
	if err != nil {
		return err
	}
	if !f.isLast(newest) || time.Since(f.swept) >= sweepEvery {
		if _, err := f.take(ctx); err != nil {
			return err
		}
	}
	f.isKnown, f.changed = true, true
	f.status.WrittenAt = time.Time{} // the next manifest comes whether that one is there or not
	return nil
}

// errVanished says that the bucket is not what it was: it is looked at anew.
var errVanished = errors.New("the manifest that was written last is not there any more, as if a directory were not mounted")

// check looks whether the bucket is still ours, and which manifest counts.
func (f *Follower) check(ctx context.Context) (newest manifestName, err error) {
	newest, err = f.Bucket.newest(ctx)
	switch {
	case err != nil:
		return newest, err
	case !f.status.WrittenAt.IsZero() && newest.number < f.status.Manifest:
		return newest, fmt.Errorf("%s: %w", f.Bucket.Name, errVanished)
	case newest.number == 0:
		return newest, nil
	}
	return newest, f.compare(ctx, newest)
}

// isLast reports whether a manifest is the one that was written last.
func (f *Follower) isLast(m manifestName) bool {
	return m == manifestName{f.status.Manifest, f.status.LogID}
}

// compare compares the manifest that counts with what the database knows of it.
func (f *Follower) compare(ctx context.Context, newest manifestName) error {
	switch {
	case newest.String() == f.status.Continues: // we have written none since
		return nil
	case newest.log != f.status.LogID:
		return fmt.Errorf("%s: %w", f.Bucket.Name, ErrOtherLog)
	case newest.number > f.status.Manifest:
		return f.compareUnnoted(ctx, newest)
	}
	return nil
}

// compareUnnoted looks at a manifest that the database doesn't know: whoever wrote it may
// have been killed before that was noted. Then all of its blocks are known.
func (f *Follower) compareUnnoted(ctx context.Context, newest manifestName) error {
	behind := fmt.Errorf("%s: %w", f.Bucket.Name, ErrLogBehind)
	if newest.number > f.status.Numbered {
		return behind
	}
	m, err := ReadManifest(ctx, f.Bucket)
	if err != nil {
		return err
	}
	var objects []string
	for _, block := range m.Blocks {
		objects = append(objects, block.Object)
	}
	known, err := f.archive.Known(ctx, objects)
	if err != nil {
		return err
	}
	if len(known) < len(objects) {
		return behind
	}
	return nil
}

// begin begins an archive where none is.
func (f *Follower) begin(ctx context.Context) error {
	if f.status.Manifest > 0 {
		f.Logger.Warn("there is no archive of this log yet, or any more: all of it goes there")
	}
	if err := f.archive.Begin(ctx, f.Bucket.Place); err != nil {
		return err
	}
	status, ok, err := f.archive.Lease(ctx, leaseFor)
	if err == nil && !ok {
		err = store.ErrArchiveLost
	}
	f.status = status
	return err
}

// blocks writes what can be written of the log, and what has changed of it.
func (f *Follower) blocks(ctx context.Context) error {
	incomplete := f.flush || time.Since(f.partial) >= f.Delay
	for {
		made, complete, err := f.archive.Plan(ctx, f.bounds, incomplete)
		if err != nil {
			return err
		}
		if err := f.writeBlocks(ctx); err != nil {
			return err
		}
		if made && !complete {
			f.partial = time.Now()
		}
		if !made || !complete {
			break
		}
		if time.Since(f.committed) >= commitEvery {
			if err := f.manifest(ctx); err != nil {
				return err
			}
		}
	}
	if incomplete {
		f.flush = false
	}
	return nil
}

func (f *Follower) writeBlocks(ctx context.Context) error {
	for {
		block, ok, err := f.archive.TakeBlock(ctx)
		if err != nil || !ok {
			return err
		}
		content, err := encodeBlock(ctx, f.DB, f.Decode, &block)
		if err != nil {
			return err
		}
		if err := f.Bucket.put(ctx, block.Object, "application/vnd.apache.parquet", content); err != nil {
			return err
		}
		if _, err := f.archive.StoredBlock(ctx, block); err != nil {
			return err
		}
		f.changed = true
	}
}

// garbageObjects are deleted at a time.
const garbageObjects = 500

// clean deletes what the last manifest does not name any more, and now and then what a
// killed process has left behind.
func (f *Follower) clean(ctx context.Context) error {
	for {
		objects, err := f.archive.Garbage(ctx, garbageObjects)
		if err != nil {
			return err
		}
		if len(objects) == 0 {
			return f.sweep(ctx)
		}
		if err := f.Bucket.remove(ctx, objects...); err != nil {
			return err
		}
		if err := f.archive.Deleted(ctx, objects); err != nil {
			return err
		}
	}
}
