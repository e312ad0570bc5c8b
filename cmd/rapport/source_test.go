package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/api/webhook"
	"rapport/store"
	"rapport/store/storetest"
)

// postTo delivers a body to a source, signed with a secret.
func (p *process) postTo(source, body, secret string) answer {
	p.t.Helper()
	got, err := p.tryPostTo("/webhook/"+source, body, "X-bitHuman-Signature", webhook.SignLegacy(secret, []byte(body)))
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

// runWith is runRapport with something on stdin.
func runWith(t *testing.T, stdin string, args []string, env ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	cmd := command(args, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestASourceBesideARunningServer(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	way := newWire(t, db.URL("rapport_server"))
	env := "RAPPORT_DATABASE_URL=" + way.url(t, db.URL("rapport_server"))
	dir := dataDir(t)
	p := serve(t, []string{"--data-dir", dir}, env, "RAPPORT_WEBHOOK_SECRET=of-the-environment")
	source := func(stdin string, args ...string) (stdout string) {
		t.Helper()
		stdout, stderr, code := runWith(t, stdin, append([]string{"source"}, args...), env)
		if code != 0 {
			t.Fatalf("%v: %d %s", args, code, stderr)
		}
		return strings.TrimSpace(stdout)
	}
	n := 0
	body := func() string { n++; return chat("s", fmt.Sprint("message ", n), 1790607000+float64(n)) }
	becomes := func(what, name, secret string, code int) {
		t.Helper()
		eventually(t, what, func() bool { return p.postTo(name, body(), secret).Code == code })
	}

	old := source("", "add", "kiosk", "--generate-secret", "--allow", "127.0.0.0/8,::1", "--expected-rate", "0.01")
	if !strings.HasPrefix(old, "whsec_") || strings.ContainsAny(old, " \n") {
		t.Fatalf("the secret alone is what is printed: %q", old)
	}
	becomes("the server knows the source", "kiosk", old, 200)
	if got := p.post(roomJoin, "X-bitHuman-Signature", webhook.SignLegacy(old, []byte(roomJoin))); got.Code != 200 {
		t.Errorf("without naming it: %+v", got)
	}
	if got := p.postTo("default", body(), "of-the-environment"); got.Code != 200 {
		t.Errorf("the environment's source: %+v", got)
	}

	if out := source("a new secret\n", "rotate", "kiosk"); out != "" {
		t.Errorf("a secret that was given is not printed: %q", out)
	}
	becomes("the new secret is known", "kiosk", "a new secret", 200)
	if got := p.postTo("kiosk", body(), old); got.Code != 200 {
		t.Errorf("both go on: %+v", got)
	}
	p.kill()
	way.cut()
	p = serve(t, []string{"--data-dir", dir}, env, "RAPPORT_WEBHOOK_SECRET=of-the-environment")
	for _, secret := range []string{old, "a new secret"} {
		if got := p.postTo("kiosk", body(), secret); got.Code != 200 || !got.Spooled {
			t.Errorf("without the database: %+v", got)
		}
	}
	if got := p.postTo("kiosk", body(), "of-the-environment"); got.Code != 401 {
		t.Errorf("another's secret without the database: %+v", got)
	}
	way.mend(t)

	source("", "rotate", "kiosk", "--finish")
	becomes("the old secret is refused", "kiosk", old, 401)
	if got := p.postTo("kiosk", body(), "a new secret"); got.Code != 200 {
		t.Errorf("the new one goes on: %+v", got)
	}
	var line sourceLine
	eventually(t, "what came is counted", func() bool {
		listed := source("", "list", "--json")
		for text := range strings.Lines(listed) {
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
			if line.Name == "kiosk" && line.Proven > 0 && line.OverRate > 0 {
				return true
			}
		}
		return false
	})
	if len(line.Secrets) != 1 || len(line.Tokens) != 0 || len(line.Ranges) != 2 || line.ExpectedRate != 0.01 {
		t.Errorf("listed: %+v", line)
	}
	table := source("", "list")
	for _, want := range []string{"kiosk", "legacy,account,standard", "1 (", "127.0.0.0/8,::1/128", "0.01"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	source("", "remove", "kiosk")
	becomes("the source is gone", "kiosk", "a new secret", 401)

	audit := strings.Join(storetest.Query(t, db, "rapport_owner", pgx.RowTo[string], "SELECT audit::text FROM audit ORDER BY id"), "\n")
	if strings.Count(audit, "source.") != 4 {
		t.Errorf("the audit:\n%s", audit)
	}
	stored, err := os.Stat(filepath.Join(dir, "sources.json"))
	if err != nil || stored.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", stored, err)
	}
	for where, text := range map[string]string{"the list": table, "the log": p.output(), "the audit": audit} {
		for _, secret := range []string{old, "a new secret", "of-the-environment"} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is in %s", where)
			}
		}
	}
	p.terminate()
}

func TestAPublicServerNeedsASource(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := []string{"RAPPORT_DATABASE_URL=" + db.URL("rapport_server"), "RAPPORT_API_TOKEN=reader"}
	public := []string{"--listen", "0.0.0.0:0", "--insecure-http"}
	dir := dataDir(t)
	_, stderr, code := runRapport(t, append([]string{"serve", "--data-dir", dir}, public...), env...)
	oneLineError(t, stderr, code, "rapport source add")

	if err := db.SourceAdd(t.Context(), "cli:me", store.Source{
		Name: "kiosk", Kinds: []string{"legacy"}, Proofs: []store.SourceProof{{Secret: []byte("secret")}},
	}); err != nil {
		t.Fatal(err)
	}
	p := serve(t, append(public, "--data-dir", dir), env...)
	p.base = strings.Replace(p.base, "0.0.0.0", "127.0.0.1", 1)
	if got := p.postTo("kiosk", roomJoin, "secret"); got.Code != 200 {
		t.Errorf("got %+v", got)
	}
	if err := db.SourceRemove(t.Context(), "cli:me", "kiosk"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is taken any more", func() bool { return p.postTo("kiosk", roomJoin, "secret").Code == 401 })
	if got := p.post(roomJoin); got.Code != 401 {
		t.Errorf("without a source: %+v", got)
	}
}

func TestACopyOfAnotherDatabaseIsNotUsed(t *testing.T) {
	t.Parallel()
	sources, err := new(serveCmd).environmentSources()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), sourcesFile)
	k := &sourceKeeper{sources: sources, logger: storetest.Logger(), database: "host:5432/a", path: path}
	kiosk := []store.Source{{Name: "kiosk", Kinds: []string{"legacy"}, Proofs: []store.SourceProof{{Secret: []byte{0xff, 's'}}}}}
	if err := k.adopt(kiosk); err != nil || !sources.Any() {
		t.Fatalf("%v", err)
	}
	other, _ := new(serveCmd).environmentSources()
	k = &sourceKeeper{sources: other, logger: storetest.Logger(), database: "host:5432/b", path: path}
	if err := k.begin(t.Context(), true); err != nil || other.Any() {
		t.Errorf("another database's: %v", err)
	}
	k.database = "host:5432/a"
	if err := k.begin(t.Context(), true); err != nil || !other.Any() {
		t.Errorf("its own: %v", err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.begin(t.Context(), true); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged one: %v", err)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWhatASourceCannotBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := file("secret", "top-secret\r\n")
	for name, c := range map[string]struct {
		stdin string
		args  []string
		says  string
	}{
		"the environment's name":        {"top-secret", []string{"add", "default"}, "default"},
		"a name with capitals":          {"top-secret", []string{"add", "Kiosk"}, "a to z"},
		"no secret":                     {"", []string{"add", "kiosk"}, "empty"},
		"a secret of two lines":         {"top-secret\nsecond", []string{"add", "kiosk"}, "one line"},
		"a secret that is too long":     {strings.Repeat("x", 1025), []string{"add", "kiosk"}, "1024"},
		"a secret with space around it": {" top-secret", []string{"add", "kiosk"}, "space"},
		"a file that isn't there":       {"", []string{"add", "kiosk", "--secret-file", dir + "/none"}, "none"},
		"two secrets":                   {"", []string{"add", "kiosk", "--generate-secret", "--secret-file", secret}, "--generate-secret"},
		"two tokens":                    {"", []string{"add", "kiosk", "--generate-token", "--token-file", secret}, "--generate-token"},
		"both from stdin":               {"x", []string{"add", "kiosk", "--secret-file", "-", "--token-file", "-"}, "stdin"},
		"a kind that is none":           {"", []string{"add", "kiosk", "--secret-file", secret, "--kinds", "hmac"}, "hmac"},
		"a kind without its token":      {"", []string{"add", "kiosk", "--secret-file", secret, "--kinds", "token,legacy"}, "--token-file"},
		"a kind without its secret":     {"", []string{"add", "kiosk", "--generate-token", "--kinds", "legacy,token"}, "--secret-file"},
		"a token without its kind":      {"", []string{"add", "kiosk", "--generate-token", "--secret-file", secret, "--kinds", "legacy"}, "use"},
		"a range that is none":          {"", []string{"add", "kiosk", "--secret-file", secret, "--allow", "10.0.0.0/33"}, "--allow"},
		"a range that is empty":         {"", []string{"add", "kiosk", "--secret-file", secret, "--allow", ""}, "--allow"},
		"a rate below 0":                {"", []string{"add", "kiosk", "--secret-file", secret, "--expected-rate=-1"}, "--expected-rate"},
		"a rate without end":            {"", []string{"add", "kiosk", "--secret-file", secret, "--expected-rate=inf"}, "--expected-rate"},
		"rotating the environment's":    {"", []string{"rotate", "default", "--generate-secret"}, "RAPPORT_WEBHOOK_SECRET"},
		"removing the environment's":    {"", []string{"remove", "default"}, "RAPPORT_WEBHOOK_SECRET"},
		"an overlap below 0":            {"", []string{"rotate", "kiosk", "--generate-secret", "--overlap=-1s"}, "--overlap"},
		"finishing with a new one":      {"", []string{"rotate", "kiosk", "--generate-secret", "--finish"}, "--finish"},
		"a secret on the command line":  {"", []string{"add", "kiosk", "--secret", "top-secret"}, "--secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, stderr, code := runWith(t, c.stdin, append([]string{"source"}, c.args...), "RAPPORT_DATABASE_URL=postgres://nobody@127.0.0.1:1/none")
			oneLineError(t, stderr, code, c.says)
			if out != "" || strings.Contains(stderr, "top-secret") {
				t.Errorf("it prints %q %q", out, stderr)
			}
		})
	}
}

func TestRotationsAsTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	run := func(args ...string) (string, string, int) {
		t.Helper()
		return runRapport(t, append([]string{"source"}, args...), env)
	}
	out, stderr, code := run("add", "kiosk", "--generate-secret", "--generate-token")
	lines := strings.Fields(out)
	if code != 0 || len(lines) != 2 || !strings.HasPrefix(lines[0], "whsec_") || !strings.HasPrefix(lines[1], "whtok_") {
		t.Fatalf("%d %q %s", code, out, stderr)
	}
	_, stderr, code = run("add", "kiosk", "--generate-secret")
	oneLineError(t, stderr, code, "already")
	_, stderr, code = run("rotate", "none", "--generate-secret")
	oneLineError(t, stderr, code, "no webhook source")
	_, stderr, code = run("remove", "none")
	oneLineError(t, stderr, code, "no webhook source")
	if _, stderr, code := run("rotate", "kiosk", "--generate-token", "--overlap", "90m"); code != 0 {
		t.Fatal(stderr)
	}
	sources, err := db.Sources(t.Context())
	if err != nil || len(sources) != 1 || len(sources[0].Proofs) != 3 || sources[0].Proofs[0].EndsAt != nil {
		t.Fatalf("%+v, %v", sources, err)
	}
	if ends := sources[0].Proofs[1].EndsAt; ends == nil || time.Until(*ends) > 90*time.Minute || time.Until(*ends) < 80*time.Minute {
		t.Errorf("the old token ends at %v", ends)
	}
	if table, _, _ := run("list"); !strings.Contains(table, "ends in 8") && !strings.Contains(table, "ends in 90m") {
		t.Errorf("the list does not tell of the overlap:\n%s", table)
	}
}

func TestRangesAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	got, err := parseRanges("192.0.2.9/24, 198.51.100.1,2001:db8::1/32,::1,::ffff:10.0.0.0/104,::ffff:10.1.2.3,192.0.2.0/24")
	want := "[192.0.2.0/24 198.51.100.1/32 2001:db8::/32 ::1/128 10.0.0.0/8 10.1.2.3/32]"
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v, want %s", got, err, want)
	}
	for _, wrong := range []string{",", "10.0.0.0/8,", "10/8", "fe80::1%eth0", "localhost", "::ffff:10.0.0.0/90"} {
		if got, err := parseRanges(wrong); err == nil {
			t.Errorf("%q is taken as %v", wrong, got)
		}
	}
}
