package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"rapport/aggregator/reaction/rules"
)

// keptRules are a keeper of a file, and how often it was read again.
type keptRules struct {
	*rulesKeeper
	log   bytes.Buffer
	reads int
	fails error
}

func keepRules(t *testing.T, file string) *keptRules {
	t.Helper()
	k := new(keptRules)
	k.rulesKeeper = newRulesKeeper(file, nil, slog.New(slog.NewTextHandler(&k.log, nil)))
	k.reload = func() error {
		k.reads++
		return k.fails
	}
	return k
}

// wantReads looks twice, and checks how often the file has been read again by then.
func (k *keptRules) wantReads(t *testing.T, after string, want int) {
	t.Helper()
	k.look()
	k.look()
	if k.reads != want {
		t.Errorf("after %s it was read %d times, want %d", after, k.reads, want)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRulesAreReadAgainWhenTheirFileHoldsSomethingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "rules.yaml")
	writeFile(t, file, "one")
	k := keepRules(t, file)
	k.wantReads(t, "nothing", 0)
	writeFile(t, file, "one")
	k.wantReads(t, "the same was written again", 0)
	writeFile(t, file, "two")
	k.wantReads(t, "a change", 1)
	k.wantReads(t, "nothing more", 1)
	writeFile(t, file+".new", "three")
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	k.wantReads(t, "another file took its place", 2)
	if !strings.Contains(k.log.String(), "level=INFO msg=\"the rules are read again\" file="+file) {
		t.Errorf("the log has %s", &k.log)
	}
}

// TestRulesAreReadAgainBehindAnotherLink: ..data is how Kubernetes swaps what is mounted.
func TestRulesAreReadAgainBehindAnotherLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := func(to string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, "..new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, version, "rules.yaml"), version)
	}
	link("1")
	file := filepath.Join(dir, "rules.yaml")
	if err := os.Symlink(filepath.Join("..data", "rules.yaml"), file); err != nil {
		t.Fatal(err)
	}
	k := keepRules(t, file)
	link("2")
	k.wantReads(t, "the link leads elsewhere", 1)
}

func TestRulesThatAreBeingWrittenAreWaitedFor(t *testing.T) {
	t.Parallel()
	file := rulesFile(t, "rules: []")
	k := keepRules(t, file)
	for _, text := range []string{"", "ru", "rules"} {
		writeFile(t, file, text)
		k.look()
	}
	if k.reads != 0 {
		t.Errorf("it was read %d times while it was written", k.reads)
	}
	k.wantReads(t, "it was written", 1)
}

func TestRulesThatAreWrongAreToldOnceAndTriedAgain(t *testing.T) {
	t.Parallel()
	file := rulesFile(t, "good")
	k := keepRules(t, file)
	k.fails = rules.Mistakes{{File: "rules.yaml", Line: 1, Column: 2, Message: "first"}, {File: "rules.yaml", Line: 3, Column: 4, Message: "second"}}
	writeFile(t, file, "wrong")
	k.wantReads(t, "a mistake", 1)
	k.wantReads(t, "the mistake has stayed", 1)
	for _, mistake := range []string{"rules.yaml:1:2: first", "rules.yaml:3:4: second"} {
		if n := strings.Count(k.log.String(), "mistake=\""+mistake+"\""); n != 1 {
			t.Errorf("%s is told %d times", mistake, n)
		}
	}
	if testutil.ToFloat64(k.refused) != 1 {
		t.Error("the metric does not tell that they are refused")
	}
	k.fails = errors.New("the disk is away")
	writeFile(t, file, "right")
	k.wantReads(t, "it was mended", 2)
	k.wantReads(t, "what was not its fault", 4)
	if n := strings.Count(k.log.String(), "and those before stay in force\" error=\"the disk is away\""); n != 1 {
		t.Errorf("it is told %d times: %s", n, &k.log)
	}
	k.fails = nil
	k.look()
	if testutil.ToFloat64(k.refused) != 0 || k.wrong != "" {
		t.Error("it is still refused after it was mended")
	}
}

func TestRulesWhoseFileIsGoneStay(t *testing.T) {
	t.Parallel()
	file := rulesFile(t, "good")
	k := keepRules(t, file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	_, k.fails = rules.Load(file)
	k.wantReads(t, "it has gone", 1)
	if !strings.Contains(k.log.String(), "no such file") {
		t.Errorf("the log has %s", &k.log)
	}
}
