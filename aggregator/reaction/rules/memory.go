package rules

import (
	"context"
	"slices"
	"time"
)

// Memory is what rules remember from one occasion to the next. Whoever keeps it writes
// it down together with what has fired, or neither. Its errors end a Match.
type Memory interface {
	// Count notes an entry, and tells how many entries of its Rule and Key, itself
	// included, lie in the window (e.At − over, e.At]; at most MaxCount. Entries that lie
	// over + Late or more before the newest one of their Rule and Key do not count any
	// more, and may be forgotten.
	Count(ctx context.Context, e Entry, over time.Duration) (int64, error)

	// Throttle reports whether a rule may fire for a key: if it has not been let so
	// before, or e.At lies per or more behind the newest time that it was let at, or as
	// much before it. If so, e.At is remembered, where it is the newest.
	Throttle(ctx context.Context, e Entry, per time.Duration) (bool, error)

	// Alert is the state of a rule's alert; the zero state if nothing is known of it.
	Alert(ctx context.Context, rule string) (AlertState, error)

	// SetAlert remembers it: after each look, changed or not.
	SetAlert(ctx context.Context, rule string, state AlertState) error
}

// MaxCount is as far as entries are counted.
const MaxCount = 10_000

// Late is how much later than others an entry may be noted, and still count: what a
// spool has kept comes late.
const Late = time.Hour

// Entry is an occasion as it is counted.
type Entry struct {
	Rule string
	Key  string // stands for the values that it is counted by, and for their names: 32 hexadecimal digits
	At   time.Time

	// Of what it is: whoever erases these erases the entry.
	Position           int64
	AgentID, SessionID string
}

// InMemory is a Memory that is gone with the process. It is not for several goroutines
// at once.
type InMemory struct {
	times    map[ruleKey][]time.Time // in order
	released map[ruleKey]time.Time
	alerts   map[string]AlertState
}

type ruleKey struct{ rule, key string }

// NewInMemory makes an empty one.
func NewInMemory() *InMemory {
	return &InMemory{times: make(map[ruleKey][]time.Time), released: make(map[ruleKey]time.Time), alerts: make(map[string]AlertState)}
}

// Count counts: see Memory.
func (m *InMemory) Count(_ context.Context, e Entry, over time.Duration) (int64, error) {
	key := ruleKey{e.Rule, e.Key}
	times := m.times[key]
	after := func(at, t time.Time) int { // the first that is after t
		if at.After(t) {
			return 1
		}
		return -1
	}
	at, _ := slices.BinarySearchFunc(times, e.At, after)
	times = slices.Insert(times, at, e.At)
	gone, _ := slices.BinarySearchFunc(times, times[len(times)-1].Add(-over-Late), after)
	times = slices.Delete(times, 0, gone)
	m.times[key] = times
	from, _ := slices.BinarySearchFunc(times, e.At.Add(-over), after)
	to, _ := slices.BinarySearchFunc(times, e.At, after)
	return min(int64(to-from), MaxCount), nil
}

// Throttle lets or does not: see Memory.
func (m *InMemory) Throttle(_ context.Context, e Entry, per time.Duration) (bool, error) {
	key := ruleKey{e.Rule, e.Key}
	last, known := m.released[key]
	if known && e.At.Sub(last).Abs() < per {
		return false, nil
	}
	if !known || e.At.After(last) {
		m.released[key] = e.At
	}
	return true, nil
}

// Alert tells the state of an alert.
func (m *InMemory) Alert(_ context.Context, rule string) (AlertState, error) {
	return m.alerts[rule], nil
}

// SetAlert remembers it.
func (m *InMemory) SetAlert(_ context.Context, rule string, state AlertState) error {
	m.alerts[rule] = state
	return nil
}
