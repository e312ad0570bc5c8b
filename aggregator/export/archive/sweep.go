package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"
)

// sweep deletes now and then what no manifest names, and what a killed process has left
// behind.
func (f *Follower) sweep(ctx context.Context) error {
	if time.Since(f.swept) < sweepEvery {
		return nil
	}
	newest, err := f.check(ctx) // somebody may have restored it elsewhere, and go on in it
	if err != nil {
		return err
	}
	if !f.isLast(newest) {
		f.changed = true // what that one names stays until ours is there
		return nil
	}
	found, err := f.take(ctx)
	if err != nil {
		return err
	}
	if err := f.Bucket.remove(ctx, found.leftovers...); err != nil {
		return err
	}
	for some := range slices.Chunk(found.blocks, garbageObjects) {
		known, err := f.archive.Known(ctx, some)
		if err != nil {
			return err
		}
		unknown := slices.DeleteFunc(some, func(object string) bool { return known[object] })
		if err := f.Bucket.remove(ctx, unknown...); err != nil {
			return err
		}
	}
	f.swept = time.Now()
	return nil
}

// inventory is what lies in the bucket, but for the sessions.
type inventory struct{ blocks, tables, leftovers []string }

// take takes the inventory, and has written again what is gone.
func (f *Follower) take(ctx context.Context) (found inventory, err error) {
	for _, folder := range []string{eventsFolder, stateFolder} {
		if err := f.Bucket.list(ctx, folder, func(object string) error {
			switch {
			case blockName.MatchString(object):
				found.blocks = append(found.blocks, object)
			case tableName.MatchString(object):
				found.tables = append(found.tables, object)
			case leftover.MatchString(object):
				found.leftovers = append(found.leftovers, object)
			}
			return nil
		}); err != nil {
			return found, err
		}
	}
	lost, err := f.archive.Lost(ctx, found.blocks)
	if err != nil {
		return found, err
	}
	tables, err := f.lostTables(found.tables)
	if lost+tables > 0 {
		f.Logger.Warn("objects of the archive are gone, and are written again", "count", lost+tables)
	}
	if tables > 0 {
		f.changed, f.recopy = true, true
	}
	return found, err
}

// lostTables counts the copies of tables that the last manifest names and that are gone.
func (f *Follower) lostTables(found []string) (lost int64, err error) {
	var named []Table
	if err := json.Unmarshal(f.status.Tables, &named); err != nil {
		return 0, fmt.Errorf("reading which tables were copied: %w", err)
	}
	for _, table := range named {
		if table.Object != "" && !slices.Contains(found, table.Object) {
			lost++
		}
	}
	return lost, nil
}

// tidy deletes what a killed process has left of the sessions that it was writing.
func (f *Follower) tidy(ctx context.Context) error {
	if f.tidied {
		return nil
	}
	objects, err := f.archive.InterruptedSessions(ctx)
	if err != nil {
		return err
	}
	folders := make(map[string]bool)
	for _, object := range objects {
		folders[path.Dir(object)+"/"] = true
	}
	for folder := range folders {
		if err := f.removeFrom(ctx, folder, leftover.MatchString); err != nil {
			return err
		}
	}
	f.tidied = true
	return nil
}

// removeFrom deletes what is to be deleted of a folder.
func (f *Follower) removeFrom(ctx context.Context, folder string, is func(object string) bool) error {
	var found []string
	err := f.Bucket.list(ctx, folder, func(object string) error {
		if is(object) {
			found = append(found, object)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.Bucket.remove(ctx, found...)
}

// orphans deletes, once after a restore, the objects of sessions that the log knows
// nothing of: of what came in the last minutes before the disaster.
func (f *Follower) orphans(ctx context.Context) error {
	if !f.status.Orphans {
		return nil
	}
	err := f.Bucket.folders(ctx, sessionsFolder, func(day string) error {
		return f.Bucket.folders(ctx, day, func(folder string) error {
			hour, err := time.Parse(sessionsFolder+"2006-01-02/15/", folder)
			if err != nil {
				return nil // no folder of ours
			}
			known, err := f.archive.KnownSessions(ctx, hour)
			if err != nil {
				return err
			}
			return f.removeFrom(ctx, folder, func(object string) bool {
				return sessionName.MatchString(object) && !known[object] || leftover.MatchString(object)
			})
		})
	})
	if err != nil {
		return err
	}
	f.status.Orphans = false
	return f.archive.NoOrphans(ctx)
}
