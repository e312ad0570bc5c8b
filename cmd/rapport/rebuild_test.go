package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	domain "rapport"
	"rapport/store/storetest"
)

// roles are the environment of a command that may rebuild.
func roles(db *storetest.Database) []string {
	return []string{
		"RAPPORT_DATABASE_URL=" + db.URL("rapport_server"), "RAPPORT_OWNER_DATABASE_URL=" + db.URL("rapport_owner"),
	}
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	p := serve(t, nil, roles(db)...)
	for i := range 4 {
		p.post(chat("s", fmt.Sprint("message ", i), 1790607253+float64(600*i)))
	}
	again := func() { p.terminate(); p = serve(t, nil, roles(db)...) }
	sessions := func(position int) int {
		var page sessionPage
		if code := p.get(fmt.Sprintf("/sessions?wait=20s&min_position=%d", position), &page); code != 200 {
			t.Fatalf("GET /sessions: %d", code)
		}
		return len(page.Data)
	}
	if n := sessions(4); n != 1 {
		t.Fatalf("%d sessions, want 1", n)
	}

	t.Run("with another idle timeout cuts other sessions", func(t *testing.T) {
		stdout, stderr, code := runRapport(t, []string{"rebuild", "--idle-timeout", "5m", "--frustration-words="}, roles(db)...)
		if code != 0 || !strings.HasPrefix(stdout, "4 sessions rebuilt from 4 events in ") || strings.Count(stdout, "\n") != 1 {
			t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
		}
		if n := sessions(4); n != 4 {
			t.Errorf("%d sessions, want 4", n)
		}
	})
	t.Run("and the running server goes on with it, and a new one too", func(t *testing.T) {
		p.post(chat("s", "message 5", 1790607253+2400))
		if n := sessions(5); n != 5 {
			t.Errorf("%d sessions, want 5", n)
		}
		again()
	})
	t.Run("without flags it keeps the settings", func(t *testing.T) {
		if _, stderr, code := runRapport(t, []string{"rebuild"}, roles(db)...); code != 0 {
			t.Fatal(stderr)
		}
		if n := sessions(5); n != 5 {
			t.Errorf("%d sessions, want 5", n)
		}
	})
	t.Run("takes rollups of other formulas over", func(t *testing.T) {
		db.Exec(t, "rapport_owner", "UPDATE settings SET score_version = $1", domain.ScoreVersion+1)
		_, stderr, code := runRapport(t, []string{"serve", "--listen", "127.0.0.1:0"}, roles(db)...)
		oneLineError(t, stderr, code, "")
		if _, stderr, code := runRapport(t, []string{"rebuild"}, roles(db)...); code != 0 {
			t.Fatal(stderr)
		}
		again()
	})
}

func TestRebuildOfThePrivateDatabase(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := serve(t, []string{"--data-dir", dir})
	p.post(chatPush)
	var page sessionPage
	p.get("/sessions?min_position=1", &page)
	for _, beside := range []string{"a running server", "none"} {
		stdout, stderr, code := runRapport(t, []string{"rebuild", "--data-dir", dir})
		if code != 0 || !strings.HasPrefix(stdout, "1 sessions rebuilt from 1 events") {
			t.Errorf("beside %s: exit code %d\n%s%s", beside, code, stdout, stderr)
		}
		if beside == "a running server" {
			p.terminate()
		}
	}
}

func TestARebuildThatIsKilled(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	p := serve(t, nil, roles(db)...)
	p.post(chatPush)
	var page sessionPage
	p.get("/sessions?min_position=1", &page)

	// A reader that does not end keeps it from its end.
	reader, err := pgx.Connect(t.Context(), db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close(context.Background()) }()
	if _, err := reader.Exec(t.Context(), "BEGIN; SELECT * FROM analytics.sessions"); err != nil {
		t.Fatal(err)
	}
	for signal, says := range map[syscall.Signal]string{syscall.SIGKILL: "", syscall.SIGINT: "run `rapport rebuild` again"} {
		cmd := command([]string{"rebuild"}, roles(db)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		rebuilding := func() bool {
			return len(storetest.Query(t, db, "rapport_owner", pgx.RowTo[int], `SELECT 1 FROM pg_locks l
				WHERE l.locktype = 'advisory' AND l.objsubid = 1
				  AND l.pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = 'rapport rebuild')
				  AND to_regclass('rapport_rebuild.session_texts') IS NOT NULL`)) > 0
		}
		eventually(t, "it is at work", rebuilding)
		_, second, code := runRapport(t, []string{"rebuild", "--log-level", "error"}, roles(db)...)
		oneLineError(t, second, code, "another rebuild")
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(stderr.String(), says) {
			t.Errorf("%v: %v\n%s", signal, err, stderr.String())
		}
		if p.get("/sessions", &page); len(page.Data) != 1 {
			t.Errorf("%v: %d sessions are left, want 1", signal, len(page.Data))
		}
	}
	if _, err := reader.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := runRapport(t, []string{"rebuild"}, roles(db)...); code != 0 {
		t.Errorf("it does not start again: %s", stderr)
	}
	if left := storetest.Query(t, db, "rapport_owner", pgx.RowTo[string],
		"SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'rapport\\_%'"); len(left) != 0 {
		t.Errorf("it left %v behind", left)
	}
}

func TestRebuildRefused(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for says, args := range map[string][]string{
		"--idle-timeout (RAPPORT_IDLE_TIMEOUT) must be":                   {"--idle-timeout=0s"},
		"from 1s to 24h, and is 1.5s":                                     {"--idle-timeout=1500ms"},
		"--active-gap-cap (RAPPORT_ACTIVE_GAP_CAP) must be":               {"--active-gap-cap=25h"},
		"--quick-answer (RAPPORT_QUICK_ANSWER) must be":                   {"--quick-answer=-1s"},
		"--frustration-sentiment (RAPPORT_FRUSTRATION_SENTIMENT) must be": {"--frustration-sentiment=-1.5"},
		"three decimals at most, and is 0.1234":                           {"--frustration-sentiment=0.1234"},
		"and is NaN":                                                      {"--frustration-sentiment=NaN"},
		"can't be \"?!\"":                                                 {"--frustration-words=bad,?!"},
		"holds nothing":                                                   {"--frustration-words=,"},
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			_, stderr, code := runRapport(t, append([]string{"rebuild"}, args...), roles(db)...)
			oneLineError(t, stderr, code, says)
		})
	}
	t.Run("without the owner's role", func(t *testing.T) {
		t.Parallel()
		_, stderr, code := runRapport(t, []string{"rebuild", "--log-level", "error"}, roles(db)[0])
		oneLineError(t, stderr, code, "RAPPORT_OWNER_DATABASE_URL")
	})
	t.Run("without any data", func(t *testing.T) {
		t.Parallel()
		_, stderr, code := runRapport(t, []string{"rebuild", "--data-dir", dataDir(t)})
		oneLineError(t, stderr, code, "there is no Rapport data")
	})
}
