package deliver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"rapport/internal/guard"
	"rapport/store"
)

// lines are those to all destinations, by River's queues. They are replaced as a whole.
type lines struct {
	byQueue atomic.Pointer[map[string]*line]
}

// ofQueue is the line of a queue, nil if there is none.
func (l *lines) ofQueue(queue string) *line { return (*l.byQueue.Load())[queue] }

// all are all there are, so far.
func (l *lines) all() []*line {
	byQueue := l.byQueue.Load()
	if byQueue == nil {
		return nil
	}
	return slices.Collect(maps.Values(*byQueue))
}

// workers are how many each queue has.
func (l *lines) workers() map[string]int {
	workers := make(map[string]int)
	for queue, line := range *l.byQueue.Load() {
		workers[queue] = line.destination.Concurrency
	}
	return workers
}

// newLines makes the lines of settings. All that is wrong with them is told at once.
func newLines(settings Settings, t tempo) (map[string]*line, error) {
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
			byQueue[queue] = newLine(d, guard.New(settings.Allow), t)
		}
	}
	return byQueue, errors.Join(wrong...)
}

// replace takes new lines, and closes the connections of the old ones.
func (l *lines) replace(byQueue map[string]*line) {
	if old := l.byQueue.Swap(&byQueue); old != nil {
		for _, line := range *old {
			line.client.CloseIdleConnections()
		}
	}
}
