package api

import (
	"sync"
	"time"
)

// maxCounted bounds how many clients a counter knows in a window: some megabytes.
// Of more it counts none, for to refuse them all would be to refuse those who ask
// properly, too.
const maxCounted = 50_000

// counter counts requests by client, in the current window and the one before it.
// It is httprate's LimitCounter, of bounded memory.
type counter struct {
	mu            sync.Mutex
	window        time.Duration
	start         time.Time // of the current window
	count, before map[string]int
}

// Config is called once, at the beginning.
func (c *counter) Config(_ int, window time.Duration) {
	c.window = window
	c.count, c.before = make(map[string]int), make(map[string]int)
}

// Increment counts one request.
func (c *counter) Increment(key string, window time.Time) error { return c.IncrementBy(key, window, 1) }

// IncrementBy counts some requests. The error is nil.
func (c *counter) IncrementBy(key string, window time.Time, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.move(window)
	if _, isKnown := c.count[key]; isKnown || len(c.count) < maxCounted {
		c.count[key] += n
	}
	return nil
}

// Get is what was counted in the current window, and in the one before it.
func (c *counter) Get(key string, window, _ time.Time) (current, before int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.move(window)
	return c.count[key], c.before[key], nil
}

// move makes a window the current one.
func (c *counter) move(window time.Time) {
	switch {
	case window.Equal(c.start):
		return
	case window.Equal(c.start.Add(c.window)):
		c.count, c.before = c.before, c.count
	default:
		clear(c.before)
	}
	clear(c.count)
	c.start = window
}
