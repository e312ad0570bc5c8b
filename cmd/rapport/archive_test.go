package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rapport/store/storetest"
)

// TestTheArchiveAloneBringsALostServerBack is the disaster: nothing is left but the
// archive.
func TestTheArchiveAloneBringsALostServerBack(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), filepath.Join(t.TempDir(), "archive")
	env := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	p := serve(t, nil, env)
	at := float64(time.Now().Add(-time.Hour).Unix())
	for i := range 5 {
		if got := p.post(chat(fmt.Sprint("s", i%2), fmt.Sprint("message ", i), at+float64(i))); got.Code != 200 {
			t.Fatalf("got %+v", got)
		}
	}
	p.folded("5")
	p.kill()
	p = serve(t, []string{"--archive", dir}, env) // of what is there already, nothing waits for a block to be full
	var metrics string
	eventually(t, "the archive has the whole log", func() bool {
		metrics = fetch(t, p.base+"/metrics", "")
		return strings.Contains(metrics, `rapport_follower_lag_events{follower="archive"} 0`)
	})
	if !strings.Contains(metrics, "rapport_archive_objects_pending") {
		t.Errorf("no archive in the metrics:\n%s", metrics)
	}
	p.kill()

	lost := storetest.New(t)
	owner := "RAPPORT_OWNER_DATABASE_URL=" + lost.URL("rapport_owner")
	env = "RAPPORT_DATABASE_URL=" + lost.URL("rapport_server")
	if out, stderr, code := runRapport(t, []string{"restore", "--check", dir}); code != 0 || !strings.HasPrefix(out, "5 events up to position 5") {
		t.Fatalf("restore --check: %d %s%s", code, out, stderr)
	}
	if out, stderr, code := runRapport(t, []string{"restore", dir}, env, owner); code != 0 || !strings.HasPrefix(out, "5 events restored, up to position 5") {
		t.Fatalf("restore: %d %s%s", code, out, stderr)
	}
	if c := verifyJSON(t, env).Counts; c.InLog != 5 || c.InSessions != 5 {
		t.Errorf("5 events in sessions: %+v", c)
	}
	if _, stderr, code := runRapport(t, []string{"restore", dir}, env, owner); code != 1 || !strings.Contains(stderr, "is not empty") {
		t.Errorf("a second restore: %d %s", code, stderr)
	}
	serve(t, []string{"--archive", dir}, env).folded("5")
}

func TestAnArchiveThatCannotBeReadIsAClearError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, want string }{
		{"ftp://somewhere", "can't be opened"},
		{filepath.Join(t.TempDir(), "nothing"), "can't be opened"},
		{t.TempDir(), "there is no archive"},
	} {
		out, stderr, code := runRapport(t, []string{"restore", "--check", c.url})
		if code != 1 || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: %d %s%s, want %q in a line", c.url, code, out, stderr, c.want)
		}
	}
	if entries, _ := os.ReadDir("nothing"); entries != nil {
		t.Error("a directory was made")
	}
}
