package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rapport"
	"rapport/store/storetest"
)

const someRules = `
rules:
  - {name: angry, on: chat.push, when: 'event.text.hasWord(["angry"])', severity: high, then: ops}
  - {name: third, on: chat.push, count: {over: 3h, by: agent_id, more_than: 2}, then: ops}
  - {name: closed, on: session.closed, then: ops}
  - {name: changed, on: session.changed, then: ops}
  - {name: quiet, on: metric, metric: sessions, window: 5h, below: 1, then: ops}
destinations:
  ops:
    http:
      url: ${OPS_URL}
`

func rulesFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRulesAreChecked(t *testing.T) {
	t.Parallel()
	path := rulesFile(t, someRules)
	out, stderr, code := runRapport(t, []string{"rules", "check", path}, "OPS_URL=https://ops.example")
	if code != 0 || !strings.Contains(out, "quiet: on metric, to ops\n5 rules and 1 destination, nothing wrong\n") {
		t.Errorf("exit code %d, %s%s", code, out, stderr)
	}
	_, stderr, code = runRapport(t, []string{"rules", "check", rulesFile(t, strings.Replace(someRules, "event.text", "event.txt", 1))})
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if code != 1 || len(lines) != 3 || !strings.Contains(lines[0], "rules.yaml:3:46: when: undefined field 'txt'") ||
		!strings.Contains(lines[1], "rules.yaml:11:12: url: the environment variable OPS_URL is not set") || !strings.Contains(lines[2], "rapport: 2 mistakes in ") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if _, stderr, code = runRapport(t, []string{"rules", "check", path + ".not"}); code != 1 || !strings.Contains(stderr, "no such file") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestRulesAreTriedOnTheLog(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	begin := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for i, e := range []struct {
		occurred, received time.Duration
		session, text      string
	}{
		{0, 0, "s1", "hello"},
		{time.Minute, time.Minute, "s1", "I am angry"},
		{2 * time.Hour, 2 * time.Hour, "s2", "<angry>\x1b[2J"},
		{2 * time.Minute, 4 * time.Hour, "s1", "and late"},
		{4 * time.Hour, 4 * time.Hour, "s3", "angry"},
	} {
		event := &rapport.Event{
			Fingerprint: sha256.Sum256(fmt.Append(nil, i)), OccurredAt: begin.Add(e.occurred), ReceivedAt: begin.Add(e.received),
			Type: rapport.ChatPush, AgentID: "a", SessionID: e.session, Role: rapport.RoleUser, Text: e.text, Payload: []byte("{}"),
		}
		if _, err := db.Append(t.Context(), []*rapport.Event{event}); err != nil {
			t.Fatal(err)
		}
	}
	path := rulesFile(t, strings.Replace(someRules, "${OPS_URL}", "https://ops.example", 1))
	try := func(args ...string) (string, string, error) {
		var out, stderr strings.Builder
		args = append([]string{"rules", "test", path, "--database-url=" + db.URL("rapport_server")}, args...)
		err := run(t.Context(), args, strings.NewReader(""), &out, &stderr, func(string) string { return "" })
		return out.String(), stderr.String(), err
	}
	const (
		angry1  = "2026-03-02T09:01:00Z           2  high      angry -> ops  on chat.push  a s1\n"
		closed1 = "2026-03-02T09:31:00Z           2  medium    closed -> ops  on session.closed  a s1\n"
		angry2  = "2026-03-02T11:00:00Z           3  high      angry -> ops  on chat.push  a s2\n"
		third   = "2026-03-02T11:00:00Z           3  medium    third -> ops  on chat.push  a s2\n"
		closed2 = "2026-03-02T11:30:00Z           3  medium    closed -> ops  on session.closed  a s2\n"
		third4  = "2026-03-02T13:00:00Z           5  medium    third -> ops  on chat.push  a s3\n"
		angry3  = "2026-03-02T13:00:00Z           5  high      angry -> ops  on chat.push  a s3\n"
		changed = "2026-03-02T13:00:00Z           4  medium    changed -> ops  on session.changed  a s1\n"
		closed3 = "2026-03-02T13:30:00Z           5  medium    closed -> ops  on session.closed  a s3\n"
		quiet   = "2026-03-02T18:01:00Z           0  medium    quiet -> ops  on metric   \n"
	)
	for stretch, want := range map[string]string{
		"":                angry1 + closed1 + angry2 + third + closed2 + angry3 + third4 + changed + closed3 + quiet,
		"--from=2 --to=2": angry1,
		"--from=3":        angry2 + third + closed2 + angry3 + third4 + changed + closed3 + quiet,
		"--from=2026-03-02T11:00:00Z --to=2026-03-02T12:00:00Z": angry2 + third + closed2,
		"--from=2026-03-02T12:00:00Z --to=5":                    angry3 + third4,
		"--from=2027-01":                                        "",
	} {
		args := strings.Fields(stretch)
		if out, stderr, err := try(args...); err != nil || out != want {
			t.Errorf("%s: %v, %s\n%swant\n%s", stretch, err, stderr, out, want)
		}
	}
	out, stderr, _ := try("--json", "--to=3")
	if !strings.Contains(out, `{"destination":"ops","data":{"agent":null,"at":"2026-03-02T11:00:00.000000Z",`) || strings.Count(out, "\n") != 4 ||
		!strings.HasPrefix(stderr, "3 events, positions 1 to 3:\n       2  angry\n       1  third\n       1  closed\n       0  changed\n") {
		t.Errorf("%s%s", out, stderr)
	}
	for _, enqueued := range []string{"2 new", "0 new"} { // the second time it is there
		if _, stderr, err := try("--send", "--from=3", "--to=3"); err != nil || !strings.Contains(stderr, "enqueued for the servers with --rules: "+enqueued) {
			t.Errorf("%v, %s", err, stderr)
		}
	}
	if tally, err := db.DeliveryTally(t.Context()); err != nil || tally["ops"].Waiting != 2 {
		t.Errorf("%+v, %v", tally, err)
	}
	for _, wrong := range []string{"--from=6", "--to=yesterday", "--from=3 --to=2", "--from=0"} {
		if out, _, err := try(strings.Fields(wrong)...); err == nil || out != "" {
			t.Errorf("%s: %s", wrong, out)
		}
	}
	if _, _, err := try("--to=yesterday"); err == nil || !strings.Contains(err.Error(), "2026-09-01") || !strings.Contains(err.Error(), "position") {
		t.Errorf("what can be written is not told: %v", err)
	}
}
