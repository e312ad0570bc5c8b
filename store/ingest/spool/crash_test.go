package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestACrashAtEveryByte cuts the last segment at every length, and fills what is
// missing with nothing or with zeros.
func TestACrashAtEveryByte(t *testing.T) {
	t.Parallel()
	o := quiet(Options{SegmentBytes: int64(offsetOf(3))})
	mem := newMemDisk()
	put(t, must(open("/spool", o, mem))(t), "a", "b", "c", "d", "e", "f", "g", "h", "i")
	for cut := range offsetOf(3) {
		for _, filled := range []bool{false, true} {
			now := mem.crash(func(n int) int { return n - 1 }) // a copy
			last := now.names["/spool/"+segmentName(7)]
			if filled {
				clear(last.data[cut:])
			} else {
				last.data = last.data[:cut]
			}
			kept := 6 + max(0, cut-offsetOf(0))/(offsetOf(1)-offsetOf(0))
			s := must(open("/spool", o, now))(t)
			if st := s.Stats(); st.Records != int64(kept) || st.Damaged != 0 || st.Lost != 0 {
				t.Fatalf("cut at %d: %+v", cut, st)
			}
			put(t, s, "later")
			s = must(open("/spool", o, now))(t) // as after another crash
			wantTexts(t, takeAll(t, s), append(strings.Split("abcdefghi", "")[:kept], "later")...)
			if st := s.Stats(); st.Damaged != 0 || st.Lost != 0 {
				t.Fatalf("cut at %d: %+v", cut, st)
			}
		}
	}
}

func TestAnInterruptedWriteIsNotDamage(t *testing.T) {
	t.Parallel()
	t.Run("a wrong checksum with nothing readable behind it", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		threeSegments(t, dir)
		edit(t, filepath.Join(dir, segmentName(7)), flip(offsetOf(3)-1))
		var log logged
		s := openIn(t, dir, Options{Logger: log.logger()})
		if size := must(os.Stat(filepath.Join(dir, segmentName(7))))(t).Size(); size != int64(offsetOf(2)) {
			t.Errorf("it is not cut: %d bytes", size)
		}
		wantTexts(t, takeAll(t, s), strings.Split("abcdefgh", "")...)
		if st := s.Stats(); st.Damaged != 0 || st.Lost != 0 || len(log.errors()) != 0 {
			t.Errorf("%+v, %q", st, log.errors())
		}
	})
	t.Run("nor is it after another restart", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		threeSegments(t, dir)
		edit(t, filepath.Join(dir, segmentName(7)), func(b []byte) []byte { return b[:len(b)-1] })
		put(t, openIn(t, dir, Options{}), "j", "k")
		s := openIn(t, dir, Options{})
		wantTexts(t, takeAll(t, s), strings.Split("abcdefghjk", "")...)
		if st := s.Stats(); st.Damaged != 0 || st.Lost != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// script is a life of a spool in which every file operation occurs. Errors are
// noted by the model, and life goes on.
func script(m *model, o Options, d disk) *Spool {
	var s *Spool
	for range 3 {
		if s == nil {
			s, _ = open("/spool", o, d)
		}
		if s == nil {
			continue
		}
		for range 4 {
			_ = m.append(s, 2, 40)
		}
		if b, err := s.Next(3, 1000); err == nil && len(b.Records) > 0 {
			m.took(b)
			m.drained = max(m.drained, b.Last)
			_ = s.Drained(b.Last)
		}
		_ = m.append(s, 1, 300)
		_ = m.drainAll(s)
		_ = m.append(s, 2, 40)
		if m.count%2 == 0 {
			_ = s.Close()
			s = nil
		}
	}
	return s
}

// TestEveryFileOperationMayFail fails each operation of a run in turn, in each way,
// once and for a while, and looks at what comes out afterwards: of the same process,
// of the next one, and after a loss of power.
func TestEveryFileOperationMayFail(t *testing.T) {
	t.Parallel()
	o := quiet(Options{SegmentBytes: 200})
	whole := &faultyDisk{disk: newMemDisk()}
	script(newModel(t), o, whole)
	if whole.ops < 100 {
		t.Fatalf("a run has only %d operations", whole.ops)
	}
	for op := range whole.ops {
		for how, name := range []string{"not kept", "kept", "half kept"} {
			for _, times := range []int{1, 3, whole.ops} {
				mem := newMemDisk()
				d := &faultyDisk{disk: mem, how: how, fail: func(n int) bool { return n >= op && n < op+times }}
				m := newModel(failure{t, fmt.Sprintf("operation %d and %d more, %s: ", op, times-1, name)})
				s := script(m, o, d)
				d.fail = nil
				check(m, must(open("/spool", o, mem.crash(func(n int) int { return n - 1 })))(t))
				check(m, must(open("/spool", o, mem.crash(func(n int) int { return (op*7 + times*3 + how) % n })))(t))
				if s != nil {
					check(m, s)
				}
			}
		}
	}
}

// check takes everything out, of one of several disks that went different ways.
func check(m *model, s *Spool) {
	m = m.clone()
	m.noDamage(s)
	if err := m.append(s, 1, 10); err != nil {
		m.t.Fatalf("%v", err)
	}
	if err := m.drainAll(s); err != nil {
		m.t.Fatalf("%v", err)
	}
	m.noDamage(s)
}

// failure tells which case failed.
type failure struct {
	t    *testing.T
	what string
}

func (f failure) Fatalf(format string, args ...any) {
	f.t.Helper()
	f.t.Fatalf(f.what+format, args...)
}

func TestALossOfPowerAtEveryOperation(t *testing.T) {
	t.Parallel()
	o := quiet(Options{SegmentBytes: 200})
	whole := &faultyDisk{disk: newMemDisk()}
	script(newModel(t), o, whole)
	for op := range whole.ops {
		for way := range 4 {
			mem := newMemDisk()
			var after *memDisk
			d := &faultyDisk{disk: mem}
			d.fail = func(n int) bool {
				if n == op {
					after = mem.crash(func(n int) int { return (op*5 + way*11) % n })
				}
				return n >= op // what is done later does not happen
			}
			m := newModel(failure{t, fmt.Sprintf("operation %d, way %d: ", op, way)})
			script(m, o, d)
			check(m, must(open("/spool", o, after))(t))
		}
	}
}

func TestAFailedDeletionIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, damaged := range []bool{false, true} {
		mem := newMemDisk()
		d := &faultyDisk{disk: mem}
		s := must(open("/spool", quiet(Options{}), d))(t)
		put(t, s, "a")
		if damaged {
			mem.names["/spool/"+segmentName(1)].data[0] ^= 1
			s = must(open("/spool", quiet(Options{}), d))(t)
		}
		for _, how := range []int{notKept, keptAll} {
			d.how, d.fail = how, func(int) bool { return true }
			if err := s.Drained(1); !errors.Is(err, errInjected) {
				t.Fatal(err)
			}
			if b, err := s.Next(1, 1); len(b.Records) > 0 || !errors.Is(err, errInjected) {
				t.Fatal(b, err)
			}
		}
		d.fail = nil
		if err := s.Drained(1); err != nil {
			t.Fatal(err)
		}
		names := must(mem.list(""))(t)
		if slices.Contains(names, segmentName(1)) || slices.Contains(names, segmentName(1)+damagedSuffix) != damaged {
			t.Errorf("left: %q", names)
		}
		if st := s.Stats(); st.Bytes != 0 || st.Damaged != strings.Count(strings.Join(names, " "), damagedSuffix) {
			t.Errorf("%+v", st)
		}
	}
}

func TestWhatFailedGivesItsSpaceBack(t *testing.T) {
	t.Parallel()
	mem := newMemDisk()
	d := &faultyDisk{disk: mem, how: keptHalf}
	s := must(open("/spool", quiet(Options{}), d))(t)
	failWrite := func(after int) {
		t.Helper()
		write := d.ops + after
		d.fail = func(op int) bool { return op == write }
		if _, err := s.Append([][]byte{make([]byte, 1000)}, noon); !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
	}
	used := mem.used()
	failWrite(2) // behind free and create
	if now := mem.used(); now != used {
		t.Errorf("%d bytes, and %d after a new segment that failed", used, now)
	}
	put(t, s, "a")
	used = mem.used()
	failWrite(1) // behind free
	if now := mem.used(); now != used {
		t.Errorf("%d bytes, and %d after a write that failed", used, now)
	}
	put(t, s, "b")
	wantTexts(t, takeAll(t, s), "a", "b")
}

// A record that was never acknowledged may come out. Once it did, it stays.
func TestWhatCameOutKeepsItsNumber(t *testing.T) {
	t.Parallel()
	mem := newMemDisk()
	d := &faultyDisk{disk: mem}
	s := must(open("/spool", quiet(Options{}), d))(t)
	synced := d.ops + 4 // free, create, write, sync
	d.fail = func(op int) bool { return op >= synced }
	if _, err := s.Append([][]byte{[]byte("a")}, noon); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	s = must(open("/spool", quiet(Options{}), mem))(t)
	wantTexts(t, texts(must(s.Next(1, 1))(t)), "a")
	s = must(open("/spool", quiet(Options{}), mem.crash(func(int) int { return 0 })))(t)
	put(t, s, "b")
	wantTexts(t, takeAll(t, s), "a", "b")
}
