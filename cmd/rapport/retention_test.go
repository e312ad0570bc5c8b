package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rapport/store/storetest"
)

func TestRetainBesideAServer(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	p := serve(t, nil, env)
	now := time.Now()
	old, fresh := float64(now.AddDate(0, 0, -200).Unix()), float64(now.Unix())
	for _, body := range []string{chat("old", "one", old), chat("fresh", "two", fresh)} {
		if got := p.post(body); got.Code != 200 {
			t.Fatalf("got %+v", got)
		}
	}
	p.folded("2")
	month := now.AddDate(0, 0, -200).UTC().Format("2006-01")
	for _, tt := range []struct{ args, want string }{
		{"retain --retain-events=100d --dry-run", month + ": 1 events would be dropped\n"},
		{"retain --retain-events=100d --dry-run", month + ": 1 events would be dropped\n"},
		{"retain --retain-events=100d", month + ": 1 events were dropped\n"},
		{"retain --retain-events=100d", "0 months of events and 0 sessions were let go\n"},
	} {
		out, stderr, code := runRapport(t, strings.Fields(tt.args), env)
		if code != 0 || !strings.HasPrefix(out, tt.want) {
			t.Errorf("%s: %d %s%s", tt.args, code, out, stderr)
		}
	}
	if got := p.post(chat("old", "one", old)); got.Code != 200 {
		t.Errorf("a delivery from below the horizon: got %+v", got)
	}
	if c := verifyJSON(t, env).Counts; c.Received != 3 || c.Expired != 1 || c.Dropped != 1 || c.InSessions != 2 {
		t.Errorf("counts %+v", c)
	}
}

func TestAServerLetsGoAndMasks(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rules := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte("# ours\n\nphone\nticket=T-[0-9]{1,3}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"RAPPORT_DATABASE_URL=" + db.URL("rapport_server"), "RAPPORT_RETAIN_EVENTS=100d", "RAPPORT_RETAIN_MESSAGES=2400h",
		"RAPPORT_REDACT=email", "RAPPORT_REDACT_FILE=" + rules, "RAPPORT_REDACT_PATTERN=x=a{1,2}y",
	}
	p := serve(t, nil, env...)
	eventually(t, "the horizon moves", func() bool {
		h, err := db.Horizon(t.Context())
		return err == nil && h.Events.After(time.Now().AddDate(0, 0, -140)) && h.Messages.Equal(h.Events)
	})
	p.post(chat("s", "jo@example.org T-12 aay 0301234567", float64(time.Now().Unix())))
	if got := p.messages("s"); got != "[email] [ticket] [x] [phone]" {
		t.Errorf("kept %q", got)
	}
}

// messages are the texts of a session, a line each.
func (p *process) messages(session string) string {
	p.t.Helper()
	p.folded("1")
	var page struct {
		Data []struct{ Text string }
	}
	if code := p.get("/sessions/"+session+"/messages", &page); code != 200 {
		p.t.Fatalf("GET messages: %d", code)
	}
	var texts []string
	for _, m := range page.Data {
		texts = append(texts, m.Text)
	}
	return strings.Join(texts, "\n")
}

func TestRulesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"retain":                          "say for how long",
		"retain --retain-events=0d":       "no time such as",
		"retain --retain-events=1x":       "no time such as",
		"retain --retain-events=99999d":   "no time such as",
		"retain --retain-events=2h":       "1d at least",
		"retain --retain-sessions=9d":     "needs --retain-events",
		"serve --retain-sessions=9d":      "needs --retain-events",
		"serve --redact=name":             "there is no rule",
		"serve --redact-pattern=a=(":      "no RE2 expression",
		"heal --redact-pattern=a":         "NAME=REGEXP",
		"serve --redact-file=/none":       "--redact-file",
		"quarantine replay --redact=name": "there is no rule",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			_, stderr, code := runRapport(t, strings.Fields(args), "RAPPORT_DATABASE_URL=postgres://nobody@127.0.0.1:1/none")
			oneLineError(t, stderr, code, says)
		})
	}
}
