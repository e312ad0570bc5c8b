package spool

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// FuzzSegment reads arbitrary bytes as a segment. Whatever they are, nothing panics, no more
// memory is taken than the file is long, and records come in order and from
// where they are.
func FuzzSegment(f *testing.F) {
	var id [16]byte
	seed := seedOf(id)
	valid := (&header{first: 1, id: id}).append(nil)
	for i := range uint64(3) {
		valid = appendRecord(valid, seed, i+1, int64(i), bytes.Repeat([]byte{'x'}, int(i)))
	}
	f.Add(valid, uint16(len(valid)), byte(0))
	f.Add(valid, uint16(headerBytes+3), byte(1))
	f.Add(valid[:len(valid)-1], uint16(0), byte(9))
	f.Add([]byte{}, uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, mask byte) {
		if int(at) < len(b) {
			b = bytes.Clone(b)
			b[at] ^= mask
		}
		_ = parseHeader(b)
		_ = beginsHeader(b)
		w := &window{file: bytes.NewReader(b), size: int64(len(b))}
		sc := scanner{src: w, seed: seed, sequence: 1, limit: maxSequence}
		var end int64
		var last uint64
		for {
			rec, ok, err := sc.next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if rec.sequence <= last || rec.off < end || rec.end > int64(len(b)) {
				t.Fatalf("%+v behind number %d at %d", rec, last, end)
			}
			if !bytes.Equal(rec.payload, b[rec.off+overheadBytes:rec.end]) {
				t.Fatal("the payload is not what is there")
			}
			last, end = rec.sequence, rec.end
		}
		if cap(w.buf) > len(b) {
			t.Fatalf("%d bytes of memory for %d bytes", cap(w.buf), len(b))
		}
		openArbitrary(t, b)
	})
}

// openArbitrary opens a spool with such a segment in it, which must stay usable.
func openArbitrary(t *testing.T, b []byte) {
	t.Helper()
	mem := newMemDisk()
	s := must(open("/spool", quiet(Options{SegmentBytes: 100}), mem))(t)
	s.disk = mem
	put(t, s, "before")
	f := must(mem.create(filepath.Join("/spool", segmentName(2))))(t)
	must(f.Write(b))(t)
	s = must(open("/spool", quiet(Options{SegmentBytes: 100}), mem))(t)
	put(t, s, "after")
	got := takeAll(t, s)
	if got[0] != "before" || got[len(got)-1] != "after" {
		t.Fatalf("%q", got)
	}
}

func TestAReaderTakesNoMoreMemoryThanTheFileIsLong(t *testing.T) {
	t.Parallel()
	b := make([]byte, 3*windowBytes)
	copy(b, []byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	w := &window{file: bytes.NewReader(b), size: int64(len(b))}
	sc := scanner{src: w, sequence: 1, limit: 10}
	if _, ok, err := sc.next(); ok || err != nil {
		t.Fatal(ok, err)
	}
	if cap(w.buf) > windowBytes {
		t.Fatalf("%d bytes", cap(w.buf))
	}
}

// A batch of an append is one write and one fsync, whatever its size.
func BenchmarkAppend(b *testing.B) {
	for _, records := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			s, err := Open(b.TempDir(), quiet(Options{}))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			batch := make([][]byte, records)
			for i := range batch {
				batch[i] = bytes.Repeat([]byte("x"), 1000)
			}
			start := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Append(batch, noon); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "appends/s")
		})
	}
}

// BenchmarkAppendWithoutDisk is what an append costs beside its fsync.
func BenchmarkAppendWithoutDisk(b *testing.B) {
	s, err := open("/spool", quiet(Options{MaxBytes: 1 << 60}), nullDisk{newMemDisk()})
	if err != nil {
		b.Fatal(err)
	}
	batch := make([][]byte, 10)
	for i := range batch {
		batch[i] = bytes.Repeat([]byte("x"), 1000)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Append(batch, noon); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDrain(b *testing.B) {
	s, err := Open(b.TempDir(), quiet(Options{}))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	batch := make([][]byte, 1000)
	for i := range batch {
		batch[i] = bytes.Repeat([]byte("x"), 1000)
	}
	b.SetBytes(1000 * 1000)
	for b.Loop() {
		b.StopTimer()
		if _, err := s.Append(batch, noon); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		got, err := s.Next(1000, 1<<30)
		if err != nil || len(got.Records) != 1000 {
			b.Fatal(len(got.Records), err)
		}
		if err := s.Drained(got.Last); err != nil {
			b.Fatal(err)
		}
	}
}

// nullDisk keeps nothing of what is written to segments.
type nullDisk struct{ disk }

type nullFile struct{ file }

func (d nullDisk) create(path string) (file, error) {
	f, err := d.disk.create(path)
	return nullFile{f}, err
}

func (nullFile) Write(b []byte) (int, error) { return len(b), nil }
