package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	domain "rapport"
	"rapport/api/webhook"
	"rapport/internal/conformance"
	"rapport/store/storetest"
)

// The two calls of the sender's "Manual Testing".
const (
	roomJoin = `{
    "agent_id": "test_agent",
    "event_type": "room.join",
    "data": {
      "room_name": "test-room",
      "participant_count": 1,
      "session_id": "session_123"
    },
    "timestamp": 1705312200.0
  }`
	chatPush = `{
    "agent_id": "test_agent",
    "event_type": "chat.push",
    "data": {
      "role": "user",
      "message": "Hello!",
      "session_id": "session_123",
      "timestamp": 1705312260.0
    },
    "timestamp": 1705312260.0
  }`
)

func TestFromAWebhookToASession(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := serve(t, []string{"--data-dir", dir})
	for i, body := range []string{roomJoin, chatPush} {
		got := p.post(body, "X-bitHuman-Signature", "sha256=...")
		if got.Code != 200 || got.Status != "success" || got.Position != int64(i+1) || got.Duplicate {
			t.Errorf("delivery %d: got %+v", i, got)
		}
	}
	var page sessionPage
	if code := p.get("/sessions?min_position=2", &page); code != 200 || len(page.Data) != 1 || page.Data[0].EventCount != 2 {
		t.Errorf("GET /sessions: %d %+v", code, page)
	}

	t.Run("psql reads it as the reader", func(t *testing.T) {
		url, stderr, code := runRapport(t, []string{"db", "url", "--data-dir", dir})
		if code != 0 {
			t.Fatal(stderr)
		}
		conn, err := pgx.Connect(t.Context(), strings.TrimSpace(url))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		var tier string
		if err := conn.QueryRow(t.Context(), "SELECT engagement_tier FROM analytics.sessions").Scan(&tier); err != nil || tier != "engaged" {
			t.Errorf("got %q, %v", tier, err)
		}
	})
	t.Run("a second server on the directory is refused", func(t *testing.T) {
		_, stderr, code := runRapport(t, []string{"serve", "--listen", "127.0.0.1:0", "--data-dir", dir})
		oneLineError(t, stderr, code, dir)
	})
	t.Run("SIGTERM ends it, its Postgres included", func(t *testing.T) {
		p.terminate()
		if pid := postgresOf(dir); pid != 0 {
			t.Errorf("Postgres is still there: %d", pid)
		}
	})
	t.Run("a restart remembers, and knows a retry again", func(t *testing.T) {
		p := serve(t, []string{"--data-dir", dir})
		if got := p.post(chatPush); got.Position != 2 || !got.Duplicate {
			t.Errorf("got %+v, want the duplicate of position 2", got)
		}
		p.kill()
	})
	t.Run("after kill -9 nothing answered is lost, and Postgres is taken over", func(t *testing.T) {
		orphan := postgresOf(dir)
		if orphan == 0 {
			t.Fatal("no Postgres is left to take over")
		}
		p := serve(t, []string{"--data-dir", dir})
		if postgresOf(dir) != orphan {
			t.Error("Postgres was started anew")
		}
		var page sessionPage
		if code := p.get("/sessions?min_position=2", &page); code != 200 || len(page.Data) != 1 {
			t.Errorf("GET /sessions: %d %+v", code, page)
		}
		p.terminate()
		eventually(t, "the orphan ends with its new server", func() bool { return postgresOf(dir) == 0 })
	})
}

func TestAnOrdinaryUserCanServe(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		return // every other test shows it
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	dir := dataDir(t)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	binary := dir + "/rapport" // where nobody may look
	if err := exec.Command("cp", os.Args[0], binary).Run(); err != nil {
		t.Fatal(err)
	}
	cmd := command([]string{"serve", "--listen", "127.0.0.1:0"}, "HOME="+dir, "XDG_DATA_HOME=")
	cmd.Path, cmd.Dir = binary, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	p := start(t, cmd)
	if got := p.post(roomJoin); got.Code != 200 {
		t.Errorf("got %+v", got)
	}
	p.terminate()
	if _, err := os.Stat(dir + "/.local/share/rapport/postgres"); err != nil {
		t.Error(err)
	}
}

func TestAPipelineEndsWithTheServer(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = read.Close() }()
	cmd := command([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", dataDir(t)})
	cmd.Stdout = write
	p := start(t, cmd)
	_ = write.Close()
	p.terminate()
	if err := read.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := read.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the pipe is still open: %v", err)
	}
}

func TestProofs(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	p := serve(t, nil, "RAPPORT_DATABASE_URL="+db.URL("rapport_server"),
		"RAPPORT_WEBHOOK_SECRET=old-secret,new-secret", "RAPPORT_WEBHOOK_TOKEN=token", "RAPPORT_API_TOKEN=reader")
	signature := webhook.SignLegacy("new-secret", []byte(roomJoin))
	for name, c := range map[string]struct {
		headers []string
		want    int
	}{
		"none":                               {nil, 401},
		"a signature":                        {[]string{"X-bitHuman-Signature", signature}, 200},
		"a wrong signature":                  {[]string{"X-bitHuman-Signature", "sha256=..."}, 401},
		"a token":                            {[]string{"X-Webhook-Secret", "token"}, 200},
		"a token beside a wrong signature":   {[]string{"X-API-Key", "token", "X-bitHuman-Signature", "sha256=00"}, 401},
		"a token beside the right signature": {[]string{"Authorization", "Bearer token", "X-bitHuman-Signature", signature}, 200},
		"the token for reading is no proof":  {[]string{"Authorization", "Bearer reader"}, 401},
	} {
		if got := p.post(roomJoin, c.headers...); got.Code != c.want {
			t.Errorf("%s: got %d, want %d", name, got.Code, c.want)
		}
	}
	var page sessionPage
	if code := p.get("/sessions", &page); code != 401 {
		t.Errorf("a read without a token: got %d", code)
	}
	if code := p.get("/sessions", &page, "Authorization", "Bearer reader"); code != 200 {
		t.Errorf("a read with the token: got %d", code)
	}
}

func TestTwoServersOnOneDatabase(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	url := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	servers := []*process{serve(t, nil, url), serve(t, nil, url)}

	t.Run("one body a thousand times at once is one event", func(t *testing.T) {
		var fresh atomic.Int64
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				for range 25 {
					got, err := servers[i%2].tryPost(chatPush)
					if err != nil || got.Code != 200 || got.Position != 1 {
						t.Errorf("got %+v, %v", got, err)
						return
					}
					if !got.Duplicate {
						fresh.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if fresh.Load() != 1 {
			t.Errorf("%d were said to be new, want 1", fresh.Load())
		}
	})

	t.Run("while one is frozen in the middle of its batches the other goes on", func(t *testing.T) {
		frozen, other := servers[0], servers[1]
		// The frozen one's clients wait as long as it is frozen; they end with the test.
		stop := make(chan struct{})
		var load sync.WaitGroup
		for i := range 16 {
			load.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
						_, _ = frozen.tryPost(chat(fmt.Sprint("frozen ", i), fmt.Sprint(n), 1790607253+float64(n)))
					}
				}
			})
		}
		for round := range 5 {
			// In the middle of the load, each time at another moment of a batch.
			for n := range 20 + 7*round {
				other.post(chat("before", fmt.Sprint(round, n), 1790607253))
			}
			if err := frozen.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			got := other.post(chat("beside", fmt.Sprint(round), 1790607253))
			if waited := time.Since(began); got.Code != 200 || waited > 10*time.Second {
				t.Errorf("round %d: the other answered %+v after %v", round, got, waited)
			}
			var page sessionPage
			if code := other.get(fmt.Sprintf("/sessions?session_id=beside&wait=20s&min_position=%d", got.Position), &page); code != 200 {
				t.Errorf("round %d: the rollups do not follow: %d", round, code)
			}
			if err := frozen.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		}
		close(stop)
		load.Wait()
	})

	for _, p := range servers {
		p.terminate()
	}
}

func TestStartRefused(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	newer := storetest.New(t)
	newer.Exec(t, "rapport_owner", "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)")
	old := storetest.NewEmpty(t, "template0")

	local := []string{"serve", "--listen", "127.0.0.1:0"}
	for name, c := range map[string]struct {
		args []string
		env  []string
		says string
	}{
		"an address in use":                     {[]string{"serve", "--listen", taken.Addr().String(), "--database-url", db.URL("rapport_server")}, nil, "address already in use"},
		"an address that is none":               {[]string{"serve", "--listen", "8080"}, nil, "HOST:PORT"},
		"a database that can't be reached":      {local, []string{"RAPPORT_DATABASE_URL=postgres://rapport:secret@127.0.0.1:1/rapport"}, "connect"},
		"a URL that is none":                    {local, []string{"RAPPORT_DATABASE_URL=postgres://user:secret@host:port/x"}, "postgres://"},
		"a URL with a wrong port":               {local, []string{"RAPPORT_DATABASE_URL=postgres://user:secret@127.0.0.1:999999/x"}, "percent-encoded"},
		"a password with an @ in it":            {local, []string{"RAPPORT_DATABASE_URL=postgres://user:top@secret@127.0.0.1:1/x"}, "percent-encoded"},
		"a password with a slash in it":         {local, []string{"RAPPORT_DATABASE_URL=postgres://user:top/secret word@127.0.0.1:1/x"}, "percent-encoded"},
		"a token that no header can carry":      {local, []string{"RAPPORT_API_TOKEN=secret "}, "RAPPORT_API_TOKEN"},
		"an owner of no database":               {local, []string{"RAPPORT_OWNER_DATABASE_URL=" + db.URL("rapport_owner")}, "--database-url"},
		"a newer schema":                        {local, []string{"RAPPORT_DATABASE_URL=" + newer.URL("rapport_server")}, "newer"},
		"an old schema, without the rights":     {local, []string{"RAPPORT_DATABASE_URL=" + old.URL("rapport_server")}, "RAPPORT_OWNER_DATABASE_URL"},
		"an old schema, told not to migrate":    {append(local, "--no-migrate"), []string{"RAPPORT_DATABASE_URL=" + old.URL("rapport_owner")}, "rapport migrate"},
		"not on loopback, without secrets":      {[]string{"serve", "--listen", "0.0.0.0:0"}, nil, "RAPPORT_WEBHOOK_SECRET"},
		"not on loopback, without a read token": {[]string{"serve", "--listen", ":0"}, []string{"RAPPORT_WEBHOOK_SECRET=s"}, "RAPPORT_API_TOKEN"},
		"secrets that are none":                 {local, []string{"RAPPORT_WEBHOOK_SECRET= , "}, "RAPPORT_WEBHOOK_SECRET"},
		"an unknown flag":                       {append(local, "--bogus"), nil, "--bogus"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, stderr, code := runRapport(t, c.args, c.env...)
			oneLineError(t, stderr, code, c.says)
			if strings.Contains(stderr, "secret") && strings.Contains(c.says, "percent") {
				t.Errorf("the password is in the error: %s", stderr)
			}
		})
	}
}

// oneLineError checks that a command ended with code 1 and one line that says
// what is wrong.
func oneLineError(t *testing.T, stderr string, code int, says string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	last := lines[len(lines)-1]
	if code != 1 || len(lines) != 1 || !strings.HasPrefix(last, "rapport: ") || !strings.Contains(last, says) {
		t.Errorf("exit code %d, want 1 and one line that says %q:\n%s", code, says, stderr)
	}
}

func TestAnOwnerWhoMayNotGrantIsTold(t *testing.T) {
	t.Parallel()
	db := storetest.NewEmpty(t, "template0")
	db.Exec(t, "postgres", `DO $$ BEGIN
		CREATE ROLE lone_owner LOGIN;
		EXECUTE format('ALTER DATABASE %I OWNER TO lone_owner', current_database());
	END $$`)
	_, stderr, code := runRapport(t, []string{"migrate"}, "RAPPORT_DATABASE_URL="+db.URL("lone_owner"))
	if code != 0 || !strings.Contains(stderr, "may not be made a member of rapport_reader") {
		t.Errorf("the administrator is not told what to do: %q", stderr)
	}
}

// TestServersStartAtOnce: one finds the tables that another has just made, before that
// one has given it rights.
func TestServersStartAtOnce(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.Exec(t, "rapport_owner", "REVOKE ALL ON goose_db_version FROM rapport_server")
	p := serve(t, nil, "RAPPORT_DATABASE_URL="+db.URL("rapport_server"), "RAPPORT_OWNER_DATABASE_URL="+db.URL("rapport_owner"))
	p.post(roomJoin)
}

func TestMigrateAndTwoRoles(t *testing.T) {
	t.Parallel()
	db := storetest.NewEmpty(t, "template0")
	env := []string{"RAPPORT_DATABASE_URL=" + db.URL("rapport_server"), "RAPPORT_OWNER_DATABASE_URL=" + db.URL("rapport_owner")}
	for range 2 {
		_, stderr, code := runRapport(t, []string{"migrate"}, env...)
		if code != 0 {
			t.Fatal(stderr)
		}
		if strings.Contains(stderr, "warning") {
			t.Errorf("warned of nothing: %q", stderr)
		}
	}
	p := serve(t, []string{"--no-migrate"}, env...)
	if strings.Contains(p.output(), "triggers alone") {
		t.Errorf("the server's role owns the log:\n%s", p.output())
	}
	p.post(roomJoin)
	single := serve(t, nil, "RAPPORT_DATABASE_URL="+db.URL("rapport_owner"))
	eventually(t, "a single role is told of", func() bool { return strings.Contains(single.output(), "triggers alone") })
	db.Exec(t, "postgres", "GRANT rapport_reader TO rapport_server") // as where the owner made the roles
	for role, want := range map[string]string{"reader": "rapport_reader", "server": "rapport_server", "owner": "rapport_owner"} {
		url, stderr, code := runRapport(t, []string{"db", "url", "--role", role}, env...)
		if code != 0 {
			t.Fatal(stderr)
		}
		conn, err := pgx.Connect(t.Context(), strings.TrimSpace(url))
		if err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		var is string
		if err := conn.QueryRow(t.Context(), "SELECT current_user").Scan(&is); err != nil || is != want {
			t.Errorf("%s: got %q, %v", role, is, err)
		}
		_ = conn.Close(t.Context())
	}
}

func TestChangedSettingsAreRefused(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	change := func(seconds int) { db.Exec(t, "rapport_owner", "UPDATE settings SET idle_timeout_s = $1", seconds) }
	change(60)
	p := serve(t, nil, env) // nothing was made yet: any settings will do
	p.post(chatPush)
	var page sessionPage
	p.get("/sessions?min_position=1", &page)
	p.terminate()
	change(1800)
	_, stderr, code := runRapport(t, []string{"serve", "--listen", "127.0.0.1:0"}, env)
	oneLineError(t, stderr, code, "settings")
	change(60)
	serve(t, nil, env)
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	p := serve(t, nil, env)
	future := chat("s", "soon", float64(time.Now().Add(48*time.Hour).Unix()))
	for _, body := range []string{"not JSON", "{}", future, future} {
		if got := p.post(body); got.Code != 422 || got.Detail == "" {
			t.Errorf("%s: got %+v", body, got)
		}
	}
	list, _, _ := runRapport(t, []string{"quarantine", "list"}, env)
	if strings.Count(list, "\n") != 4 {
		t.Errorf("want a heading and three entries:\n%s", list)
	}
	var listed struct {
		Data []struct {
			Reason    string
			SeenCount int `json:"seen_count"`
		}
	}
	if code := p.get("/quarantine", &listed); code != 200 || len(listed.Data) != 3 || listed.Data[0].SeenCount != 2 {
		t.Errorf("GET /quarantine: %d %+v", code, listed)
	}
	// What time heals: the same delivery, as if it had come two days later.
	db.Exec(t, "rapport_owner", "UPDATE quarantine SET body = $1 WHERE id = 3", []byte(chat("s", "now", float64(time.Now().Unix()))))
	replayed, stderr, code := runRapport(t, []string{"quarantine", "replay"}, env)
	if code != 0 || !strings.Contains(replayed, "1 replayed, 0 of them duplicates, 2 still in the quarantine") {
		t.Errorf("replay: %d %s%s", code, replayed, stderr)
	}
	var page sessionPage
	if code := p.get("/sessions?min_position=1", &page); code != 200 || len(page.Data) != 1 {
		t.Errorf("GET /sessions: %d %+v", code, page)
	}
}

// TestConversationsEqualTheReference sends conversations in all three
// generations, shuffled and a tenth of them twice, and compares every field of
// every session with an independent computation.
func TestConversationsEqualTheReference(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	p := serve(t, nil, "RAPPORT_DATABASE_URL="+db.URL("rapport_server"), "RAPPORT_WEBHOOK_SECRET=secret")
	said := []string{
		"Hello!", "hello", "Where is my order?", "This is awful, I am angry.", "Great, thanks a lot!", "😀 merci", "No.",
		"I would like a table for two.", "WHERE is my order", "", "Do you have vegetarian dishes?",
	}
	var dialogues []conformance.Dialogue
	for i := range 60 {
		d := conformance.Dialogue{ID: fmt.Sprint("dialogue ", i)}
		for n := range i % 13 {
			role := []string{"user", "assistant"}[(n+i/13)%2]
			d.Turns = append(d.Turns, conformance.Turn{Role: role, Text: said[(i+n*n)%len(said)]})
		}
		dialogues = append(dialogues, d)
	}
	deliveries := conformance.Generate(dialogues, conformance.Options{Seed: 1, Base: time.Now(), Days: 3})
	report, err := conformance.Check(t.Context(), client, p.base, deliveries, conformance.CheckOptions{
		Seed: 1, Connections: 16, Secret: "secret", Settings: domain.DefaultSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range report.Differences {
		t.Error(difference)
	}
}
