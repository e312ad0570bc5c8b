package spool

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The records of these tests are one byte long: record i of a segment, from 0, begins at
// offsetOf(i).
func offsetOf(i int) int { return headerBytes + i*(overheadBytes+1) }

// edit changes a file.
func edit(t *testing.T, path string, change func(b []byte) []byte) {
	t.Helper()
	b := change(must(os.ReadFile(path))(t))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// flip changes one byte.
func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[at] ^= 0x10
		return b
	}
}

// threeSegments makes a spool of the records a to i, three in a segment, and closes it
// as a crash would.
func threeSegments(t *testing.T, dir string) {
	t.Helper()
	s := openIn(t, dir, Options{SegmentBytes: int64(offsetOf(3))})
	put(t, s, "a", "b", "c", "d", "e", "f", "g", "h", "i")
	want := []string{segmentName(1), segmentName(4), segmentName(7), "drained", "id"}
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
}

func TestDamageIsSetAsideAndEverythingReadableComesOut(t *testing.T) {
	t.Parallel()
	zero := func(from, to int) func([]byte) []byte {
		return func(b []byte) []byte { clear(b[from:to]); return b }
	}
	length := func(record int, n uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint32(b[offsetOf(record):], n); return b }
	}
	for _, c := range []struct {
		name    string
		segment uint64
		change  func([]byte) []byte
		want    string
		lost    int64
	}{
		{"a payload in the middle", 4, flip(offsetOf(2) - 1), "abcdfghi", 1},
		{"the first payload", 1, flip(offsetOf(1) - 1), "bcdefghi", 1},
		{"the last payload of a segment", 4, flip(offsetOf(3) - 1), "abcdeghi", 1},
		{"a payload of the last segment", 7, flip(offsetOf(2) - 1), "abcdefgi", 1},
		{"a checksum", 4, flip(offsetOf(1) + 4), "abcdfghi", 1},
		{"a sequence number", 4, flip(offsetOf(1) + 15), "abcdfghi", 1},
		{"a time", 4, flip(offsetOf(1) + 20), "abcdfghi", 1},
		{"a length, too large", 4, length(1, 1<<30), "abcdfghi", 1},
		{"a length, plausible", 4, length(0, 30), "abcefghi", 1},
		{"a length of nothing", 4, length(1, 0), "abcdfghi", 1},
		{"two records in a row", 4, zero(offsetOf(0)+3, offsetOf(1)+10), "abcfghi", 2},
		{"two records apart", 4, func(b []byte) []byte { return flip(offsetOf(0) + 2)(flip(offsetOf(2) + 2)(b)) }, "abceghi", 2},
		{"the magic", 4, flip(0), "abcdefghi", 0},
		{"the magic of the last", 7, flip(0), "abcdefghi", 0},
		{"the header's checksum", 1, flip(13), "abcdefghi", 0},
		{"the version", 4, flip(11), "abcdefghi", 0},
		{"a whole header", 4, zero(0, headerBytes), "abcdefghi", 0},
		{"everything", 4, zero(0, offsetOf(3)), "abcghi", 3},
		{"everything, with garbage", 4, func(b []byte) []byte { copy(b, strings.Repeat("garbage ", 99)); return b }, "abcghi", 3},
		{"an end that is missing", 4, func(b []byte) []byte { return b[:offsetOf(1)+7] }, "abcdghi", 2},
		{"all but the header is missing", 1, func(b []byte) []byte { return b[:headerBytes] }, "defghi", 3},
		{"bytes that came in between", 4, func(b []byte) []byte { return slices.Insert(b, offsetOf(1), []byte("????")...) }, "abcdefghi", 0},
		{"bytes that were cut out", 4, func(b []byte) []byte { return slices.Delete(b, offsetOf(1)-1, offsetOf(1)) }, "abcefghi", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			threeSegments(t, dir)
			edit(t, filepath.Join(dir, segmentName(c.segment)), c.change)
			var log logged
			s := openIn(t, dir, Options{Logger: log.logger()})
			wantTexts(t, takeAll(t, s), strings.Split(c.want, "")...)
			if st := s.Stats(); st.Damaged != 1 || st.Lost != c.lost || st.Records != 0 || st.DrainedTo != 9 {
				t.Errorf("%+v", st)
			}
			if got, want := files(t, dir), []string{segmentName(c.segment) + damagedSuffix, "drained", "id"}; !slices.Equal(got, want) {
				t.Errorf("left: %q", got)
			}
			if errs := log.errors(); len(errs) != 1 ||
				!strings.Contains(errs[0], segmentName(c.segment)+damagedSuffix) ||
				!strings.Contains(errs[0], fmt.Sprintf("records_saved=%d records_lost=%d", 3-c.lost, c.lost)) {
				t.Errorf("logged: %q", errs)
			}
			put(t, s, "j")
			s = openIn(t, dir, Options{})
			wantTexts(t, takeAll(t, s), "j")
			if st := s.Stats(); st.Damaged != 1 || st.Lost != 0 {
				t.Errorf("after a restart: %+v", st)
			}
		})
	}
}

func TestDamageThatAppearsWhileRunning(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		harm func(t *testing.T, dir string)
		want string
		lost int64
	}{
		{"a flipped bit", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, segmentName(4)), flip(offsetOf(2)-1))
		}, "abcdfghi", 1},
		{"a file that is cut", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, segmentName(4)), func(b []byte) []byte { return b[:offsetOf(1)] })
		}, "abcdghi", 2},
		{"the end of the segment that is being written", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, segmentName(7)), flip(offsetOf(3)-1))
		}, "abcdefgh", 1},
		{"a file that is deleted", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, segmentName(4))); err != nil {
				t.Fatal(err)
			}
		}, "abcghi", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var log logged
			s := openIn(t, dir, Options{SegmentBytes: int64(offsetOf(3)), Logger: log.logger()})
			put(t, s, "a", "b", "c", "d", "e", "f", "g", "h", "i")
			c.harm(t, dir)
			wantTexts(t, takeAll(t, s), strings.Split(c.want, "")...)
			if st := s.Stats(); st.Lost != c.lost || st.Records != 0 || st.Bytes != 0 {
				t.Errorf("%+v", st)
			}
			if errs := log.errors(); len(errs) != 1 {
				t.Errorf("logged: %q", errs)
			}
			put(t, s, "j")
			wantTexts(t, takeAll(t, s), "j")
		})
	}
}

// badSectors does not give back some of the bytes of one file.
type badSectors struct {
	disk
	name     string
	from, to int64
}

type badFile struct {
	file
	disk *badSectors
}

func (d *badSectors) open(path string) (file, error) {
	f, err := d.disk.open(path)
	if err == nil && filepath.Base(path) == d.name {
		f = &badFile{f, d}
	}
	return f, err
}

func (f *badFile) ReadAt(b []byte, off int64) (int, error) {
	if off < f.disk.to && off+int64(len(b)) > f.disk.from {
		return 0, syscall.EIO
	}
	return f.file.ReadAt(b, off)
}

func TestWhatIsOutsideOfABadSectorComesOut(t *testing.T) {
	t.Parallel()
	for name, segment := range map[string]uint64{"in the middle": 1, "in the last segment": 101} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &badSectors{disk: newMemDisk()}
			s := must(open("/spool", quiet(Options{SegmentBytes: 1}), d))(t)
			for range 2 {
				records := make([][]byte, 100)
				for i := range records {
					records[i] = []byte(strings.Repeat("x", 1000))
				}
				must(s.Append(records, noon))(t)
			}
			d.name, d.from, d.to = segmentName(segment), 5*blockBytes, 6*blockBytes
			s = must(open("/spool", quiet(Options{SegmentBytes: 1}), d))(t)
			// A block has parts of 5 or 6 such records.
			if n := len(takeAll(t, s)); n < 194 || n > 195 {
				t.Errorf("%d of 200 records", n)
			}
			if st := s.Stats(); st.Damaged != 1 || st.Lost < 5 || st.Lost > 6 {
				t.Errorf("%+v", st)
			}
		})
	}
	t.Run("and a bad end is no interrupted write", func(t *testing.T) {
		t.Parallel()
		d := &badSectors{disk: newMemDisk()}
		s := must(open("/spool", quiet(Options{}), d))(t)
		put(t, s, "first", strings.Repeat("x", 3*blockBytes))
		d.name, d.from, d.to = segmentName(1), 2*blockBytes, 3*blockBytes
		s = must(open("/spool", quiet(Options{}), d))(t)
		wantTexts(t, takeAll(t, s), "first")
		if st := s.Stats(); st.Damaged != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAMissingSegmentShowsAsAGap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		first uint64
		want  string
	}{{1, "defghi"}, {4, "abcghi"}} {
		dir := t.TempDir()
		threeSegments(t, dir)
		if err := os.Remove(filepath.Join(dir, segmentName(c.first))); err != nil {
			t.Fatal(err)
		}
		var log logged
		s := openIn(t, dir, Options{Logger: log.logger()})
		if st := s.Stats(); st.Lost != 3 || st.Records != 6 || st.Damaged != 0 {
			t.Errorf("%+v", st)
		}
		if errs := log.errors(); len(errs) != 1 || !strings.Contains(errs[0], "records_lost=3") {
			t.Errorf("logged: %q", errs)
		}
		wantTexts(t, takeAll(t, s), strings.Split(c.want, "")...)
		if st := s.Stats(); st.Lost != 3 || st.Records != 0 {
			t.Errorf("%+v", st)
		}
	}
}

func TestOtherFormatsAreNeverDeleted(t *testing.T) {
	t.Parallel()
	later := func() []byte {
		b := (&header{first: 10}).append(nil)
		b[11] = version + 1
		binary.BigEndian.PutUint32(b[12:], headerSum(b))
		return append(b, strings.Repeat("records of the future ", 99)...)
	}()
	for name, content := range map[string][]byte{
		"a later version":              later,
		"a later version, interrupted": later[:20],
		"not ours":                     []byte("hello"),
		"not ours, and long":           []byte(strings.Repeat("hello ", 999)),
		"not ours, with zeros":         append([]byte("RAPIER"), make([]byte, 200)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			threeSegments(t, dir)
			if err := os.WriteFile(filepath.Join(dir, segmentName(10)), content, 0o600); err != nil {
				t.Fatal(err)
			}
			s := openIn(t, dir, Options{})
			wantTexts(t, takeAll(t, s), strings.Split("abcdefghi", "")...)
			put(t, s, "j")
			wantTexts(t, takeAll(t, s), "j")
			if got := must(os.ReadFile(filepath.Join(dir, segmentName(10)+damagedSuffix)))(t); string(got) != string(content) {
				t.Errorf("%q", got)
			}
			if st := s.Stats(); st.Damaged != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
	t.Run("a segment of another spool", func(t *testing.T) {
		t.Parallel()
		dir, other := t.TempDir(), t.TempDir()
		threeSegments(t, dir)
		threeSegments(t, other)
		content := must(os.ReadFile(filepath.Join(other, segmentName(4))))(t)
		if err := os.WriteFile(filepath.Join(dir, segmentName(4)), content, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openIn(t, dir, Options{})
		wantTexts(t, takeAll(t, s), strings.Split("abcghi", "")...)
		if st := s.Stats(); st.Damaged != 1 || st.Lost != 3 {
			t.Errorf("%+v", st)
		}
		must(os.Stat(filepath.Join(dir, segmentName(4)+damagedSuffix)))(t)
	})
	t.Run("what was set aside before", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		threeSegments(t, dir)
		before := filepath.Join(dir, segmentName(4)+damagedSuffix)
		if err := os.WriteFile(before, []byte("before"), 0o600); err != nil {
			t.Fatal(err)
		}
		edit(t, filepath.Join(dir, segmentName(4)), flip(0))
		s := openIn(t, dir, Options{})
		takeAll(t, s)
		if st := s.Stats(); st.Damaged != 2 || string(must(os.ReadFile(before))(t)) != "before" {
			t.Errorf("%+v", st)
		}
		if err := os.Remove(before); err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(); st.Damaged != 1 {
			t.Errorf("after the operator deleted one: %+v", st)
		}
	})
}

func TestAPayloadCannotPretendToBeARecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openIn(t, dir, Options{})
	forged := appendRecord(nil, 0, 3, 0, []byte("forged"))
	other := appendRecord(nil, seedOf([16]byte{1}), 3, 0, []byte("forged"))
	put(t, s, "a", string(forged)+string(other), "c")
	edit(t, filepath.Join(dir, segmentName(1)), flip(offsetOf(1)+3)) // the length
	wantTexts(t, takeAll(t, openIn(t, dir, Options{})), "a", "c")
}

func TestTheSmallFilesMayBeLost(t *testing.T) {
	t.Parallel()
	harms := map[string]func(path string) error{
		"missing": os.Remove,
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"garbage": func(path string) error { return os.WriteFile(path, []byte("deadbeef\n"), 0o600) },
		"with a flipped bit": func(path string) error {
			b, err := os.ReadFile(path)
			if err == nil {
				b[0] ^= 1
				err = os.WriteFile(path, b, 0o600)
			}
			return err
		},
	}
	for name, harm := range harms {
		t.Run("id "+name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			threeSegments(t, dir)
			id := openIn(t, dir, Options{}).ID()
			if err := harm(filepath.Join(dir, "id")); err != nil {
				t.Fatal(err)
			}
			s := openIn(t, dir, Options{})
			if s.ID() != id {
				t.Errorf("it was %s and is %s", id, s.ID())
			}
			wantTexts(t, takeAll(t, s), strings.Split("abcdefghi", "")...)
			if st := s.Stats(); st.Damaged != 0 || st.Lost != 0 {
				t.Errorf("%+v", st)
			}
		})
		t.Run("drained "+name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			threeSegments(t, dir)
			s := openIn(t, dir, Options{})
			if err := s.Drained(5); err != nil {
				t.Fatal(err)
			}
			if err := harm(filepath.Join(dir, "drained")); err != nil {
				t.Fatal(err)
			}
			s = openIn(t, dir, Options{})
			wantTexts(t, takeAll(t, s), strings.Split("defghi", "")...)
			if st := s.Stats(); st.Damaged != 0 || st.Lost != 0 {
				t.Errorf("%+v", st)
			}
			put(t, s, "j")
			if st := s.Stats(); st.LastSequence != 10 {
				t.Errorf("%+v", st)
			}
		})
		t.Run("drained "+name+", with no segment: the numbers begin anew, under a new id", func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			threeSegments(t, dir)
			s := openIn(t, dir, Options{})
			takeAll(t, s)
			if err := harm(filepath.Join(dir, "drained")); err != nil {
				t.Fatal(err)
			}
			again := openIn(t, dir, Options{})
			if again.ID() == s.ID() {
				t.Error("the numbers are used twice")
			}
			put(t, again, "j")
			wantTexts(t, takeAll(t, again), "j")
		})
	}
}
