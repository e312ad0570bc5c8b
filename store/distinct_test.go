package store

import (
	"crypto/sha256"
	"testing"
	"time"

	"rapport"
)

func TestTwinsInOneBatch(t *testing.T) {
	t.Parallel()
	event := func(text string) *rapport.Event {
		return &rapport.Event{Fingerprint: sha256.Sum256([]byte(text)), OccurredAt: time.UnixMicro(1e15)}
	}
	at := func(e *rapport.Event, undated bool, after time.Duration) *rapport.Event {
		e.Undated, e.OccurredAt = undated, e.OccurredAt.Add(after)
		return e
	}
	for name, c := range map[string]struct {
		events []*rapport.Event
		want   int
	}{
		"equal events are one":                     {[]*rapport.Event{event("a"), event("a"), event("b"), event("a")}, 2},
		"equal content at another time is two":     {[]*rapport.Event{event("a"), at(event("a"), false, time.Second)}, 2},
		"undated ones within 10 minutes are one":   {[]*rapport.Event{at(event("a"), true, 0), at(event("a"), true, 10*time.Minute)}, 1},
		"undated ones later than that are two":     {[]*rapport.Event{at(event("a"), true, 0), at(event("a"), true, 10*time.Minute+1000)}, 2},
		"undated ones may come in the wrong order": {[]*rapport.Event{at(event("a"), true, 9*time.Minute), at(event("a"), true, 0)}, 1},
		"a dated one is no twin of an undated one": {[]*rapport.Event{at(event("a"), true, 0), event("a")}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			distinct, places := distinctEvents(c.events)
			if len(distinct) != c.want {
				t.Errorf("got %d distinct events, want %d", len(distinct), c.want)
			}
			for i, p := range places {
				if distinct[p.index].Fingerprint != c.events[i].Fingerprint {
					t.Errorf("event %d has the place of another", i)
				}
			}
		})
	}
}
