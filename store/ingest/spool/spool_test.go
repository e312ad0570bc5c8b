package spool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// openIn is a spool that is closed with the test, if it was not before.
func openIn(t *testing.T, dir string, o Options) *Spool {
	t.Helper()
	s := must(Open(dir, quiet(o)))(t)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// put appends texts one by one, each with a second of its own from noon on.
func put(t *testing.T, s *Spool, texts ...string) {
	t.Helper()
	for i, text := range texts {
		must(s.Append([][]byte{[]byte(text)}, noon.Add(time.Duration(i)*time.Second)))(t)
	}
}

// takeAll drains the spool and returns what came out.
func takeAll(t *testing.T, s *Spool) []string {
	t.Helper()
	var all []string
	for {
		b := must(s.Next(100, 1<<20))(t)
		if len(b.Records) == 0 {
			return all
		}
		all = append(all, texts(b)...)
		if err := s.Drained(b.Last); err != nil {
			t.Fatal(err)
		}
	}
}

func texts(b Batch) []string {
	var all []string
	for _, payload := range b.Records {
		all = append(all, string(payload))
	}
	return all
}

func wantTexts(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// files are the names in a directory, but for temporary ones.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	for _, entry := range must(os.ReadDir(dir))(t) {
		if !strings.HasSuffix(entry.Name(), temporarySuffix) {
			names = append(names, entry.Name())
		}
	}
	return names
}

func TestRecordsComeOutAsTheyWentIn(t *testing.T) {
	t.Parallel()
	t.Run("in order, with numbers from 1", func(t *testing.T) {
		t.Parallel()
		s := openIn(t, t.TempDir(), Options{})
		last := must(s.Append([][]byte{[]byte("a"), {}, []byte("c\x00\xff")}, noon))(t)
		if last != 3 {
			t.Fatalf("the last has the number %d", last)
		}
		b := must(s.Next(10, 1000))(t)
		wantTexts(t, texts(b), "a", "", "c\x00\xff")
		if b.First != 1 || b.Last != 3 {
			t.Fatalf("from %d to %d", b.First, b.Last)
		}
	})
	t.Run("again and again until they are drained", func(t *testing.T) {
		t.Parallel()
		s := openIn(t, t.TempDir(), Options{})
		put(t, s, "a", "b", "c", "d")
		for range 2 {
			wantTexts(t, texts(must(s.Next(3, 1000))(t)), "a", "b", "c")
		}
		if err := s.Drained(2); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			wantTexts(t, texts(must(s.Next(3, 1000))(t)), "c", "d")
		}
	})
	t.Run("in batches within the bounds, but at least one", func(t *testing.T) {
		t.Parallel()
		s := openIn(t, t.TempDir(), Options{})
		put(t, s, "aaaa", "bbbb", "c")
		wantTexts(t, texts(must(s.Next(10, 8))(t)), "aaaa", "bbbb")
		wantTexts(t, texts(must(s.Next(10, 7))(t)), "aaaa")
		wantTexts(t, texts(must(s.Next(2, 100))(t)), "aaaa", "bbbb")
		wantTexts(t, texts(must(s.Next(0, 0))(t)), "aaaa")
	})
	t.Run("over the bounds of segments", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := openIn(t, dir, Options{SegmentBytes: 1})
		put(t, s, "a", "b", "c")
		if n := len(files(t, dir)); n != 5 {
			t.Fatalf("%q", files(t, dir))
		}
		wantTexts(t, texts(must(s.Next(10, 100))(t)), "a", "b", "c")
	})
	t.Run("also large ones", func(t *testing.T) {
		t.Parallel()
		s := openIn(t, t.TempDir(), Options{SegmentBytes: 1000})
		large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		must(s.Append([][]byte{large, []byte("small"), large}, noon))(t)
		b := must(s.Next(10, math.MaxInt64))(t)
		if len(b.Records) != 3 || !bytes.Equal(b.Records[0], large) || !bytes.Equal(b.Records[2], large) {
			t.Fatalf("%d records", len(b.Records))
		}
	})
	t.Run("and belong to the caller", func(t *testing.T) {
		t.Parallel()
		s := openIn(t, t.TempDir(), Options{})
		mine := []byte("mine")
		must(s.Append([][]byte{mine}, noon))(t)
		copy(mine, "????")
		b := must(s.Next(1, 100))(t)
		copy(b.Records[0], "????")
		wantTexts(t, texts(must(s.Next(1, 100))(t)), "mine")
	})
	t.Run("nothing is an empty batch", func(t *testing.T) {
		t.Parallel()
		s := openIn(t, t.TempDir(), Options{})
		if last := must(s.Append(nil, noon))(t); last != 0 {
			t.Fatal(last)
		}
		if b := must(s.Next(1, 1))(t); b.First != 0 || b.Last != 0 || b.Records != nil {
			t.Fatalf("%+v", b)
		}
	})
}

func TestNumbersNeverGoBack(t *testing.T) {
	t.Parallel()
	t.Run("over restarts", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		for i := uint64(1); i <= 5; i++ {
			s := openIn(t, dir, Options{})
			if last := must(s.Append([][]byte{[]byte("a")}, noon))(t); last != i {
				t.Fatalf("number %d, want %d", last, i)
			}
			_ = s.Close()
		}
	})
	t.Run("also when all segments are gone", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		for i := uint64(1); i <= 5; i++ {
			s := openIn(t, dir, Options{})
			if last := must(s.Append([][]byte{[]byte("a")}, noon))(t); last != i {
				t.Fatalf("number %d, want %d", last, i)
			}
			wantTexts(t, takeAll(t, s), "a")
			if got := files(t, dir); !slices.Equal(got, []string{"drained", "id"}) {
				t.Fatalf("left: %q", got)
			}
		}
	})
	t.Run("also when somebody knows of more", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := openIn(t, dir, Options{})
		put(t, s, "old")
		if err := s.Drained(500); err != nil {
			t.Fatal(err)
		}
		s = openIn(t, dir, Options{}) // without Close
		if last := must(s.Append([][]byte{[]byte("new")}, noon))(t); last != 501 {
			t.Fatalf("number %d", last)
		}
		wantTexts(t, takeAll(t, s), "new")
		if st := s.Stats(); st.Lost != 0 {
			t.Fatalf("%+v", st)
		}
		if err := s.Drained(math.MaxUint64); err == nil {
			t.Fatal("no record can have such a number")
		}
	})
	t.Run("and the id stays", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		id := openIn(t, dir, Options{}).ID()
		if again := openIn(t, dir, Options{}).ID(); again != id || len(id) != 32 {
			t.Fatalf("%q, then %q", id, again)
		}
		if other := openIn(t, t.TempDir(), Options{}).ID(); other == id {
			t.Fatal("two spools have one id")
		}
	})
}

func TestDraining(t *testing.T) {
	t.Parallel()
	t.Run("deletes whole segments", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := openIn(t, dir, Options{SegmentBytes: 1})
		put(t, s, "a", "b", "c", "d")
		if err := s.Drained(2); err != nil {
			t.Fatal(err)
		}
		want := []string{segmentName(3), segmentName(4), "drained", "id"}
		if got := files(t, dir); !slices.Equal(got, want) {
			t.Fatalf("left: %q", got)
		}
	})
	t.Run("need not have read the records", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		put(t, openIn(t, dir, Options{}), "a", "b", "c")
		s := openIn(t, dir, Options{})
		if err := s.Drained(2); err != nil {
			t.Fatal(err)
		}
		wantTexts(t, takeAll(t, s), "c")
	})
	t.Run("is remembered by a spool that was closed", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := openIn(t, dir, Options{})
		put(t, s, "a", "b", "c")
		if err := errors.Join(s.Drained(2), s.Close()); err != nil {
			t.Fatal(err)
		}
		wantTexts(t, takeAll(t, openIn(t, dir, Options{})), "c")
	})
	t.Run("a number that was drained already changes nothing", func(t *testing.T) {
		t.Parallel()
		s := openIn(t, t.TempDir(), Options{})
		put(t, s, "a", "b", "c")
		if err := errors.Join(s.Drained(2), s.Drained(1), s.Drained(0)); err != nil {
			t.Fatal(err)
		}
		wantTexts(t, takeAll(t, s), "c")
	})
}

func TestStats(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openIn(t, dir, Options{})
	if st := s.Stats(); st != (Stats{}) {
		t.Fatalf("%+v", st)
	}
	put(t, s, "a", "b", "c")
	want := Stats{Records: 3, Bytes: headerBytes + 3*(overheadBytes+1), OldestAt: noon, LastSequence: 3}
	check := func(s *Spool) {
		t.Helper()
		if st := s.Stats(); st != want {
			t.Fatalf("%+v, want %+v", st, want)
		}
	}
	check(s)
	check(openIn(t, dir, Options{})) // as after a crash
	if err := s.Drained(1); err != nil {
		t.Fatal(err)
	}
	want.Records, want.DrainedTo, want.OldestAt = 2, 1, noon.Add(time.Second)
	check(s)
	_ = s.Close()
	check(openIn(t, dir, Options{}))
	s = openIn(t, dir, Options{})
	takeAll(t, s)
	want = Stats{LastSequence: 3, DrainedTo: 3}
	check(s)
	check(openIn(t, dir, Options{}))
	put(t, s, "d")
	want = Stats{Records: 1, Bytes: headerBytes + overheadBytes + 1, OldestAt: noon, LastSequence: 4, DrainedTo: 3}
	check(s)
}

func TestAFullSpool(t *testing.T) {
	t.Parallel()
	t.Run("says so at MaxBytes, and has room again after draining", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := openIn(t, dir, Options{MaxBytes: 8000})
		record := [][]byte{make([]byte, 300)}
		kept := 0
		var err error
		for ; err == nil; _, err = s.Append(record, noon) {
			if kept++; kept > 100 {
				t.Fatal("there is no bound")
			}
		}
		if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "at most 8000 bytes") {
			t.Fatal(err)
		}
		if err := s.Room(); !errors.Is(err, ErrFull) {
			t.Fatalf("room for what was refused: %v", err)
		}
		if used := diskUsed(t, dir); used > 8000+3*maxMark {
			t.Fatalf("%d bytes", used)
		}
		if err := s.Drained(must(s.Next(5, 1<<20))(t).Last); err != nil {
			t.Fatal(err)
		}
		if err := s.Room(); err != nil {
			t.Fatal(err)
		}
		must(s.Append(record, noon))(t)
		if n := len(takeAll(t, s)); n != kept-1+1-5 {
			t.Fatalf("%d records, %d were kept", n, kept)
		}
	})
	t.Run("has room for smaller ones when it is empty", func(t *testing.T) {
		t.Parallel()
		s := openIn(t, t.TempDir(), Options{MaxBytes: 1000})
		if _, err := s.Append([][]byte{make([]byte, 1000)}, noon); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		if err := s.Room(); err != nil {
			t.Fatal(err)
		}
		put(t, s, "a")
	})
	t.Run("keeps the disk's reserve", func(t *testing.T) {
		t.Parallel()
		mem := newMemDisk()
		s := must(open("/spool", quiet(Options{MinFreeBytes: 1000}), mem))(t)
		put(t, s, "a")
		mem.capacity = mem.used() + 999
		if err := s.Room(); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "1000 must remain") {
			t.Fatal(err)
		}
		if _, err := s.Append([][]byte{[]byte("b")}, noon); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		mem.capacity += 1000
		put(t, s, "c")
		wantTexts(t, takeAll(t, s), "a", "c")
	})
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		t.Run("says so when the disk does: "+full.Error(), func(t *testing.T) {
			t.Parallel()
			d := &faultyDisk{disk: newMemDisk(), err: full, how: keptHalf}
			s := must(open("/spool", quiet(Options{}), d))(t)
			put(t, s, "a")
			d.fail = func(int) bool { return true }
			for range 3 {
				if _, err := s.Append([][]byte{[]byte("b")}, noon); !errors.Is(err, ErrFull) {
					t.Fatal(err)
				}
				if err := s.Room(); !errors.Is(err, ErrFull) {
					t.Fatalf("room on a disk that has none: %v", err)
				}
			}
			d.fail = nil
			put(t, s, "c")
			if err := s.Room(); err != nil {
				t.Fatal(err)
			}
			wantTexts(t, takeAll(t, s), "a", "c")
		})
	}
}

func TestAFullDiskCanBeDrained(t *testing.T) {
	t.Parallel()
	mem := newMemDisk()
	s := must(open("/spool", quiet(Options{SegmentBytes: 1}), mem))(t)
	for range 3 {
		put(t, s, "a", "b")
		mem.capacity = mem.used()
		wantTexts(t, texts(must(s.Next(2, 10))(t)), "a", "b")
		if err := s.Drained(s.Stats().LastSequence); err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(); st.Bytes != 0 {
			t.Fatalf("%+v", st)
		}
		mem.capacity = 0
	}
}

func diskUsed(t *testing.T, dir string) int64 {
	t.Helper()
	var n int64
	for _, entry := range must(os.ReadDir(dir))(t) {
		n += must(entry.Info())(t).Size()
	}
	return n
}

func TestTheDirectory(t *testing.T) {
	t.Parallel()
	t.Run("is made, for its owner alone", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "a", "b", "spool")
		put(t, openIn(t, dir, Options{}), "a")
		if mode := must(os.Stat(dir))(t).Mode().Perm(); mode != 0o700 {
			t.Fatal(mode)
		}
		if mode := must(os.Stat(filepath.Join(dir, segmentName(1))))(t).Mode().Perm(); mode != 0o600 {
			t.Fatal(mode)
		}
	})
	t.Run("may have files and directories that are not ours", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		others := []string{"notes.txt", "1.seg", "00000000000000000000.seg", "00000000000000000001.segment", "99999999999999999999.seg", "lost+found"}
		for _, name := range others {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(filepath.Join(dir, segmentName(7)), 0o700); err != nil {
			t.Fatal(err)
		}
		s := openIn(t, dir, Options{})
		put(t, s, "a")
		wantTexts(t, takeAll(t, s), "a")
		if st := s.Stats(); st.Damaged != 0 || st.LastSequence != 1 {
			t.Fatalf("%+v", st)
		}
		for _, name := range append(others, segmentName(7)) {
			must(os.Stat(filepath.Join(dir, name)))(t)
		}
	})
	t.Run("that can't be made is an error that names it", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, quiet(Options{})); err == nil || !strings.Contains(err.Error(), path) {
			t.Fatal(err)
		}
	})
}

func TestAClosedSpoolSaysSo(t *testing.T) {
	t.Parallel()
	s := openIn(t, t.TempDir(), Options{})
	put(t, s, "a")
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	_, appended := s.Append([][]byte{[]byte("b")}, noon)
	_, next := s.Next(1, 1)
	for _, err := range []error{appended, next, s.Drained(1), s.Room()} {
		if !errors.Is(err, os.ErrClosed) {
			t.Fatal(err)
		}
	}
}

// stuckDisk does not give back what is read until it is let go.
type stuckDisk struct {
	disk
	reading chan struct{}
	letGo   chan struct{}
}

type stuckFile struct {
	file
	disk *stuckDisk
}

func (d *stuckDisk) open(path string) (file, error) {
	f, err := d.disk.open(path)
	return &stuckFile{f, d}, err
}

func (f *stuckFile) ReadAt(b []byte, off int64) (int, error) {
	if f.disk.reading != nil {
		select {
		case f.disk.reading <- struct{}{}:
			<-f.disk.letGo
		case <-f.disk.letGo:
		}
	}
	return f.file.ReadAt(b, off)
}

func TestASlowReadDelaysNoAnswer(t *testing.T) {
	t.Parallel()
	d := &stuckDisk{disk: newMemDisk()}
	s := must(open("/spool", quiet(Options{}), d))(t)
	put(t, s, "a")
	d.reading, d.letGo = make(chan struct{}), make(chan struct{})
	got := make(chan Batch)
	go func() {
		b, _ := s.Next(10, 100)
		got <- b
	}()
	<-d.reading
	put(t, s, "b", "c")
	if err := s.Room(); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Records != 3 {
		t.Errorf("%+v", st)
	}
	close(d.letGo)
	if b := <-got; len(b.Records) == 0 {
		t.Error("nothing came")
	}
}

func TestWhatIsAppendedWhileTheEndIsReadIsNotPassedOver(t *testing.T) {
	t.Parallel()
	mem := newMemDisk()
	d := &stuckDisk{disk: mem}
	s := must(open("/spool", quiet(Options{SegmentBytes: 2 * windowBytes}), d))(t)
	put(t, s, strings.Repeat("a", windowBytes))
	mem.names["/spool/"+segmentName(1)].data[offsetOf(1)] ^= 1 // so that there is something to read
	d.reading, d.letGo = make(chan struct{}), make(chan struct{})
	got := make(chan Batch)
	go func() {
		b, _ := s.Next(10, 1<<30)
		got <- b
	}()
	<-d.reading
	put(t, s, "b", strings.Repeat("c", 2*windowBytes)) // in the same segment, and in the next one
	close(d.letGo)
	wantTexts(t, texts(<-got), "b", strings.Repeat("c", 2*windowBytes))
}

func TestAllMayBeCalledAtTheSameTime(t *testing.T) {
	t.Parallel()
	const batches = 300
	s := openIn(t, t.TempDir(), Options{SegmentBytes: 2000})
	var running sync.WaitGroup
	written := make(chan struct{})
	running.Go(func() {
		defer close(written)
		for i := range batches {
			if _, err := s.Append([][]byte{fmt.Appendf(nil, "%d.0", i), fmt.Appendf(nil, "%d.1", i)}, noon); err != nil {
				t.Error(err)
			}
		}
	})
	running.Go(func() {
		for {
			select {
			case <-written:
				return
			default:
				if st := s.Stats(); st.Records < 0 || st.Lost != 0 {
					t.Errorf("%+v", st)
				}
				_ = s.Room()
			}
		}
	})
	var all []string
	for more := true; more; {
		select {
		case <-written:
			more = false // once more, for what came meanwhile
		default:
		}
		all = append(all, takeAll(t, s)...)
	}
	running.Wait()
	if len(all) != 2*batches {
		t.Fatalf("%d of %d records came out", len(all), 2*batches)
	}
	for i, text := range all {
		if want := fmt.Sprintf("%d.%d", i/2, i%2); text != want {
			t.Fatalf("record %d is %q", i, text)
		}
	}
}

// logged collects what a spool logs.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// errors are the lines of level error.
func (l *logged) errors() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, "level=ERROR") {
			lines = append(lines, line)
		}
	}
	return lines
}
