package reaction

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"rapport/aggregator/reaction/rules"
	"rapport/store"
)

// known is what this process knows of what the database has, from one of its steps to the
// next.
type known struct {
	steps      int64 // of the database, when it was true; 0 if nothing is known
	generation int64 // of the log then
	entries    int   // in counted
	counted    map[store.RuleKey][]time.Time
	let        map[store.RuleKey]time.Time // zero: never
	said       said
	open       openSessions
}

// maxKnownEntries and maxKnownKeys are how much of counts and throttles is kept in memory.
const (
	maxKnownEntries = 2_000_000
	maxKnownKeys    = 200_000
)

func newKnown() known {
	return known{counted: make(map[store.RuleKey][]time.Time), let: make(map[store.RuleKey]time.Time), said: newSaid()}
}

func (k *known) forget() { *k = newKnown() }

// begin forgets what may not be true any more.
func (k *known) begin(at *store.ReactionState) {
	if at.Generation != k.generation {
		rules.ForgetTexts()
	}
	if at.Steps != k.steps || at.Generation != k.generation || k.entries > maxKnownEntries || len(k.counted)+len(k.let) > maxKnownKeys {
		k.forget()
	}
	k.steps = 0 // until the step is committed
	k.said.begin()
}

// committed notes that all that was done since begin is in the database, if anything was.
func (k *known) committed(at *store.ReactionState, isIdle bool) {
	if k.steps, k.generation = at.Steps, at.Generation; !isIdle {
		k.steps++
	}
}

// Many entries of one key are more than anybody asks for: from maxEntries on, only the
// newest fewEntries are kept.
const (
	fewEntries = 2 * rules.MaxCount
	maxEntries = 2 * fewEntries
)

// scout is a memory that remembers nothing: it finds out which keys are asked for.
type scout struct {
	counts, releases map[store.RuleKey]bool
}

func newScout() *scout {
	return &scout{counts: make(map[store.RuleKey]bool), releases: make(map[store.RuleKey]bool)}
}

func keyOf(e rules.Entry) (key store.RuleKey, err error) {
	key.Rule = e.Rule
	if n, err := hex.Decode(key.Key[:], []byte(e.Key)); err != nil || n != len(key.Key) {
		return key, fmt.Errorf("the key %q is none", e.Key)
	}
	return key, nil
}

// Count finds the key, and lets the rule ask for its throttle.
func (s *scout) Count(_ context.Context, e rules.Entry, _ time.Duration) (int64, error) {
	key, err := keyOf(e)
	s.counts[key] = true
	return rules.MaxCount, err
}

// Throttle finds the key.
func (s *scout) Throttle(_ context.Context, e rules.Entry, _ time.Duration) (bool, error) {
	key, err := keyOf(e)
	s.releases[key] = true
	return false, err
}

// Alert is of the Memory.
func (s *scout) Alert(context.Context, string) (rules.AlertState, error) {
	return rules.AlertState{}, nil
}

// SetAlert is of the Memory.
func (s *scout) SetAlert(context.Context, string, rules.AlertState) error { return nil }

// memory is what rules remember, in the transaction of a step.
type memory struct {
	*known
	added    []store.RuleEntry
	released map[store.RuleKey]store.RuleEntry
	trimmed  map[store.RuleKey]time.Time
}

func newMemory(k *known) *memory {
	return &memory{known: k, released: make(map[store.RuleKey]store.RuleEntry), trimmed: make(map[store.RuleKey]time.Time)}
}

// load reads what a scout has found to be asked for, and is not known yet.
func (m *memory) load(ctx context.Context, tx *store.ReactionTx, found *scout) error {
	var counts, releases []store.RuleKey
	for key := range found.counts {
		if _, known := m.counted[key]; !known {
			counts = append(counts, key)
		}
	}
	for key := range found.releases {
		if _, known := m.let[key]; !known {
			releases = append(releases, key)
		}
	}
	counted, err := tx.Counted(ctx, counts, fewEntries)
	if err != nil {
		return err
	}
	for i, key := range counts {
		m.counted[key] = counted[i]
		m.entries += len(counted[i])
	}
	let, err := tx.Throttled(ctx, releases)
	for i, key := range releases {
		m.let[key] = let[i]
	}
	return err
}

// later is for slices.BinarySearchFunc: it finds the first time behind one.
func later(at, than time.Time) int {
	if at.After(than) {
		return 1
	}
	return -1
}

// Count counts: see rules.Memory.
func (m *memory) Count(_ context.Context, e rules.Entry, over time.Duration) (int64, error) {
	key, err := keyOf(e)
	if err != nil {
		return 0, err
	}
	times := m.counted[key]
	before := len(times)
	at, _ := slices.BinarySearchFunc(times, e.At, later)
	times = slices.Insert(times, at, e.At)
	newest := times[len(times)-1]
	gone, _ := slices.BinarySearchFunc(times, newest.Add(-over-rules.Late), later)
	if len(times)-gone > maxEntries {
		gone = len(times) - fewEntries
		m.trimmed[key] = times[gone]
	}
	times = slices.Delete(times, 0, gone)
	m.counted[key] = times
	m.entries += len(times) - before
	m.added = append(m.added, entryOf(key, e, over))
	from, _ := slices.BinarySearchFunc(times, e.At.Add(-over), later)
	to, _ := slices.BinarySearchFunc(times, e.At, later)
	return min(int64(to-from), rules.MaxCount), nil
}

// entryOf is an entry as it is written. It is of use for a while after its window: see
// rules.Late.
func entryOf(key store.RuleKey, e rules.Entry, window time.Duration) store.RuleEntry {
	return store.RuleEntry{
		RuleKey: key, At: e.At, Position: e.Position, ExpiresAt: e.At.Add(window + rules.Late),
		Conversation: store.Conversation{AgentID: e.AgentID, SessionID: e.SessionID},
	}
}

// Throttle lets or does not: see rules.Memory.
func (m *memory) Throttle(_ context.Context, e rules.Entry, per time.Duration) (bool, error) {
	key, err := keyOf(e)
	if err != nil {
		return false, err
	}
	last := m.let[key]
	if !last.IsZero() && e.At.Sub(last).Abs() < per {
		return false, nil
	}
	if last.IsZero() || e.At.After(last) {
		m.let[key] = e.At
		m.released[key] = entryOf(key, e, per)
	}
	return true, nil
}

// Alert is of the Memory: rules on metrics are asked elsewhere.
func (m *memory) Alert(context.Context, string) (rules.AlertState, error) {
	return rules.AlertState{}, nil
}

// SetAlert is of the Memory.
func (m *memory) SetAlert(context.Context, string, rules.AlertState) error { return nil }

// write writes down what was remembered.
func (m *memory) write(ctx context.Context, tx *store.ReactionTx) error {
	if err := tx.AddCounts(ctx, m.added); err != nil {
		return err
	}
	if err := tx.TrimCounts(ctx, m.trimmed); err != nil {
		return err
	}
	return tx.SetThrottled(ctx, m.released)
}
