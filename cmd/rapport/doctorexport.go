package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"rapport/store"
)

// From which lag on what leaves the log is worth a word.
const (
	streamAlarm  = 5 * time.Minute
	archiveAlarm = 15 * time.Minute
)

func examineDeliveries(ctx context.Context, db *store.DB, f *findings) {
	tally, err := db.DeliveryTally(ctx)
	if err != nil {
		f.problem("deliveries", "", "%v", oneLine(err))
		return
	}
	var dead []string
	var waiting int64
	for destination, n := range tally {
		waiting += n.Waiting
		if n.Dead > 0 {
			dead = append(dead, fmt.Sprintf("%d to %s", n.Dead, destination))
		}
	}
	if slices.Sort(dead); len(dead) > 0 {
		f.warn("deliveries", "rapport dead-letters list, and after a fix rapport dead-letters retry --all",
			"some were given up: %s", strings.Join(dead, ", "))
		return
	}
	f.ok("deliveries", "none was given up, %d wait", waiting)
}

func examineStreams(ctx context.Context, db *store.DB, f *findings) {
	streams, err := db.Streams(ctx, time.Now())
	held, err2 := db.StreamsHeld(ctx)
	if err := cmp.Or(err, err2); err != nil {
		f.problem("streams", "", "%v", oneLine(err))
		return
	}
	for _, s := range streams {
		lag := fmt.Sprintf("%d events behind the log, for %v", s.Head-s.Position, s.Age.Round(time.Second))
		switch {
		case !held[s.Name]:
			f.warn("streams", "run rapport serve with its --stream, or rapport stream remove "+s.Name, "nobody sends %s, which is %s", s.Name, lag)
		case s.Age >= streamAlarm:
			f.warn("streams", "see the server's log for what its destination answers", "%s is %s", s.Name, lag)
		default:
			f.ok("streams", "%s is %s", s.Name, lag)
		}
	}
}

func examineArchive(ctx context.Context, db *store.DB, f *findings) {
	if err := db.CheckRestored(ctx); err != nil {
		f.problem("archive", "no server starts before that is done", "%v", oneLine(err))
		return
	}
	lag, isUsed, err := db.ArchiveLag(ctx, time.Now())
	switch {
	case err != nil:
		f.problem("archive", "", "%v", oneLine(err))
	case isUsed && lag.Age >= archiveAlarm:
		f.problem("archive", "see the log of the server with --archive for what its bucket answers",
			"what came in the last %v, %d events, could not be restored from it", lag.Age.Round(time.Second), lag.Events)
	case isUsed:
		f.ok("archive", "it is %d events behind the log", lag.Events)
	}
}
