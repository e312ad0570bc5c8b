package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"rapport/store/storetest"
)

// marker stands for a secret; nothing may repeat it.
const marker = "xyzzyMARKERplugh"

// secretFile writes a secret where its owner alone can read it.
func secretFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dataDir(t), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestASecretComesFromItsFile(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	p := serve(t, nil, "RAPPORT_DATABASE_URL_FILE="+secretFile(t, db.URL("rapport_server")+"\n", 0o600),
		"RAPPORT_API_TOKEN_FILE="+secretFile(t, marker+"\r\n", 0o600),
		"RAPPORT_WEBHOOK_TOKEN_FILE="+secretFile(t, "first, "+marker, 0o644))
	if got := p.post(chat("s", "one", float64(time.Now().Unix())), "X-Webhook-Secret", marker); got.Code != 200 {
		t.Errorf("a delivery with the file's token: %+v", got)
	}
	var page sessionPage
	if code := p.get("/sessions?min_position=1", &page, "Authorization", "Bearer "+marker); code != 200 || len(page.Data) != 1 {
		t.Errorf("a read with the file's token: %d %+v", code, page)
	}
	if log := p.output(); !strings.Contains(log, "every user of this machine can read the file of RAPPORT_WEBHOOK_TOKEN_FILE") ||
		strings.Contains(log, "the file of RAPPORT_API_TOKEN_FILE") {
		t.Errorf("the file that everybody can read is warned of, and no other:\n%s", log)
	}
}

func TestASecretFileThatIsNoGoodIsAnErrorThatNamesTheVariable(t *testing.T) {
	t.Parallel()
	good := secretFile(t, marker, 0o600)
	for name, c := range map[string]struct {
		env  []string
		says string
	}{
		"missing":          {[]string{"RAPPORT_API_TOKEN_FILE=/nowhere/token"}, "RAPPORT_API_TOKEN_FILE: open /nowhere/token: no such file"},
		"a directory":      {[]string{"RAPPORT_API_TOKEN_FILE=/tmp"}, "RAPPORT_API_TOKEN_FILE: read /tmp: is a directory"},
		"empty":            {[]string{"RAPPORT_API_TOKEN_FILE=" + secretFile(t, " \n", 0o600)}, "RAPPORT_API_TOKEN_FILE: "},
		"too large":        {[]string{"RAPPORT_API_TOKEN_FILE=" + secretFile(t, strings.Repeat(marker, 9999), 0o600)}, "too large"},
		"the variable too": {[]string{"RAPPORT_API_TOKEN_FILE=" + good, "RAPPORT_API_TOKEN=" + marker}, "RAPPORT_API_TOKEN and RAPPORT_API_TOKEN_FILE are both set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, stderr, code := runRapport(t, []string{"serve"}, c.env...)
			oneLineError(t, stderr, code, c.says)
			noMarker(t, name, out+stderr)
		})
	}
}

// secretsOf are the secret flags of every command, by the command's words.
func secretsOf(t *testing.T) map[string][]string {
	t.Helper()
	parser, err := kong.New(&cli{}, kong.Vars{"version": ""}, kong.BindTo(context.Background(), (*context.Context)(nil)), kong.Bind(streams{}))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]string)
	name := regexp.MustCompile(`secret|token|password|database-url`)
	var walk func(*kong.Node, string)
	walk = func(node *kong.Node, path string) {
		for _, flag := range node.Flags {
			switch {
			case isSecret(flag):
				found[path] = append(found[path], flag.Name)
			case name.MatchString(flag.Name) && !flag.IsBool() && !strings.HasSuffix(flag.Name, "-file"):
				t.Errorf("%s --%s holds a secret, and isn't marked as one", path, flag.Name)
			}
		}
		for _, child := range node.Children {
			walk(child, strings.TrimSpace(path+" "+child.Name))
		}
	}
	walk(parser.Model.Node, "")
	return found
}

func TestNoSecretIsInAnyMessage(t *testing.T) {
	t.Parallel()
	hostile := []string{
		marker, "-" + marker, "--" + marker, "a, " + marker, marker + "\n" + marker, " " + marker, "%" + marker, `\` + marker,
		"postgres://u:" + marker + "@127.0.0.1:1/d", "postgres://u:" + marker + "#@127.0.0.1:1/d", "postgres://u:1/" + marker + "@127.0.0.1:1/d",
		"postgres://u:1?" + marker + "@127.0.0.1/d", "postgres://u:a@" + marker + "@127.0.0.1:1/d", "postgres://u:%" + marker + "@127.0.0.1:1/d",
		"postgres://u:[" + marker + "@127.0.0.1:1/d", "host=127.0.0.1 port=1 password=" + marker + " nonsense", "postgres://127.0.0.1:1/d?password=" + marker + "&sslmode=odd",
	}
	for command, flags := range secretsOf(t) {
		// The others have the flags of these, and most take a word that they may repeat.
		if !slices.Contains([]string{"serve", "migrate", "heal", "doctor"}, command) {
			continue
		}
		for _, flag := range flags {
			t.Run(command+" --"+flag, func(t *testing.T) {
				t.Parallel()
				words := append(strings.Fields(command), "--data-dir", dataDir(t))
				if command == "serve" && !strings.HasSuffix(flag, "-url") {
					words = append(words, "--listen", "nonsense") // else it would start
				}
				for _, value := range hostile {
					noMarker(t, "in the environment: "+value, runHere(t, words, map[string]string{variable(flag): value}))
				}
				env := map[string]string{variable(flag): marker}
				noMarker(t, "beside another fault", runHere(t, append(words, "--no-such-flag"), env))
				noMarker(t, "with --help", runHere(t, append(words, "--help"), env))
				for _, more := range [][]string{
					{"--" + flag, marker, "stray"}, {"--" + flag, "-" + marker}, {"--" + flag, "--" + marker}, {"--" + flag + "=" + marker, "stray"},
					{"--" + flag + "=a,", marker}, {"--" + flag, "a,", marker}, {"--" + flag, "a,", "-" + marker}, {"--" + flag + "=" + marker, "--no-such-flag"},
				} {
					noMarker(t, fmt.Sprintf("on the command line: %q", more), runHere(t, append(words, more...), nil))
				}
			})
		}
	}
}

// runHere runs a command in this process, and returns all that it says.
func runHere(t *testing.T, words []string, env map[string]string) string {
	t.Helper()
	var out strings.Builder
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := run(ctx, slices.Clone(words), strings.NewReader(""), &out, &out, func(name string) string { return env[name] })
	if err == nil {
		return out.String()
	}
	return out.String() + err.Error()
}

func noMarker(t *testing.T, where, text string) {
	t.Helper()
	if strings.Contains(text, marker) || strings.Contains(text, strings.ToLower(marker)) {
		t.Errorf("%s: the secret is in:\n%s", where, text)
	}
}

func TestARunningServerTellsNobodyItsSecrets(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	secret := "whsec-" + marker
	url := strings.Replace(db.URL("rapport_server"), "rapport_server@", "rapport_server:"+marker+"@", 1)
	p := serve(t, []string{"--log-level", "debug", "--heal-every", "1h", "--record-url", "http://127.0.0.1:1", "--record-user", "u"},
		"RAPPORT_DATABASE_URL_FILE="+secretFile(t, url, 0o600), "RAPPORT_OWNER_DATABASE_URL="+strings.Replace(db.URL("rapport_owner"), "@", ":"+marker+"@", 1),
		"RAPPORT_WEBHOOK_SECRET="+secret, "RAPPORT_WEBHOOK_TOKEN_FILE="+secretFile(t, marker+"-token", 0o600),
		"RAPPORT_API_TOKEN="+marker+"-api", "RAPPORT_RECORD_SECRET="+marker+"-record", "PGPASSWORD="+marker)
	p.post(chat("s", "one", float64(time.Now().Unix())), "X-Webhook-Secret", marker+"-token")
	p.post(chat("s", "two", float64(time.Now().Unix())), "X-Webhook-Secret", marker+"-wrong")
	p.post("no event", "X-Webhook-Secret", marker+"-token")
	p.post("{}", "X-bitHuman-Signature", "sha256="+marker)
	for _, path := range []string{"/metrics", "/openapi.json", "/readyz", "/healthz", "/sessions?min_position=1", "/quarantine", "/dead-letters",
		"/nowhere", "/sessions?limit=x", "/sessions?token=1"} {
		for _, token := range []string{marker + "-api", marker + "-wrong", ""} {
			noMarker(t, path, fetch(t, p.base+path, token))
		}
	}
	for _, pid := range append(children(p.cmd.Process.Pid), p.cmd.Process.Pid) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil {
			noMarker(t, "the command line", string(line))
		}
	}
	p.terminate()
	noMarker(t, "the log", p.output())
}

// fetch is the whole answer to a GET, headers included.
func fetch(t *testing.T, url, token string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(response.Header) + string(body)
}

// children are the processes that a process has started, as far as the system tells.
func children(pid int) []int {
	var pids []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for _, field := range strings.Fields(string(text)) {
			var child int
			if _, err := fmt.Sscan(field, &child); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

func TestTheChildrenOfAServerDoNotHaveItsSecrets(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := serve(t, []string{"--data-dir", dir}, "RAPPORT_API_TOKEN="+marker, "RAPPORT_WEBHOOK_TOKEN="+marker)
	pids := children(p.cmd.Process.Pid)
	if pid := postgresOf(dir); pid != 0 {
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		for _, file := range []string{"cmdline", "environ"} {
			content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			noMarker(t, file, string(content))
		}
	}
	p.terminate()
}

func TestASecretOnTheCommandLineIsWarnedOf(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	p := serve(t, []string{"--api-token", marker}, "RAPPORT_DATABASE_URL="+db.URL("rapport_server"),
		"RAPPORT_API_TOKN_FILE=x", "RAPPORT_WEBHOOK_TOKEN=changeme")
	p.terminate()
	log := p.output()
	noMarker(t, "the log", log)
	if !strings.Contains(log, `msg="--api-token is on the command line, where every user of this machine can read it: use RAPPORT_API_TOKEN or RAPPORT_API_TOKEN_FILE instead"`) {
		t.Errorf("no warning in:\n%s", log)
	}
	for _, want := range []string{"RAPPORT_API_TOKN_FILE is set, but there is no such setting", "RAPPORT_WEBHOOK_TOKEN is one that everybody tries first"} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in:\n%s", want, log)
		}
	}
	if strings.Contains(log, "RAPPORT_DATABASE_URL is set") || strings.Contains(log, "--database-url is on the command line") {
		t.Errorf("what the environment has is on no command line:\n%s", log)
	}
}
