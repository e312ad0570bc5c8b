package spool

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func quiet(o Options) Options {
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = 1
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return o
}

// model is what may and must come out of a spool, over restarts and crashes.
type model struct {
	t       interface{ Fatalf(string, ...any) }
	count   int
	tried   map[string]bool   // every payload that was ever given to Append
	kept    map[uint64]string // what was acknowledged, by its number
	seen    map[uint64]string // what came out, by its number
	highest uint64            // number that was given out or seen
	drained uint64
}

func newModel(t interface{ Fatalf(string, ...any) }) *model {
	return &model{t: t, tried: map[string]bool{}, kept: map[uint64]string{}, seen: map[uint64]string{}}
}

func (m *model) clone() *model {
	c := *m
	c.tried, c.kept, c.seen = maps.Clone(m.tried), maps.Clone(m.kept), maps.Clone(m.seen)
	return &c
}

// append gives n records of about size bytes to the spool.
func (m *model) append(s *Spool, n, size int) error {
	var records [][]byte
	for range n {
		m.count++
		payload := fmt.Sprintf("r%d.%s", m.count, strings.Repeat("x", (size+m.count)%(size+1)))
		m.tried[payload] = true
		records = append(records, []byte(payload))
	}
	last, err := s.Append(records, noon.Add(time.Duration(m.count)*time.Second))
	if err != nil {
		return err
	}
	if last < m.highest+uint64(n) {
		m.t.Fatalf("the numbers went back: %d records end at %d, and %d is used", n, last, m.highest)
	}
	m.highest = last
	for i, payload := range records {
		m.kept[last-uint64(n-1-i)] = string(payload)
	}
	return nil
}

// took checks a batch.
func (m *model) took(b Batch) {
	if len(b.Records) > 0 && b.Last-b.First+1 != uint64(len(b.Records)) {
		m.t.Fatalf("a batch from %d to %d has %d records", b.First, b.Last, len(b.Records))
	}
	for i, payload := range b.Records {
		number := b.First + uint64(i)
		if kept, ok := m.kept[number]; ok && kept != string(payload) {
			m.t.Fatalf("record %d is %q, not %q", number, payload, kept)
		}
		if seen, ok := m.seen[number]; ok && seen != string(payload) {
			m.t.Fatalf("record %d was %q and is %q", number, seen, payload)
		}
		if !m.tried[string(payload)] {
			m.t.Fatalf("record %d was never appended: %q", number, payload)
		}
		m.seen[number] = string(payload)
		m.highest = max(m.highest, number)
	}
}

// drainAll takes everything out, and checks that nothing acknowledged is missing.
// It gives up at an error.
func (m *model) drainAll(s *Spool) error {
	to := m.drained
	for {
		b, err := s.Next(3, 100)
		if err != nil {
			return err
		}
		if len(b.Records) == 0 {
			m.missing(to+1, m.highest)
			return nil
		}
		if b.First > to+1 {
			m.missing(to+1, b.First-1)
		}
		m.took(b)
		to = max(to, b.Last)
		m.drained = max(m.drained, b.Last) // whatever Drained says
		if err := s.Drained(b.Last); err != nil {
			return err
		}
	}
}

func (m *model) missing(from, to uint64) {
	for number := from; number <= to; number++ {
		if payload, ok := m.kept[number]; ok {
			m.t.Fatalf("record %d is missing: %q", number, payload)
		}
	}
}

// noDamage checks that nothing is taken for damage.
func (m *model) noDamage(s *Spool) {
	if st := s.Stats(); st.Damaged != 0 || st.Lost != 0 {
		m.t.Fatalf("%d damaged, %d lost, but nothing was", st.Damaged, st.Lost)
	}
}

func TestWhateverHappensWhatWasAcknowledgedComesOut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		mem := newMemDisk()
		d := &faultyDisk{disk: mem}
		o := quiet(Options{SegmentBytes: rapid.Int64Range(1, 600).Draw(t, "segment"), MaxBytes: 1 << 20})
		chance := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "chance") }
		s := must(open("/spool", o, d))(t)
		id := s.ID()
		reopen := func() {
			d.fail = nil
			s = must(open("/spool", o, d))(t)
			if s.ID() != id {
				t.Fatalf("the id was %s and is %s", id, s.ID())
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				err := m.append(s, rapid.IntRange(1, 5).Draw(t, "records"), rapid.IntRange(0, 100).Draw(t, "bytes"))
				if err != nil && !errors.Is(err, errInjected) {
					t.Fatal(err)
				}
			},
			"drain some": func(t *rapid.T) {
				b, err := s.Next(rapid.IntRange(1, 9).Draw(t, "records"), rapid.Int64Range(0, 300).Draw(t, "bytes"))
				if err != nil && !errors.Is(err, errInjected) {
					t.Fatal(err)
				}
				m.took(b)
				if len(b.Records) == 0 {
					return
				}
				to := rapid.Uint64Range(b.First, b.Last).Draw(t, "to")
				if err := s.Drained(to); err != nil && !errors.Is(err, errInjected) {
					t.Fatal(err)
				}
				if b.First > m.drained+1 {
					m.missing(m.drained+1, b.First-1)
				}
				m.drained = max(m.drained, to)
			},
			"drain all": func(t *rapid.T) {
				if err := m.drainAll(s); err != nil && !errors.Is(err, errInjected) {
					t.Fatal(err)
				} else if st := s.Stats(); err == nil && (st.Records != 0 || !st.OldestAt.IsZero()) {
					t.Fatalf("all is drained, but %+v", st)
				}
			},
			"restart": func(*rapid.T) { _ = s.Close(); reopen() },
			"kill":    func(*rapid.T) { reopen() },
			"power loss": func(*rapid.T) {
				mem = mem.crash(chance)
				d.disk = mem
				reopen()
			},
			"the disk fails soon": func(t *rapid.T) {
				from := d.ops + rapid.IntRange(0, 6).Draw(t, "after")
				to := from + rapid.IntRange(1, 8).Draw(t, "times")
				d.how = rapid.IntRange(notKept, keptHalf).Draw(t, "how")
				d.fail = func(op int) bool { return op >= from && op < to }
			},
			"": func(*rapid.T) {
				if d.fail == nil {
					m.noDamage(s)
				}
			},
		})
		d.fail = nil
		if err := m.drainAll(s); err != nil {
			t.Fatal(err)
		}
		m.noDamage(s)
	})
}

// must returns the value, or ends the test.
func must[T any](value T, err error) func(interface{ Fatal(...any) }) T {
	return func(t interface{ Fatal(...any) }) T {
		if h, ok := t.(testing.TB); ok {
			h.Helper()
		}
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
