package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"rapport/internal/heal/recordtest"
	"rapport/store/storetest"
)

func TestHeal(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	session := func(id string, texts ...string) recordtest.Session {
		s := recordtest.Session{ID: id, AgentCode: "A1", Started: at, LastSeen: at.Add(time.Minute), Status: "ended", HasTranscript: true}
		for i, text := range texts {
			s.Messages = append(s.Messages, recordtest.Message{At: at.Add(time.Duration(i) * time.Second), Role: "user", Text: text})
		}
		return s
	}
	record := func(t *testing.T, sessions ...recordtest.Session) (*recordtest.Server, []string) {
		server := recordtest.New(t, sessions...)
		return server, []string{
			"RAPPORT_RECORD_URL=" + server.URL, "RAPPORT_RECORD_USER=" + recordtest.User,
			"RAPPORT_RECORD_SECRET=" + recordtest.Secret,
		}
	}

	t.Run("what the webhooks lost comes beside a running server", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		p := serve(t, []string{"--database-url", db.URL("rapport_server")})
		body := fmt.Sprintf(`{"agent_id":"A1","event_type":"chat.push","timestamp":%d.7,
			"data":{"role":"user","message":"Hello","session_id":"s"}}`, at.Unix())
		answer, err := http.Post(p.base+"/webhook", "application/json", strings.NewReader(body))
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatal(answer, err)
		}
		_ = answer.Body.Close()
		_, env := record(t, session("s", "Hello", "Are you there?"))
		for _, want := range []string{
			"2 messages read, 1 already there, 1 healed, 0 skipped\n", "2 messages read, 2 already there, 0 healed, 0 skipped\n",
		} {
			out, log, code := runRapport(t, []string{"heal", "--database-url", db.URL("rapport_server")}, env...)
			if code != 0 || !strings.HasSuffix(out, want) {
				t.Fatalf("exit code %d, %q, want %q\n%s", code, out, want, log)
			}
		}
		read, err := http.Get(p.base + "/sessions/s?min_position=2")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = read.Body.Close() }()
		text, err := io.ReadAll(read.Body)
		if err != nil || !strings.Contains(string(text), `"message_count":2`) {
			t.Errorf("%v: the session is %s", err, text)
		}
	})

	t.Run("a server does it by itself, if told how often", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		_, env := record(t, session("s", "Hello", "Are you there?"))
		p := serve(t, []string{"--database-url", db.URL("rapport_server"), "--heal-every", "1h"}, env...)
		eventually(t, "what was lost is in its session", func() bool {
			var page sessionPage
			return p.get("/sessions", &page) == 200 && len(page.Data) == 1 && page.Data[0].MessageCount == 2
		})
		p.terminate()
		_, stderr, code := runRapport(t, []string{"serve", "--database-url", db.URL("rapport_server"), "--heal-every", "1h"})
		if code != 1 || !strings.Contains(stderr, "--record-user (RAPPORT_RECORD_USER)") {
			t.Errorf("without a record: exit code %d, %s", code, stderr)
		}
	})

	t.Run("a session that fails makes the exit code 1, and the others are healed", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		server, env := record(t, session("bad", "a"), session("good", "b"))
		server.Instead(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/bad/") {
				w.WriteHeader(http.StatusNotFound)
			}
			return strings.Contains(r.URL.Path, "/bad/")
		})
		out, log, code := runRapport(t, []string{"heal", "--database-url", db.URL("rapport_server")}, env...)
		if code != 1 || !strings.Contains(out, "1 healed") || !strings.Contains(log, "rapport: 1 of 2 sessions could not be healed") {
			t.Errorf("exit code %d, %q\n%s", code, out, log)
		}
	})

	t.Run("a secret that is refused is one clear line, without the secret", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		_, env := record(t)
		out, log, code := runRapport(t, []string{"heal", "--database-url", db.URL("rapport_server")}, append(env, "RAPPORT_RECORD_SECRET=not-this-one")...)
		if code != 1 || out != "" || strings.Count(log, "\n") != 1 || !strings.Contains(log, "check --record-secret") ||
			strings.Contains(log, "not-this-one") {
			t.Errorf("exit code %d, %q\n%s", code, out, log)
		}
	})

	t.Run("what is missing on the command line is said", func(t *testing.T) {
		t.Parallel()
		for missing, args := range map[string][]string{
			"--record-user (RAPPORT_RECORD_USER)":     {"heal"},
			"--record-secret (RAPPORT_RECORD_SECRET)": {"heal", "--record-user", "u"},
			"--limit must be at least 1":              {"heal", "--record-user", "u", "--record-secret", "s", "--limit", "0"},
			"--settle must be at least 0":             {"heal", "--record-user", "u", "--record-secret", "s", "--settle=-1s"},
		} {
			if _, log, code := runRapport(t, args); code != 1 || !strings.Contains(log, missing) {
				t.Errorf("%v: exit code %d, %s", args, code, log)
			}
		}
	})
}
