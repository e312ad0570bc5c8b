package store

import (
	"fmt"
	"strings"
	"testing"

	"rapport"
)

func stretch(from, to int64) []*rapport.Event {
	var events []*rapport.Event
	for p := from; p <= to; p++ {
		events = append(events, &rapport.Event{Position: p})
	}
	return events
}

func positionsOf(events []*rapport.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprint(&b, e.Position, " ")
	}
	return b.String()
}

func TestTheTailIsTheEndOfTheLog(t *testing.T) {
	t.Parallel()
	const all = 100
	for name, c := range map[string]struct {
		added           [][]*rapport.Event
		position, head  int64
		limit           int
		want, wantAgain string
	}{
		"nothing was appended":                {nil, 0, 5, all, "", ""},
		"all of it":                           {[][]*rapport.Event{stretch(1, 3), stretch(4, 5)}, 0, 5, all, "1 2 3 4 5 ", "1 2 3 4 5 "},
		"what follows a position":             {[][]*rapport.Event{stretch(1, 5)}, 3, 5, all, "4 5 ", "4 5 "},
		"not beyond a head that is seen":      {[][]*rapport.Event{stretch(1, 5)}, 3, 4, all, "4 ", "4 "},
		"no more than asked for":              {[][]*rapport.Event{stretch(1, 5)}, 1, 5, 2, "2 3 ", "2 3 "},
		"nothing, if it does not reach back":  {[][]*rapport.Event{stretch(4, 5)}, 2, 5, all, "", ""},
		"nothing, if it is followed already":  {[][]*rapport.Event{stretch(1, 5)}, 5, 9, all, "", ""},
		"nothing, if it ends before":          {[][]*rapport.Event{stretch(1, 5)}, 7, 9, all, "", ""},
		"another process appended between":    {[][]*rapport.Event{stretch(1, 3), stretch(5, 6)}, 3, 6, all, "", ""},
		"after another process":               {[][]*rapport.Event{stretch(1, 3), stretch(5, 6)}, 4, 6, all, "5 6 ", "5 6 "},
		"an older batch that comes late":      {[][]*rapport.Event{stretch(5, 6), stretch(1, 4)}, 4, 6, all, "", ""},
		"a failover gave positions out again": {[][]*rapport.Event{stretch(1, 9), stretch(4, 5)}, 5, 9, all, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tail tail
			for _, events := range c.added {
				tail.add(events)
			}
			for _, want := range []string{c.want, c.wantAgain} { // a step that failed asks again
				if got := positionsOf(tail.after(c.position, c.head, c.limit)); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}

func TestTheTailIsBounded(t *testing.T) {
	t.Parallel()
	var tail tail
	text := strings.Repeat("a", 1<<20)
	for p := int64(1); p <= 20; p++ {
		tail.add([]*rapport.Event{{Position: p, Text: text}})
	}
	if tail.bytes > maxTailBytes || len(tail.events) != 7 || tail.events[0].Position != 14 {
		t.Errorf("%d events of %d bytes", len(tail.events), tail.bytes)
	}
	if got := positionsOf(tail.after(13, 20, 100)); got != "14 15 16 17 " {
		t.Errorf("a step has %q", got)
	}
}
