package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"rapport/store/storetest"
)

// filesWith are the files below a directory that have a text.
func filesWith(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			if os.IsNotExist(err) {
				return nil // Postgres removes files all the time
			}
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil && bytes.Contains(content, []byte(text)) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// visit delivers a visitor's conversation whose every text has a mark.
func (p *process) visit(session, mark string, at float64) (bodies []string) {
	p.t.Helper()
	bodies = []string{
		fmt.Sprintf(`{"event":"room_join","agentId":"a","sessionId":%q,"timestamp":%f,"user":{"id":"user-%s","name":"Name %s","ip":"%s"},"room":{"name":"room %s"}}`,
			session, at, mark, mark, mark, mark),
		chat(session, "I said "+mark, at+1), chat(session, "and again "+mark, at+2),
		fmt.Sprintf(`{"event":"agent_error","agentId":"a","sessionId":%q,"timestamp":%f,"error":{"code":%q,"message":%q}}`, session, at+3, mark, mark),
		fmt.Sprintf(`{"event":"session_end","agentId":"a","sessionId":%q,"timestamp":%f,"session":{"endReason":%q}}`, session, at+4, mark),
	}
	for i, body := range bodies {
		if got := p.post(body, "webhook-id", "delivery "+mark); got.Code != 200 {
			p.t.Fatalf("delivery %d: %+v", i, got)
		}
	}
	return bodies
}

func eraseAt(t *testing.T, dir string, args ...string) string {
	t.Helper()
	stdout, stderr, code := runRapport(t, append([]string{"erase", "--yes", "--data-dir", dir}, args...))
	if code != 0 {
		t.Fatalf("rapport erase: %s%s", stdout, stderr)
	}
	return stdout + stderr
}

func TestErasingFromTheFiles(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := serve(t, []string{"--data-dir", dir})
	const mark, second, other = "Quokka7Marigold", "Zeppelin4Thistle", "Kestrel9Bystander"
	bodies := p.visit("s1", mark, 1790000000)
	p.visit("s2", mark, 1790100000)
	p.visit("s3", other, 1790000000)
	p.visit("s4", second, 1787000000)
	for _, text := range []string{mark, second} {
		if got := p.post(fmt.Sprintf(`{"user":{"id":"user-%s"}, "broken %s"`, text, text)); got.Code != http.StatusUnprocessableEntity {
			t.Fatalf("%+v", got)
		}
	}
	if err := syscall.Kill(postgresOf(dir), syscall.SIGKILL); err != nil { // so that something is spooled
		t.Fatal(err)
	}
	if got := p.post(chat("s1", "spooled "+mark, 1790000001.5)); got.Code != 200 {
		t.Fatalf("%+v", got)
	}
	eventually(t, "all is folded", func() bool {
		var page sessionPage
		p.get("/sessions", &page)
		events := int64(0)
		for _, s := range page.Data {
			events += s.EventCount
		}
		return events == 21
	})
	owner := connectAs(t, dir, "owner")
	eventually(t, "all is searchable", func() bool {
		var is bool
		err := owner.QueryRow(t.Context(), "SELECT s.position = h.position FROM followers s, log_head h WHERE s.name = 'search'").Scan(&is)
		return err == nil && is
	})
	if _, err := owner.Exec(t.Context(), "ANALYZE"); err != nil {
		t.Fatal(err)
	}
	if len(filesWith(t, dir, mark)) == 0 {
		t.Fatal("the mark is in no file before: the test looks at the wrong ones")
	}

	t.Run("a dry run erases nothing", func(t *testing.T) {
		if out := eraseAt(t, dir, "--user", "user-"+mark, "--dry-run"); !strings.Contains(out, "2 conversations, 11 events, 5 of them messages; 1 bodies") {
			t.Error(out)
		}
	})
	t.Run("beside a running server", func(t *testing.T) {
		out := eraseAt(t, dir, "--user", "user-"+mark, "--physical")
		if strings.Contains(out, mark) || strings.Contains(out, "left to you") {
			t.Error(out)
		}
		for _, text := range []string{mark, strings.ToLower(mark)} { // the search has words in lower case
			if found := filesWith(t, dir, text); len(found) > 0 {
				t.Errorf("%s is still in %v", text, found)
			}
		}
		if !strings.Contains(out, "11 events of 2 conversations") {
			t.Error(out)
		}
	})
	t.Run("the server goes on, and lets go what comes again", func(t *testing.T) {
		for _, body := range bodies {
			if got := p.post(body); got.Code != 200 || got.Status != "success" || got.Position != 0 {
				t.Errorf("%+v", got)
			}
		}
		if got := p.post(chat("s9", "hello", 1790000000)); got.Code != 200 || got.Position == 0 {
			t.Errorf("%+v", got)
		}
		if strings.Contains(p.output(), mark) {
			t.Error("its log has the mark")
		}
	})
	_ = owner.Close(t.Context())
	p.terminate()
	t.Run("without a server", func(t *testing.T) {
		eraseAt(t, dir, "--session", "s4", "--physical")
		for _, text := range []string{mark, second} {
			if found := filesWith(t, dir, "said "+text); len(found) > 0 {
				t.Errorf("%s is still in %v", text, found)
			}
		}
		if len(filesWith(t, dir, other)) == 0 {
			t.Error("somebody else is gone")
		}
	})
	t.Run("it verifies", func(t *testing.T) {
		if stdout, stderr, code := runRapport(t, []string{"verify", "--data-dir", dir}); code != 0 {
			t.Error(stdout, stderr)
		}
	})
	t.Run("what is unknown is an error", func(t *testing.T) {
		_, stderr, code := runRapport(t, []string{"erase", "--yes", "--data-dir", dir, "--session", "nobody"})
		if code != 1 || !strings.Contains(stderr, "rapport: nothing is known of this session\n") {
			t.Error(code, stderr)
		}
	})
}

func connectAs(t *testing.T, dir, role string) *pgx.Conn {
	t.Helper()
	link, stderr, code := runRapport(t, []string{"db", "url", "--role", role, "--data-dir", dir})
	if code != 0 {
		t.Fatal(stderr)
	}
	conn, err := pgx.Connect(t.Context(), strings.TrimSpace(link))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestErasingIsAskedFor(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	p := serve(t, []string{"--no-spool"}, env)
	p.post(chat("s1", "Xylophone", 1790000000))
	for _, args := range [][]string{
		{}, {"--session", "s1", "--user", "u"}, {"--user", "u", "--agent", "a"}, {"--session", "s1", "--user", "u", "--agent", "a"},
	} {
		_, stderr, code := runRapport(t, append([]string{"erase", "--yes"}, args...), env)
		oneLineError(t, stderr, code, "name what is to be erased")
	}
	stdout, stderr, code := runWith(t, "no\n", []string{"erase", "--session", "s1"}, env)
	if code != 1 || !strings.Contains(stdout, "1 conversations, 1 events, 1 of them messages") || !strings.Contains(stderr, "nothing was erased") {
		t.Error(code, stdout, stderr)
	}
	if stdout, stderr, code := runWith(t, "yes\n", []string{"erase", "--session", "s1", "--reason", "asked"}, env); code != 0 || !strings.Contains(stdout, "erasure 1: 1 events of 1 conversations, 1 sessions, 0 dead letters, 0 deliveries, 0 bodies") {
		t.Error(code, stdout, stderr)
	}
	if stdout, stderr, code := runRapport(t, []string{"erase", "--yes", "--session", "s1"}, env); code != 0 || !strings.Contains(stdout, "nothing is left to erase") {
		t.Error(code, stdout, stderr)
	}
	p.terminate()
}

func TestErasingWhatWaitsInASpool(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := serve(t, []string{"--data-dir", dir})
	const mark = "Wombat3Larkspur"
	p.post(chat("s1", "before", 1790000000))
	if err := syscall.Kill(postgresOf(dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"event":"chat_push","agentId":"a","sessionId":"s2","timestamp":1790000000,"user":{"id":"u1"},"message":{"role":"user","content":%q}}`, mark)
	if got := p.post(body); got.Code != 200 {
		t.Fatalf("%+v", got)
	}
	p.kill()
	if out := eraseAt(t, dir, "--user", "u1"); !strings.Contains(out, "1 events of 1 conversations") {
		t.Error(out)
	}
	// Nothing but the record of the erasure still knows of the user.
	eraseAt(t, dir, "--user", "u1", "--physical")
	if found := filesWith(t, dir, mark); len(found) > 0 {
		t.Errorf("still in %v", found)
	}
	if stdout, stderr, code := runRapport(t, []string{"verify", "--data-dir", dir}); code != 0 {
		t.Error(stdout, stderr)
	}
}

func TestErasingTellsOfFilesThatNoTableHas(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := serve(t, []string{"--data-dir", dir})
	p.visit("s1", "Quokka7Marigold", 1790000000)
	eraseAt(t, dir, "--session", "s1")
	tables, err := filepath.Glob(filepath.Join(dir, "postgres", "base", "*", "PG_VERSION"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	ours := slices.MaxFunc(tables, func(a, b string) int { return len(a) - len(b) }) // the others have numbers of one digit
	stray := filepath.Join(filepath.Dir(ours), "4000000000")
	if err := os.WriteFile(stray, []byte("rows"), 0o644); err != nil { // #nosec G306 -- Postgres's user looks at it
		t.Fatal(err)
	}
	if out := eraseAt(t, dir, "--session", "s1", "--physical"); !strings.Contains(out, "left to you: delete these files") || !strings.Contains(out, "/4000000000\n") {
		t.Error(out)
	}
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	if out := eraseAt(t, dir, "--session", "s1", "--physical"); strings.Contains(out, "left to you") {
		t.Error(out)
	}
}
