package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// manual is docs/operations.md, whose commands the tests run as they stand there.
func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// operator runs blocks of the manual, with rapport and Postgres's programs at hand.
type operator struct {
	t   *testing.T
	bin string
	env []string
}

func newOperator(t *testing.T, env ...string) *operator {
	t.Helper()
	bin := dataDir(t)
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %q \"$@\"\n", asRapport, os.Args[0])
	if err := os.WriteFile(filepath.Join(bin, "rapport"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return &operator{t, bin, env}
}

// block runs the commands of the manual's fenced block of a name.
func (o *operator) block(name string, env ...string) string {
	o.t.Helper()
	_, rest, found := strings.Cut(manual(o.t), "\n```bash "+name+"\n")
	commands, _, ended := strings.Cut(rest, "\n```\n")
	if !found || !ended {
		o.t.Fatalf("the manual has no block %q", name)
	}
	cmd := exec.Command("bash", "-eu", "-o", "pipefail", "-c", commands)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "RAPPORT_") && !strings.HasPrefix(variable, "PATH=") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(append(cmd.Env, "PATH="+o.bin+":"+os.Getenv("PATH")), append(o.env, env...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func TestABackupIsRestoredByTheCommandsOfTheManual(t *testing.T) {
	t.Parallel()
	old, restored, kept := dataDir(t), dataDir(t), dataDir(t)
	backup := "BACKUP=" + filepath.Join(kept, "backup")
	erasures := "ERASURES=" + filepath.Join(kept, "erasures.sh")
	o := newOperator(t, backup, erasures)
	now := float64(time.Now().Unix())
	before := chat("before", "kept by the backup", now)
	secret := chat("it's $(touch /tmp/never) \"odd\" \\ --yes", marker, now)

	p := serve(t, []string{"--data-dir", old})
	for i, body := range []string{before, secret, chat("other", "two", now)} {
		if got := p.post(body); got.Position != int64(i+1) {
			t.Fatalf("got %+v", got)
		}
	}
	p.folded("3")
	o.block("backup", "RAPPORT_DATA_DIR="+old)

	// After the backup, and so lost with the machine: an erasure, but for the list.
	if out, stderr, code := runRapport(t, []string{"erase", "--yes", "--session", "it's $(touch /tmp/never) \"odd\" \\ --yes", "--data-dir", old}); code != 0 {
		t.Fatalf("erase: %s%s", out, stderr)
	}
	o.block("erasures", "RAPPORT_DATA_DIR="+old)
	p.kill()

	env := "RAPPORT_DATA_DIR=" + restored
	o.block("restore", env) // rapport verify is in it
	p = serve(t, []string{"--data-dir", restored})
	if got := p.post(before); got.Position != 1 || !got.Duplicate {
		t.Errorf("a delivery that the backup has: %+v, want the duplicate of position 1", got)
	}
	if got := p.post(chat("after", "new", now+1)); got.Position != 4 || got.Duplicate {
		t.Errorf("a new delivery: %+v, want position 4", got)
	}
	p.folded("4")
	o.block("repeat-erasures", env)
	var transcript struct {
		Data []json.RawMessage
	}
	if code := p.get("/sessions/it%27s%20$%28touch%20%2Ftmp%2Fnever%29%20%22odd%22%20%5C%20--yes/messages", &transcript); len(transcript.Data) > 0 {
		t.Errorf("what was erased after the backup is back: %d %s", code, transcript.Data)
	}
	if got := p.post(secret); got.Code != 200 {
		t.Errorf("a retry of what was erased: %+v", got)
	}
	noMarker(t, "the transcript", fetch(t, p.base+"/sessions/it%27s%20$%28touch%20%2Ftmp%2Fnever%29%20%22odd%22%20%5C%20--yes/events", ""))
	p.terminate()
	if out, stderr, code := runRapport(t, []string{"verify", "--data-dir", restored}); code != 0 {
		t.Errorf("verify in the end: %s%s", out, stderr)
	}
}

func TestABackupHasWhatWaitsInTheSpool(t *testing.T) {
	t.Parallel()
	pg := newOwnPostgres(t)
	way := newWire(t, pg.URL("rapport_server"))
	dir, restored, kept := dataDir(t), dataDir(t), dataDir(t)
	urls := func(at string) []string {
		return []string{"RAPPORT_DATABASE_URL=" + at, "RAPPORT_OWNER_DATABASE_URL=" + pg.URL("rapport_owner")}
	}
	body := chat("s", "kept in the spool", float64(time.Now().Unix()))
	p := serve(t, []string{"--data-dir", dir}, urls(way.url(t, pg.URL("rapport_server")))...)
	way.cut()
	if got := p.post(body); !got.Spooled {
		t.Fatalf("got %+v, want it spooled", got)
	}
	o := newOperator(t, "BACKUP="+filepath.Join(kept, "backup"))
	o.block("backup", append(urls(pg.URL("rapport_server")), "RAPPORT_DATA_DIR="+dir)...)
	p.kill()

	o.block("restore", "RAPPORT_DATA_DIR="+restored) // into a private Postgres
	p = serve(t, []string{"--data-dir", restored})
	p.folded("1")
	if got := p.post(body); got.Position != 1 || !got.Duplicate {
		t.Errorf("what was in the spool: %+v, want the duplicate of position 1", got)
	}
	p.terminate()
}

func TestTheManualNamesMetricsAndFlagsThatExist(t *testing.T) {
	t.Parallel()
	text := manual(t)
	p := serve(t, []string{"--data-dir", dataDir(t)})
	metrics := fetch(t, p.base+"/metrics", "")
	for _, name := range regexp.MustCompile("(?:rapport|webhook)_[a-z_]+(?:_total|_seconds|_open|_room|_segments|_letters|_position)").FindAllString(text, -1) {
		if !strings.Contains(metrics, "# HELP "+name+" ") {
			t.Errorf("there is no metric %s", name)
		}
	}
	p.terminate()
	out, _, _ := runRapport(t, []string{"serve", "--help"})
	help := strings.Join(strings.Fields(out), " ")
	for _, flag := range regexp.MustCompile("`(?:serve )?(--[a-z-]+)[ `]").FindAllStringSubmatch(text, -1) {
		if name := flag[1]; name != "--json" && !strings.Contains(help, strings.Replace(name, "--no-", "--[no-]", 1)) && !strings.Contains(help, name) {
			t.Errorf("there is no flag %s", name)
		}
	}
	for _, variable := range regexp.MustCompile("RAPPORT_[A-Z_]+[A-Z]").FindAllString(text, -1) {
		if name := strings.TrimSuffix(variable, "_FILE"); name != "RAPPORT_NAME" && !strings.Contains(help, "$"+name) {
			t.Errorf("there is no variable %s", variable)
		}
	}
}
