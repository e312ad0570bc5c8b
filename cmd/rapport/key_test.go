package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"rapport/api/access"
	"rapport/store/storetest"
)

// createKey runs `rapport key create`, and returns the key.
func createKey(t *testing.T, env string, args ...string) string {
	t.Helper()
	out, stderr, code := runRapport(t, append([]string{"key", "create"}, args...), env)
	key := strings.TrimSuffix(out, "\n")
	if code != 0 || !access.IsKey(key) {
		t.Fatalf("%v: %d %q %s", args, code, out, stderr)
	}
	if strings.Contains(stderr, key) {
		t.Errorf("the key is in the remarks: %s", stderr)
	}
	return key
}

func TestAPIKeysOfARunningServer(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	p := serve(t, nil, env)
	var page sessionPage
	status := func(key string) int { return p.get("/sessions", &page, "Authorization", "Bearer "+key) }
	if code := p.get("/sessions", &page); code != http.StatusOK {
		t.Fatalf("without any key: %d", code)
	}

	key := createKey(t, env, "--name", "grafana", "--scope", "read", "--scope", "live", "--expires", "90d")
	if code := status(key); code != http.StatusOK {
		t.Errorf("at once: %d", code)
	}
	eventually(t, "reads need a key", func() bool { return p.get("/sessions", &page) == http.StatusUnauthorized })
	one := createKey(t, env, "--name", "one agent", "--scope", "read", "--agent", "a", "--agent", "b, c")

	t.Run("the list shows everything but the key", func(t *testing.T) {
		eventually(t, "its use is known", func() bool {
			out, stderr, code := runRapport(t, []string{"key", "list"}, env)
			if code != 0 || strings.Contains(out, key) || strings.Contains(out, one) || !strings.Contains(out, key[:10]+"…") {
				t.Fatalf("%d %s%s", code, out, stderr)
			}
			line := regexp.MustCompile(`(?m)^grafana +rpt_\w{6}… +read,live +all +(\S+) +(\S+) +no$`).FindStringSubmatch(out)
			if line == nil || !strings.Contains(out, "a,b,c") {
				t.Fatalf("%s", out)
			}
			expires, err := time.Parse(time.RFC3339, line[1])
			if days := time.Until(expires).Hours() / 24; err != nil || days < 89.9 || days > 90 {
				t.Errorf("%s in %v days, %v", line[1], days, err)
			}
			return line[2] != "never"
		})
		out, _, _ := runRapport(t, []string{"key", "list", "--json"}, env)
		var listed struct{ Name, Prefix string }
		if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &listed); err != nil || listed.Name != "grafana" || strings.Contains(out, "hash") {
			t.Errorf("%s, %v", out, err)
		}
	})

	t.Run("a name is taken until it is revoked, and then the key is out", func(t *testing.T) {
		_, stderr, code := runRapport(t, []string{"key", "create", "--name", "grafana", "--scope", "read"}, env)
		oneLineError(t, stderr, code, "grafana")
		if out, stderr, code := runRapport(t, []string{"key", "revoke", "grafana"}, env); code != 0 {
			t.Fatal(out, stderr)
		}
		eventually(t, "the revoked key is out", func() bool { return status(key) == http.StatusUnauthorized })
		_, stderr, code = runRapport(t, []string{"key", "revoke", "grafana"}, env)
		oneLineError(t, stderr, code, "grafana")
		if again := createKey(t, env, "--name", "grafana", "--scope", "read"); again == key || status(again) != http.StatusOK {
			t.Error("the new key")
		}
	})

	t.Run("the audit tells of it", func(t *testing.T) {
		out, stderr, code := runRapport(t, []string{"audit", "list", "--action", "key.create"}, env)
		if code != 0 || strings.Count(out, "\n") != 4 || !strings.Contains(out, "cli:") || strings.Contains(out, key) {
			t.Errorf("%d %s%s", code, out, stderr)
		}
		out, _, _ = runRapport(t, []string{"audit", "list", "--json", "--limit", "1"}, env)
		var entry struct{ Action, Subject, Actor string }
		if err := json.Unmarshal([]byte(out), &entry); err != nil || entry.Action != "key.create" || entry.Subject != "grafana" {
			t.Errorf("%s, %v", out, err)
		}
	})

	if strings.Contains(p.output(), key) || strings.Contains(p.output(), access.PrefixOf(key)) {
		t.Error("a key is in the log")
	}
}

func TestKeysThatCanNotBe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ name, scope, agent, expires, says string }{
		"no such scope":        {"k", "write", "", "", "write"},
		"no scope":             {"k", " ", "", "", "scope"},
		"SQL of an agent":      {"k", "read,sql", "a", "", "limited to agents"},
		"admin of an agent":    {"k", "admin", "a", "", "limited to agents"},
		"agents that are none": {"k", "read", " , ", "", "agent"},
		"no name":              {" ", "read", "", "", "--name"},
		"a name of two lines":  {"a\nb", "read", "", "", "--name"},
		"a long name":          {strings.Repeat("n", 65), "read", "", "", "--name"},
		"the token's name":     {"RAPPORT_API_TOKEN", "read", "", "", "RAPPORT_API_TOKEN"},
		"no time":              {"k", "read", "", "soon", "--expires"},
		"no time at all":       {"k", "read", "", "0d", "--expires"},
		"a time in the past":   {"k", "read", "", "-5d", "--expires"},
		"too far away":         {"k", "read", "", "99999999d", "--expires"},
	} {
		cmd := keyCreateCmd{Name: c.name, Scope: bound(c.scope), Agent: bound(c.agent), Expires: bound(c.expires)}
		if k, err := cmd.key(time.Now()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
	}
	for _, flag := range []string{"--agent", "--expires"} {
		_, stderr, code := runRapport(t, []string{"key", "create", "--name", "k", "--scope", "read", flag, ""}, "RAPPORT_DATABASE_URL=postgres://nobody@127.0.0.1:1/none")
		oneLineError(t, stderr, code, flag)
	}
	for text, want := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute, "36500d": mostExpires} {
		if got, err := parseExpires(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func TestBeyondLoopbackAServerNeedsAKey(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := []string{"RAPPORT_DATABASE_URL=" + db.URL("rapport_server"), "RAPPORT_WEBHOOK_SECRET=s"}
	args := []string{"serve", "--listen", "0.0.0.0:0", "--insecure-http", "--data-dir", dataDir(t)}
	_, stderr, code := runRapport(t, args, env...)
	oneLineError(t, stderr, code, "RAPPORT_API_TOKEN")

	key := createKey(t, env[0], "--name", "ops", "--scope", "admin")
	p := start(t, command(args, env...))
	base := strings.Replace(p.base, "0.0.0.0", "127.0.0.1", 1)
	ask := func(key string) int {
		t.Helper()
		request, err := http.NewRequest(http.MethodGet, base+"/audit", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+key)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	if got := fmt.Sprint(ask(key), ask("")); got != "200 401" {
		t.Errorf("with and without the key: %s", got)
	}
	if _, stderr, code := runRapport(t, []string{"key", "revoke", "ops"}, env[0]); code != 0 || !strings.Contains(stderr, "no key is left") {
		t.Errorf("%d %s", code, stderr)
	}
	eventually(t, "the key is out", func() bool { return ask(key) == http.StatusUnauthorized })
	if got := ask(""); got != http.StatusUnauthorized {
		t.Errorf("without any key left: %d", got)
	}
}

func TestCommandsOfAnAdminAreInTheAudit(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := []string{"RAPPORT_DATABASE_URL=" + db.URL("rapport_server"), "RAPPORT_OWNER_DATABASE_URL=" + db.URL("rapport_owner")}
	for _, args := range [][]string{
		{"quarantine", "replay"}, {"dead-letters", "retry", "--all"}, {"rebuild", "--quick-answer", "5s"},
	} {
		if _, stderr, code := runRapport(t, args, env...); code != 0 {
			t.Fatalf("%v: %d %s", args, code, stderr)
		}
	}
	out, _, _ := runRapport(t, []string{"audit", "list"}, env...)
	for _, action := range []string{"quarantine.replay", "dead_letter.retry", `session.rebuild`, `"quick_answer":"5s"`} {
		if strings.Count(out, action) != 1 {
			t.Errorf("%s is not there once:\n%s", action, out)
		}
	}
}
