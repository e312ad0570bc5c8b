package browser

import (
	"fmt"
	"net/http"
	"time"
)

// Timing is how soon a page was there, since the reader asked for it.
type Timing struct {
	Server      time.Duration // the server's answer began so long after it was asked
	Painted     time.Duration // something was to be seen
	Interactive time.Duration // all was there and the page did nothing else: it could be used
}

// timing tells milliseconds. The last of what kept the page busy for 50 ms or more ends
// before it can be used.
const timing = `new Promise((resolve) => {
	let busy = 0;
	new PerformanceObserver((list) => list.getEntries().forEach((task) => { busy = Math.max(busy, task.startTime + task.duration); }))
		.observe({type: "longtask", buffered: true});
	setTimeout(() => {
		const [page] = performance.getEntriesByType("navigation");
		const [painted] = performance.getEntriesByName("first-contentful-paint");
		resolve([page.responseStart - page.requestStart, painted ? painted.startTime : 0, Math.max(page.domContentLoadedEventEnd, busy), page.responseStatus]);
	}, 500);
})`

// Timing measures the page that was opened last. It is an error if that was refused.
func (t *Tab) Timing() (Timing, error) {
	told, err := Value[[4]float64](t, timing)
	if err != nil {
		return Timing{}, err
	}
	if told[3] != http.StatusOK {
		said, _ := Value[string](t, "document.querySelector('main')?.innerText ?? ''") // the status says enough
		return Timing{}, fmt.Errorf("it was answered %v: %s", told[3], said)
	}
	of := func(ms float64) time.Duration {
		return time.Duration(ms * float64(time.Millisecond)).Round(time.Millisecond / 10)
	}
	return Timing{of(told[0]), of(told[1]), of(told[2])}, nil
}
