package archive_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rapport/aggregator/export/archive"
	"rapport/store"
	"rapport/store/storetest"
)

func TestARestoredDatabaseIsTheOneThatWasArchived(t *testing.T) {
	t.Parallel()
	db, dir := filled(t, 1, 12), directory(t)
	f := follower(t, db, dir)
	archived(t, db, f)
	fill(t, db, conversations(t, 2, 6)...)
	archived(t, db, f)

	got := restored(t, dir)
	requireSame(t, db, got)
	requireProved(t, db)
	requireProved(t, got)

	// It goes on in the same archive, and the old database does not any more.
	for _, d := range []*storetest.Database{db, got} {
		fill(t, d, says(t, "agent", "after", "user", "I came afterwards", noon))
	}
	archived(t, got, follower(t, got, dir))
	if _, err := f.Step(t.Context()); !errors.Is(err, archive.ErrOtherLog) {
		t.Errorf("the old database archives on: %v", err)
	}
	requireSame(t, got, restored(t, dir))
}

func TestWhatWasErasedOrHasGoneIsRestoredAsItWas(t *testing.T) {
	t.Parallel()
	db, dir := filled(t, 3, 18), directory(t)
	f := follower(t, db, dir)
	archived(t, db, f)
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "odd"})
	archived(t, db, f)
	day := 24 * time.Hour
	for _, r := range []store.Retention{
		{Messages: 20 * day},
		{Messages: 20 * day, Events: 28 * day, Sessions: 28 * day},
	} {
		if _, err := db.Retain(t.Context(), r, "cli:test", noon.AddDate(0, 0, 7)); err != nil {
			t.Fatal(err)
		}
		fill(t, db, says(t, "agent", "late", "user", "still here", noon.Add(time.Duration(r.Events))))
		archived(t, db, f)
		got := restored(t, dir)
		requireSame(t, db, got)
		requireProved(t, got)
	}
	erase(t, db, store.ErasureRequest{Kind: store.EraseAgent, AgentID: "A80HVD8577"})
	erase(t, db, store.ErasureRequest{Kind: store.EraseUser, UserID: "visitor"})
	archived(t, db, f)
	got := restored(t, dir)
	requireSame(t, db, got)
	requireProved(t, got)
	fill(t, got, says(t, "agent", "new", "user", "hello", noon.Add(time.Hour)))
	erase(t, got, store.ErasureRequest{Kind: store.EraseSession, SessionID: "new"})
	requireProved(t, got)
}

func TestADatabaseWithEventsIsNotOverwritten(t *testing.T) {
	t.Parallel()
	db, dir := filled(t, 4, 5), directory(t)
	archived(t, db, follower(t, db, dir))
	if err := restore(t, db, dir, func(int64) {}); !errors.Is(err, store.ErrNotEmpty) {
		t.Errorf("%v, want ErrNotEmpty", err)
	}
	got := restored(t, dir)
	if err := restore(t, got, dir, func(int64) {}); !errors.Is(err, store.ErrNotEmpty) {
		t.Errorf("%v, want ErrNotEmpty", err)
	}
	if _, err := archive.ReadManifest(t.Context(), bucket(t, directory(t))); !errors.Is(err, archive.ErrNoArchive) {
		t.Errorf("%v, want ErrNoArchive", err)
	}
}

func TestAnInterruptedRestoreGoesOn(t *testing.T) {
	t.Parallel()
	db, dir := filled(t, 5, 16), directory(t)
	archived(t, db, follower(t, db, dir))
	got := storetest.New(t)
	for _, at := range []int64{40, 80} {
		ctx, cut := context.WithCancel(t.Context())
		err := restoreUntil(ctx, t, got, dir, func(done int64) {
			if done >= at {
				cut()
			}
		})
		if err == nil {
			t.Fatal("it was not interrupted")
		}
		if err := got.MakeWith(t.Context(), store.SessionsFollower, settings(t, got)); !errors.Is(err, store.ErrRestoreUnfinished) {
			t.Errorf("a server that starts meanwhile: %v, want ErrRestoreUnfinished", err)
		}
		if _, err := store.BeginRebuild(t.Context(), got.URL("rapport_owner")); !errors.Is(err, store.ErrRestoreUnfinished) {
			t.Errorf("a rebuild meanwhile: %v, want ErrRestoreUnfinished", err)
		}
	}
	if err := restore(t, got, dir, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	requireSame(t, db, got)
	requireProved(t, got)
}

func TestWhoAppendsDuringARestoreIsNoticed(t *testing.T) {
	t.Parallel()
	db, dir := filled(t, 6, 12), directory(t)
	archived(t, db, follower(t, db, dir))
	got := storetest.New(t)
	appended := false
	err := restore(t, got, dir, func(done int64) {
		if done == 0 || appended {
			return
		}
		appended = true
		if _, err := got.Append(t.Context(), conversations(t, 7, 1)); err != nil {
			t.Error(err)
		}
	})
	if !errors.Is(err, store.ErrIntruder) {
		t.Errorf("%v, want ErrIntruder", err)
	}
}

func TestADamagedArchiveIsRefusedByName(t *testing.T) {
	t.Parallel()
	db, dir := filled(t, 8, 8), directory(t)
	db.Exec(t, "rapport_server", "UPDATE quarantine SET body = convert_to(repeat('x', 100000), 'UTF8')")
	archived(t, db, follower(t, db, dir))
	all := objects(t, dir)
	for name := range all {
		if strings.HasPrefix(name, "avatar-events/") {
			continue
		}
		for what, damage := range map[string]func(path string) error{
			"missing": os.Remove,
			"damaged": func(path string) error {
				text := []byte(all[name])
				text[len(text)/2] ^= 1
				return os.WriteFile(path, text, 0o600)
			},
			"cut": func(path string) error { return os.Truncate(path, int64(len(all[name])/3)) },
		} {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			err := check(t, dir)
			if isManifest := strings.HasSuffix(name, ".json"); err == nil || !isManifest && !strings.Contains(err.Error(), name) {
				t.Errorf("%s is %s: %v", name, what, err)
			}
			if err := os.WriteFile(path, []byte(all[name]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := check(t, dir); err != nil {
		t.Errorf("a whole archive: %v", err)
	}
}

// check proves an archive.
func check(t testing.TB, dir string) error {
	t.Helper()
	b := bucket(t, dir)
	m, err := archive.ReadManifest(t.Context(), b)
	if err != nil {
		return err
	}
	return archive.Check(t.Context(), b, m, decode, func(int64) {})
}
