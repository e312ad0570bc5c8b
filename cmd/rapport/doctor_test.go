package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rapport/store/storetest"
)

// examine runs the doctor, and returns what it found of a check, as "status found: advice".
func examine(t *testing.T, args []string, env ...string) func(check string) []string {
	t.Helper()
	out, stderr, code := runRapport(t, append([]string{"doctor", "--json"}, args...), env...)
	var report struct {
		Findings []finding
		Problems int
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v in:\n%s%s", err, out, stderr)
	}
	problems := 0
	for _, f := range report.Findings {
		if f.Status == findingProblem {
			problems++
		}
		if (f.Status == findingOK) != (f.Advice == "") {
			t.Errorf("what is not ok has advice, and nothing else: %+v", f)
		}
	}
	if problems != report.Problems || (code == 1) != (problems > 0) || code > 1 {
		t.Errorf("exit code %d, %d problems reported, %d counted:\n%s", code, report.Problems, problems, out)
	}
	return func(check string) (all []string) {
		for _, f := range report.Findings {
			if f.Check == check {
				all = append(all, f.Status+" "+f.Found+": "+f.Advice)
			}
		}
		return all
	}
}

// hasFinding checks that something was found of a check.
func hasFinding(t *testing.T, found []string, status, text string) {
	t.Helper()
	if !slices.ContainsFunc(found, func(one string) bool { return strings.HasPrefix(one, status+" ") && strings.Contains(one, text) }) {
		t.Errorf("want %s %q, found %q", status, text, found)
	}
}

func TestTheDoctorBesideAServerWithItsPrivatePostgres(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	token := "RAPPORT_API_TOKEN=0123456789abcdef0123456789abcdef"
	p := serve(t, []string{"--data-dir", dir}, token, "RAPPORT_WEBHOOK_TOKEN=fedcba9876543210fedcba9876543210")
	p.post(chat("s", "one", float64(time.Now().Unix())), "X-Webhook-Secret", "fedcba9876543210fedcba9876543210")
	args := []string{"--data-dir", dir, "--spool-max-bytes", "1", "--spool-min-free", "1"}
	out, stderr, code := runRapport(t, append([]string{"doctor"}, args...), token, "RAPPORT_WEBHOOK_TOKEN=fedcba9876543210fedcba9876543210")
	if code != 0 || stderr != "" {
		t.Errorf("all is well, exit code %d:\n%s%s", code, out, stderr)
	}
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, findingOK+" ") {
			t.Errorf("all is well, but: %s", line)
		}
	}
	p.terminate()
	t.Run("once that is stopped, it says so", func(t *testing.T) {
		found := examine(t, args, token)
		hasFinding(t, found("database"), findingProblem, "start rapport serve")
		hasFinding(t, found("disk"), findingOK, "free in")
		hasFinding(t, found("spool"), findingOK, "nothing waits")
	})
}

func TestTheDoctorFindsWhatIsWrongWithADatabase(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	server := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	p := serve(t, nil, server)
	p.post("no event")
	p.terminate()
	db.Exec(t, "rapport_owner", `INSERT INTO dead_letters (follower, position, agent_id, session_id, event_type, reason, attempts, failed_at)
		VALUES ('sessions', 1, 'a', 's', 'chat.push', 'it panicked', 3, now())`)
	db.Exec(t, "rapport_owner", "GRANT USAGE ON SCHEMA public TO rapport_reader")
	db.Exec(t, "rapport_owner", "GRANT SELECT ON events TO rapport_reader")
	db.Exec(t, "rapport_owner", "GRANT EXECUTE ON FUNCTION append_events TO PUBLIC")
	db.Exec(t, "rapport_owner", "UPDATE log_head SET position = position + 1, received_at = now() - interval '1 hour'")
	db.Exec(t, "rapport_owner", "INSERT INTO streams (name, destination, position) VALUES ('lake', 'kinesis://lake', 0)")
	db.Exec(t, "rapport_owner", "UPDATE archive SET log_id = 'log', leased_until = now()")
	found := examine(t, []string{"--data-dir", dataDir(t), "--lag-alarm", "0s"}, server)
	hasFinding(t, found("durability"), findingProblem, "fsync, full_page_writes: off") // as the tests' own Postgres has it
	hasFinding(t, found("dead letters"), findingWarning, "rapport dead-letters list")
	hasFinding(t, found("quarantine"), findingWarning, "1 of 1 bodies came within the last day")
	hasFinding(t, found("roles"), findingProblem, "rapport_reader sees more than analytics: public.events")
	hasFinding(t, found("roles"), findingProblem, "every role may call append_events")
	hasFinding(t, found("lag"), findingProblem, "behind the log")
	hasFinding(t, found("streams"), findingWarning, "nobody sends lake, which is 1 events behind")
	hasFinding(t, found("archive"), findingProblem, "could not be restored")
	hasFinding(t, found("deliveries"), findingOK, "none was given up")
	hasFinding(t, found("secrets"), findingWarning, "without proof")
	hasFinding(t, found("clock"), findingOK, "agree")

	t.Run("the owner as the server, which is none of its own", func(t *testing.T) {
		found := examine(t, []string{"--data-dir", dataDir(t)}, "RAPPORT_DATABASE_URL="+db.URL("rapport_owner"))
		hasFinding(t, found("roles"), findingWarning, "append-only by triggers alone")
	})
	t.Run("half a restore", func(t *testing.T) {
		db.Exec(t, "rapport_owner", "UPDATE archive SET restoring = 'state/1'")
		found := examine(t, []string{"--data-dir", dataDir(t)}, server)
		hasFinding(t, found("archive"), findingProblem, "run `rapport restore` again")
		for _, command := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"rebuild"}} {
			_, stderr, code := runRapport(t, append(command, "--data-dir", dataDir(t)), server, "RAPPORT_OWNER_DATABASE_URL="+db.URL("rapport_owner"))
			if code != 1 || !strings.Contains(stderr, "run `rapport restore` again") {
				t.Errorf("%s: %d %s", command[0], code, stderr)
			}
		}
	})
	t.Run("an old schema", func(t *testing.T) {
		empty := storetest.NewEmpty(t, "template0")
		found := examine(t, []string{"--data-dir", dataDir(t)}, "RAPPORT_DATABASE_URL="+empty.URL("rapport_owner"))
		hasFinding(t, found("migrations"), findingProblem, "rapport migrate")
	})
	t.Run("a database that is away", func(t *testing.T) {
		found := examine(t, []string{"--data-dir", dataDir(t)}, "RAPPORT_DATABASE_URL=postgres://u:"+marker+"@127.0.0.1:1/rapport")
		hasFinding(t, found("database"), findingProblem, "connection refused")
	})
}

func TestTheDoctorFindsWhatIsWrongWithAMachine(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	write := func(name string, content []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ended, key := selfMade(t, time.Now().Add(-time.Hour))
	soon, soonKey := selfMade(t, time.Now().Add(10*24*time.Hour))
	huge := "9000000000000000000"
	found := examine(t, []string{"--data-dir", dir, "--listen", "0.0.0.0:443", "--spool-min-free", huge,
		"--tls-cert", write("ended.crt", ended, 0o644), "--tls-key", write("ended.key", key, 0o600)},
		"RAPPORT_DATABASE_URL=postgres://u:changeme@db.invalid:5432/rapport", "RAPPORT_WEBHOOK_TOKEN=short",
		"RAPPORT_API_TOKEN_FILE="+write("token", []byte(marker+marker), 0o644))
	hasFinding(t, found("tls"), findingProblem, "has ended")
	hasFinding(t, found("disk"), findingProblem, "make room")
	hasFinding(t, found("database tls"), findingProblem, "sslmode=verify-full")
	hasFinding(t, found("secrets"), findingProblem, "RAPPORT_DATABASE_URL is one that everybody tries first")
	hasFinding(t, found("secrets"), findingWarning, "RAPPORT_WEBHOOK_TOKEN has 5 characters")
	hasFinding(t, found("secrets"), findingWarning, "every user of this machine can read "+dir)

	found = examine(t, []string{"--data-dir", dir, "--listen", "0.0.0.0:443", "--spool-max-bytes", huge,
		"--tls-cert", write("soon.crt", soon, 0o644), "--tls-key", write("soon.key", soonKey, 0o644)},
		"RAPPORT_DATABASE_URL=postgres://u@db.invalid:5432/rapport?sslmode=require")
	hasFinding(t, found("tls"), findingWarning, "see that it is renewed")
	hasFinding(t, found("tls"), findingWarning, "can read the key")
	hasFinding(t, found("disk"), findingWarning, "can't grow to")
	hasFinding(t, found("database tls"), findingWarning, "with whoever answers")
	hasFinding(t, found("secrets"), findingProblem, "webhooks are taken without proof")
	hasFinding(t, found("secrets"), findingProblem, "no key to read with")

	found = examine(t, []string{"--data-dir", dir, "--listen", "0.0.0.0:80"}, "RAPPORT_DATABASE_URL=postgres://u@db.invalid/rapport?sslmode=verify-full")
	hasFinding(t, found("tls"), findingProblem, "travel in clear")
	hasFinding(t, found("database tls"), findingOK, "is checked")
}

func TestTheDoctorFindsASpoolThatWaitsAndOneThatIsDamaged(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	db := storetest.New(t)
	way := newWire(t, db.URL("rapport_server"))
	env := "RAPPORT_DATABASE_URL=" + way.url(t, db.URL("rapport_server"))
	p := serve(t, []string{"--data-dir", dir}, env)
	way.cut()
	if got := p.post(chat("s", "one", float64(time.Now().Unix()))); got.Code != 200 || !got.Spooled {
		t.Fatalf("got %+v, want it spooled", got)
	}
	p.kill()
	found := examine(t, []string{"--data-dir", dir}, env)
	hasFinding(t, found("spool"), findingWarning, "wait for the database: 1")

	segments, err := filepath.Glob(filepath.Join(dir, "spool", "*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no segment in %s: %v", dir, err)
	}
	if err := os.Rename(segments[0], segments[0]+".damaged"); err != nil {
		t.Fatal(err)
	}
	found = examine(t, []string{"--data-dir", dir}, env)
	hasFinding(t, found("spool"), findingProblem, "damaged segments: 1")
}
