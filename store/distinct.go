package store

import (
	"time"

	"rapport"
)

// undatedTwins is for how long equal deliveries without a time of their own are
// one event: a visitor may say "yes" again.
const undatedTwins = 10 * time.Minute

// place is where an event of a batch is among the distinct ones.
type place struct {
	index    int
	repeated bool // an earlier event of the batch is the same
}

type twinKey struct {
	sessionID   string
	occurredAt  int64 // µs; 0 for undated events
	fingerprint rapport.Fingerprint
}

// distinctEvents drops the repetitions within a batch, by the rule that the log
// has for those between batches.
func distinctEvents(events []*rapport.Event) ([]*rapport.Event, []place) {
	distinct := make([]*rapport.Event, 0, len(events))
	places := make([]place, len(events))
	seen := make(map[twinKey][]int, len(events))
	for i, e := range events {
		key := keyOf(e)
		twin := findTwin(distinct, seen[key], e)
		if twin >= 0 {
			places[i] = place{index: twin, repeated: true}
			continue
		}
		places[i] = place{index: len(distinct)}
		seen[key] = append(seen[key], len(distinct))
		distinct = append(distinct, e)
	}
	return distinct, places
}

func keyOf(e *rapport.Event) twinKey {
	key := twinKey{sessionID: e.SessionID, fingerprint: e.Fingerprint}
	if !e.Undated {
		key.occurredAt = e.OccurredAt.UnixMicro()
	}
	return key
}

// findTwin is the index of the event's twin among the candidates, or -1.
func findTwin(distinct []*rapport.Event, candidates []int, e *rapport.Event) int {
	for _, c := range candidates {
		if !e.Undated || distinct[c].OccurredAt.Sub(e.OccurredAt).Abs() <= undatedTwins {
			return c
		}
	}
	return -1
}
