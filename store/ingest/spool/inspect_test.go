package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// contents are all files of a directory, with what is in them.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[entry.Name()] = string(text)
	}
	return found
}

func TestInspectTellsAndChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Inspect(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where there is no spool: %v", err)
	}
	s, err := Open(dir, Options{SegmentBytes: 200, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for range 10 {
		if _, err := s.Append([][]byte{make([]byte, 50), make([]byte, 50)}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Drained(7); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	got, err := Inspect(dir) // while it is in use
	if err != nil || got.ID != s.ID() || got.Last != 20 || got.Records < 13 || got.Kept > 7 || got.Lost+int64(got.Damaged) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
	after := contents(t, dir)
	if len(before) != len(after) {
		t.Errorf("there were %d files, and are %d", len(before), len(after))
	}
	for name, text := range before {
		if after[name] != text {
			t.Errorf("%s has changed", name)
		}
	}
}

func TestInspectFindsDamageAnywhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, Options{SegmentBytes: 200, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if _, err := s.Append([][]byte{make([]byte, 50), make([]byte, 50)}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, segmentName(s.segments[1].first))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[headerBytes+overheadBytes+10]++
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Inspect(dir); err != nil || got.Lost != 1 || got.Damaged != 1 || got.Records != 11 {
		t.Errorf("%+v, %v", got, err)
	}
}
