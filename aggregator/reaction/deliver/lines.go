package deliver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"rapport/store"
)

// lines are those to all destinations, by River's queues. They are replaced as a whole.
type lines struct {
	byQueue atomic.Pointer[map[string]*line]
}

// ofQueue is the line of a queue, nil if there is none.
func (l *lines) ofQueue(queue string) *line { return l.now()[queue] }

// all are all there are, so far.
func (l *lines) all() []*line { return slices.Collect(maps.Values(l.now())) }

// workers are how many each queue has.
func (l *lines) workers() map[string]int {
	workers := make(map[string]int)
	for queue, line := range l.now() {
		workers[queue] = line.destination.Concurrency
	}
	return workers
}

// newLines makes the lines of settings, with the ways of the old ones (nil: none) where
// these have not changed. All that is wrong with them is told at once.
func newLines(settings Settings, t tempo, old map[string]*line) (map[string]*line, error) {
	byQueue := make(map[string]*line, len(settings.Destinations))
	var wrong []error
	for _, d := range settings.Destinations {
		d, err := d.complete()
		queue := store.DeliveryQueue(d.Name)
		switch {
		case err != nil:
			wrong = append(wrong, err)
		case byQueue[queue] != nil:
			wrong = append(wrong, fmt.Errorf("destination %s: there are two of this name", d.Name))
		default:
			byQueue[queue] = newLine(d, settings.Allow, t, old[queue])
		}
	}
	return byQueue, errors.Join(wrong...)
}

// now are the lines by queue, nil if there are none yet.
func (l *lines) now() map[string]*line {
	if byQueue := l.byQueue.Load(); byQueue != nil {
		return *byQueue
	}
	return nil
}

// replace takes new lines, and closes the connections of the ways that are no more.
func (l *lines) replace(byQueue map[string]*line) {
	old := l.now()
	l.byQueue.Store(&byQueue)
	for queue, line := range old {
		if new := byQueue[queue]; new == nil || new.way != line.way {
			line.client.CloseIdleConnections()
		}
	}
}
