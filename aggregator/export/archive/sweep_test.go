package archive_test

import (
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rapport/aggregator/export/archive"
	"rapport/store"
	"rapport/store/storetest"
)

// TestWhoWakesUpLateOverwritesNothing freezes a process in the middle of an upload, and
// lets it end that when another one has taken over and has gone on.
func TestWhoWakesUpLateOverwritesNothing(t *testing.T) {
	t.Parallel()
	db, server := storetest.New(t), newS3(t)
	for what, upload := range map[string]string{"block": "/archive/events/", "manifest": "/archive/state/0"} {
		fill(t, db, says(t, "agent", what, "user", "hello", noon))
		archived(t, db, follower(t, db, server.url()))
		fill(t, db, says(t, "agent", "other", "user", what, noon.Add(time.Minute)))
		frozen, wake, slept := make(chan struct{}), make(chan struct{}), make(chan error)
		server.freeze(upload, frozen, wake)
		handOver(t, db)
		sleeper := follower(t, db, server.url())
		go func() { _, err := sleeper.Step(t.Context()); slept <- err }()
		<-frozen

		erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: what})
		handOver(t, db)
		archived(t, db, follower(t, db, server.url()))
		close(wake)
		if err := <-slept; !errors.Is(err, store.ErrArchiveLost) {
			t.Errorf("who woke up late: %v, want ErrArchiveLost", err)
		}
		requireWhole(t, db, server.url())
		handOver(t, db)
	}
}

// requireWhole wants the archive to be whole, and to have all of the log.
func requireWhole(t testing.TB, db *storetest.Database, url string) {
	t.Helper()
	m, err := archive.ReadManifest(t.Context(), bucket(t, url))
	if err == nil {
		err = check(t, url)
	}
	if err != nil {
		t.Fatal(err)
	}
	if head := storetest.Query(t, db, "postgres", pgx.RowTo[int64], "SELECT position FROM log_head")[0]; m.Position != head {
		t.Errorf("the archive comes to position %d of %d", m.Position, head)
	}
}

// freeze keeps the next PUT of a path until wake is closed.
func (s *s3) freeze(path string, frozen, wake chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = func(r *http.Request) {
		if r.Method != http.MethodPut || !strings.HasPrefix(r.URL.Path, path) {
			return
		}
		s.mu.Lock()
		s.hold = nil
		s.mu.Unlock()
		close(frozen)
		<-wake
	}
}

func TestABucketThatDoesNotAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	db, server := storetest.New(t), newS3(t)
	fill(t, db, says(t, "agent", "first", "user", "hello", noon))
	b := bucket(t, server.url())
	b.SetPatience(50 * time.Millisecond)
	f := archive.New(archive.Options{DB: db.DB, Watch: db.Watch, Bucket: b, Decode: decode, Delay: time.Nanosecond, Logger: storetest.Logger()})
	for _, method := range []string{http.MethodGet, http.MethodPut} {
		ended := make(chan struct{})
		server.mu.Lock()
		server.hold = func(r *http.Request) {
			if r.Method == method {
				<-ended
			}
		}
		server.mu.Unlock()
		if _, err := f.Step(t.Context()); err == nil {
			t.Errorf("nobody answers %s, and it is archived", method)
		}
		close(ended)
	}
}

// TestARestoredLogLeavesNoSessionBehindThatItDoesNotHave restores an archive of some
// minutes ago, behind which the lost server has closed sessions.
func TestARestoredLogLeavesNoSessionBehindThatItDoesNotHave(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), directory(t)
	fill(t, db, says(t, "agent", "kept", "user", "hello", noon))
	f := follower(t, db, dir)
	archived(t, db, f)
	before := objects(t, dir)
	fill(t, db, says(t, "agent", "lost", "user", "hello", noon), says(t, "agent", "kept", "user", "bye", noon.Add(time.Minute)))
	archived(t, db, f)
	after := objects(t, dir)
	for _, name := range append(in(after, "events/"), in(after, "state/")...) {
		remove(t, dir, name)
	}
	for name, content := range before {
		write(t, dir, name, content)
	}
	write(t, dir, "avatar-events/2025-09-28/12/of-somebody-else.json", "{}")

	got := restored(t, dir)
	archived(t, got, follower(t, got, dir))
	want := append(in(before, "avatar-events/"), "avatar-events/2025-09-28/12/of-somebody-else.json")
	left := objects(t, dir)
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(in(left, "avatar-events/")))); diff != "" {
		t.Errorf("the sessions in the bucket: %s", diff)
	}
	if name := in(before, "avatar-events/")[0]; strings.Contains(left[name], "bye") || !strings.Contains(left[name], "hello") {
		t.Errorf("the session is as it was with what is lost: %s", left[name])
	}
}

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
		t.Fatal(err)
	}
}

// TestAnOldServerDeletesNothingOfTheNewOne has a server that nobody tells anything any
// more sweep its bucket, in which a restored one has gone on.
func TestAnOldServerDeletesNothingOfTheNewOne(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), directory(t)
	fill(t, db, says(t, "agent", "first", "user", "hello", noon))
	old := follower(t, db, dir)
	archived(t, db, old)
	got := restored(t, dir)
	fill(t, got, says(t, "agent", "second", "user", "hello", noon))
	archived(t, got, follower(t, got, dir))

	old.Sweep()
	if _, err := old.Step(t.Context()); !errors.Is(err, archive.ErrOtherLog) {
		t.Errorf("the old server: %v, want ErrOtherLog", err)
	}
	requireWhole(t, got, dir)
}

// TestADirectoryThatWasAwayIsGoneOnIn has a directory vanish under a running server, as
// one that is mounted does, and come back.
func TestADirectoryThatWasAwayIsGoneOnIn(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), filepath.Join(directory(t), "mounted")
	fill(t, db, says(t, "agent", "first", "user", "hello", noon))
	f := follower(t, db, dir)
	archived(t, db, f)
	away := filepath.Join(directory(t), "away")
	if err := errors.Join(os.Rename(dir, away), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	fill(t, db, says(t, "agent", "second", "user", "hello", noon))
	if _, err := f.Step(t.Context()); err == nil {
		t.Error("nobody noticed")
	}
	handOver(t, db)
	f = follower(t, db, dir)
	archived(t, db, f)
	requireWhole(t, db, dir)

	if err := errors.Join(os.RemoveAll(dir), os.Rename(away, dir)); err != nil {
		t.Fatal(err)
	}
	fill(t, db, says(t, "agent", "third", "user", "hello", noon))
	_, _ = f.Step(t.Context())
	handOver(t, db)
	archived(t, db, follower(t, db, dir))
	requireSame(t, db, restored(t, dir))
}

// TestABucketIsPutInOrder has what a killed process leaves, a copy of a table that is
// gone, and a session that can't be written.
func TestABucketIsPutInOrder(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), directory(t)
	fill(t, db, says(t, "agent", "a", "user", "hello", noon), says(t, "agent", "b", "user", "hello", noon))
	if _, err := db.Quarantine(t.Context(), []byte(strings.Repeat("no ", 10_000)), "not JSON", nil, noon); err != nil {
		t.Fatal(err)
	}

	inTheWay := "avatar-events/2025-09-28/12/a-20250928T120000.000000Z.json"
	write(t, dir, inTheWay+"/in-the-way", "")
	f := follower(t, db, dir)
	if _, err := f.Step(t.Context()); err == nil {
		t.Error("nobody noticed that a session can't be written")
	}
	todo, err := db.ArchiveTodo(t.Context())
	if written := in(objects(t, dir), "avatar-events/2025-09-28/12/b-"); err != nil || len(written) != 1 || todo.Sessions != 1 {
		t.Errorf("%v are written, and %d are not: %v", written, todo.Sessions, err)
	}
	remove(t, dir, inTheWay+"/in-the-way")
	remove(t, dir, inTheWay)
	archived(t, db, f)

	before := objects(t, dir)
	for name := range before {
		write(t, dir, name+".18a5c3d2e4f60718.tmp", "half of it")
	}
	write(t, dir, "events/notes.tmp", "of somebody else")
	before["events/notes.tmp"] = "of somebody else"
	remove(t, dir, in(before, "state/quarantine-")[0])
	db.Exec(t, "rapport_server", "UPDATE archive_sessions SET dirty = true")
	handOver(t, db)
	archived(t, db, follower(t, db, dir))
	after := objects(t, dir)
	for _, objects := range []map[string]string{before, after} { // there is another manifest
		maps.DeleteFunc(objects, func(name, _ string) bool { return strings.HasPrefix(name, "state/0") })
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the directory has: %s", diff)
	}
	requireWhole(t, db, dir)
}

// TestAMonthThatGoesWhileItIsWrittenIsWrittenAgain drops events between the two moments
// in which a block is read and noted.
func TestAMonthThatGoesWhileItIsWrittenIsWrittenAgain(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	fill(t, db, says(t, "agent", "old", "user", "hello", noon.AddDate(0, -4, 0)), says(t, "agent", "new", "user", "hello", noon))
	a := db.NewArchive("test")
	if _, ok, err := a.Lease(t.Context(), time.Minute); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, _, err := a.Plan(t.Context(), store.BlockBounds{Events: 40, Bytes: 1 << 20}, true); err != nil {
		t.Fatal(err)
	}
	block, ok, err := a.TakeBlock(t.Context())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	day := 24 * time.Hour
	if _, err := db.Retain(t.Context(), store.Retention{Messages: 30 * day, Events: 60 * day, Sessions: 60 * day}, "cli:test", noon); err != nil {
		t.Fatal(err)
	}
	block.Object, block.Events, block.Oldest, block.Newest = "read before", 2, noon.AddDate(0, -4, 0), noon
	if kept, err := a.StoredBlock(t.Context(), block); err != nil || kept {
		t.Errorf("a block with what has gone: kept %v, %v", kept, err)
	}
}
