package main

import (
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"rapport/internal/verify"
	"rapport/store/storetest"
)

func TestVerifyCountsFromEndToEndBesideAServer(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	p := serve(t, nil, env)
	now := float64(time.Now().Unix())
	for _, body := range []string{chat("s", "one", now), chat("s", "two", now+1), chat("s", "two", now+1), `{"event": "ping"}`} {
		if got := p.post(body); got.Code != 200 {
			t.Fatalf("%s: got %+v", body, got)
		}
	}
	for range 3 {
		if got := p.post("no event"); got.Code != 422 {
			t.Fatalf("got %+v", got)
		}
	}
	p.folded("3")
	c := verifyJSON(t, env).Counts
	if c.Received != 7 || c.Answered200 != 4 || c.Recognised != 1 || c.InLog != 3 || c.NoSession != 1 || c.InSessions != 2 {
		t.Errorf("7 received, 4 answered 200, 3 in the log, 1 a ping: %+v", c)
	}

	// What is replayed from the quarantine is not received again.
	body := []byte(chat("s", "three", now+2))
	sum := sha256.Sum256(body)
	db.Exec(t, "rapport_owner", "UPDATE quarantine SET body = $1, body_sha256 = $2", body, sum[:])
	if out, stderr, code := runRapport(t, []string{"quarantine", "replay"}, env); code != 0 || !strings.HasPrefix(out, "1 replayed") {
		t.Fatalf("replay: %d %s%s", code, out, stderr)
	}
	p.folded("4")
	c = verifyJSON(t, env).Counts
	if c.Received != 7 || c.Answered200 != 4 || c.InLog != 4 || c.Quarantined != 3 || c.Replayed != 3 {
		t.Errorf("7 received, 4 answered 200, 4 in the log, 3 replayed: %+v", c)
	}
}

func TestVerifyTellsADifferenceInALineAndExitsWith1(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	p := serve(t, nil, env)
	p.post(chat("s", "one", float64(time.Now().Unix())))
	p.folded("1")
	db.Exec(t, "rapport_owner", "UPDATE sessions SET peak_participants = 9")
	out, stderr, code := runRapport(t, []string{"verify"}, env)
	if code != 1 || stderr != "rapport: what is kept is not what the log says: 1 difference\n" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	first, _, _ := strings.Cut(out, "\n")
	if !strings.HasPrefix(first, "session ") || !strings.HasSuffix(first, ": peak_participants is 9, the log says 0") {
		t.Errorf("the first line is %q", first)
	}
	if !strings.Contains(out, "\nin sessions ") || !strings.HasSuffix(out, " events/s): 1 difference\n") {
		t.Errorf("no summary in:\n%s", out)
	}
}

// folded waits until the sessions contain a position.
func (p *process) folded(position string) {
	p.t.Helper()
	var page sessionPage
	if code := p.get("/sessions?min_position="+position, &page); code != 200 {
		p.t.Fatalf("GET /sessions: %d %+v", code, page)
	}
}

// verifyJSON is the report of a verification that finds nothing.
func verifyJSON(t *testing.T, env string) verify.Report {
	t.Helper()
	out, stderr, code := runRapport(t, []string{"verify", "--json"}, env)
	var report verify.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || report.DifferenceCount != 0 {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, out, stderr)
	}
	return report
}
