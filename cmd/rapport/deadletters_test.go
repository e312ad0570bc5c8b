package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"rapport/store"
	"rapport/store/storetest"
)

func TestDeadLettersOfARunningServer(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.Exec(t, "rapport_owner", "ALTER TABLE sessions ADD CONSTRAINT no_poison CHECK (session_id NOT LIKE 'poison%')")
	env := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	p := serve(t, nil, env)
	at := float64(time.Now().Unix())
	for i, session := range []string{"one", "poison", "poison too", "two"} {
		p.post(chat(session, "hi", at+float64(i)))
	}
	var page sessionPage
	if code := p.get("/sessions?min_position=4&wait=20s", &page); code != 200 || len(page.Data) != 2 {
		t.Fatalf("GET /sessions: %d %+v", code, page)
	}
	listed, stderr, code := runRapport(t, []string{"dead-letters", "list"}, env)
	if code != 0 || strings.Count(listed, "\n") != 3 || !strings.Contains(listed, "no_poison") {
		t.Errorf("want a heading and two dead letters: %d\n%s%s", code, listed, stderr)
	}
	first, _, _ := runRapport(t, []string{"dead-letters", "list", "--json", "--limit", "1"}, env)
	var letter struct {
		Position, Attempts int
		SessionID          string `json:"session_id"`
		Retry              bool
	}
	if err := json.Unmarshal([]byte(first), &letter); err != nil || letter.Position != 3 || letter.Attempts != 3 || letter.Retry {
		t.Errorf("%v in %s", err, first)
	}
	for name, args := range map[string][]string{"neither": {}, "both": {"--all", "2"}, "none of them": {"77"}} {
		if _, stderr, code := runRapport(t, append([]string{"dead-letters", "retry"}, args...), env); code != 1 {
			t.Errorf("%s: %d %s", name, code, stderr)
		}
	}

	db.Exec(t, "rapport_owner", "ALTER TABLE sessions DROP CONSTRAINT no_poison")
	out, stderr, code := runRapport(t, []string{"dead-letters", "retry", "2"}, env)
	if code != 0 || !strings.Contains(out, "1 to be tried again") {
		t.Errorf("retry 2: %d %s%s", code, out, stderr)
	}
	eventually(t, "position 2 is in its session", func() bool {
		return p.get("/sessions", &page) == 200 && len(page.Data) == 3
	})
	response, err := client.Post(p.base+"/dead-letters/retry", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _ = response.Body.Close(); response.StatusCode != http.StatusOK {
		t.Errorf("POST /dead-letters/retry: %d", response.StatusCode)
	}
	eventually(t, "no dead letters", func() bool {
		var letters sessionPage
		return p.get("/dead-letters", &letters) == 200 && len(letters.Data) == 0
	})
	if p.get("/sessions", &page); len(page.Data) != 4 {
		t.Errorf("GET /sessions: %+v", page)
	}
}

func TestDeadDeliveriesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	env := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	for i := range 3 {
		_, err := db.Enqueue(t.Context(), store.Delivery{ID: fmt.Sprint("rule/", i+1), Rule: "rule", Destination: "crm", Position: int64(i), Body: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
	}
	db.Exec(t, "rapport_server", `UPDATE river_job SET state = 'discarded', attempt = 20, finalized_at = now(), errors = ARRAY['{"error": "answered 500"}']::jsonb[]`)
	command := func(want int, args ...string) string {
		t.Helper()
		out, stderr, code := runRapport(t, append([]string{"dead-letters"}, args...), env)
		if code != want {
			t.Errorf("%v: %d %s%s", args, code, out, stderr)
		}
		return out
	}
	if listed := command(0, "list"); strings.Count(listed, "\n") != 4 || !strings.Contains(listed, "answered 500") || !strings.Contains(listed, "crm") {
		t.Errorf("the list is\n%s", listed)
	}
	var letter struct {
		ID, Kind, Destination, Rule, Error string
		RetryCount                         int `json:"retry_count"`
	}
	err := json.Unmarshal([]byte(command(0, "list", "--json", "--limit", "1")), &letter)
	if err != nil || letter.ID != "d3" || letter.Kind != "delivery" || letter.Destination != "crm" || letter.RetryCount != 19 || letter.Error != "answered 500" {
		t.Errorf("%v: %+v", err, letter)
	}
	command(0, "retry", "d1")
	command(1, "retry", "d1", "17")
	command(1, "retry", "x")
	command(0, "delete", "d2")
	command(1, "delete", "d2")
	command(1, "delete", "17")
	command(1, "delete")
	if out := command(0, "delete", "--all"); !strings.Contains(out, "1 deleted") {
		t.Errorf("delete --all: %s", out)
	}
	if listed := command(0, "list"); strings.Count(listed, "\n") != 1 {
		t.Errorf("left is\n%s", listed)
	}
}
