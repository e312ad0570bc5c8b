package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"rapport"
)

// crowd is a server with the events of several agents, who share session_ids.
// Whatever one of them said has its mark.
func crowd(t *testing.T) *live {
	t.Helper()
	l := newLive(t, Config{APIToken: "s3cret"})
	rng := rand.New(rand.NewPCG(4, 2))
	events := randomEvents(rng, 400)
	for _, e := range events {
		e.Payload = fmt.Appendf(nil, `{"mark":%q}`, mark(e.AgentID))
		e.RoomName, e.UserID = mark(e.AgentID), mark(e.AgentID)
		if e.Text != "" {
			e.Text += " " + mark(e.AgentID)
		}
	}
	l.appendAll(t, events)
	for i, e := range events[:60] {
		l.db.Exec(t, "rapport_server", `INSERT INTO dead_letters VALUES ('sessions', $1, $2, $3, 'chat.push', $4, 3, now())`,
			i+1, e.AgentID, e.SessionID, mark(e.AgentID))
		if _, err := l.db.Quarantine(t.Context(), fmt.Appendf(nil, `{"n":%d,"agent_id":%q,"mark":%q}`, i, e.AgentID, mark(e.AgentID)), "no", nil, noon); err != nil {
			t.Fatal(err)
		}
	}
	l.find(t)
	return l
}

func mark(agent string) string { return "said-by-" + agent }

// foreign tells what of an answer is another agent's: a mark, or an agent_id.
func foreign(t *testing.T, body []byte, mine ...string) string {
	t.Helper()
	for i := range 3 {
		agent := fmt.Sprint("agent", i)
		if !slices.Contains(mine, agent) && strings.Contains(string(body), mark(agent)) {
			return mark(agent)
		}
	}
	var shown struct {
		Data []map[string]any `json:"data"`
	}
	if json.Unmarshal(body, &shown) != nil {
		return ""
	}
	for _, row := range shown.Data {
		if agent, has := row["agent_id"].(string); has && !slices.Contains(mine, agent) {
			return "agent_id " + agent
		}
	}
	return ""
}

func TestAKeyOfAnAgentSeesAllOfItsOwn(t *testing.T) {
	t.Parallel()
	l := crowd(t)
	everybody, mine := as(l, "s3cret"), as(l, l.key(t, "mine", readScope, "agent1", "agent7"))
	for _, path := range []string{
		"/sessions", "/sessions?sort=message_count", "/sessions?sort=-quality_score", "/dead-letters",
		"/sessions/session2/messages", "/sessions/session2/events",
	} {
		var want []string
		all := allRows(t, everybody, path, 7)
		for _, row := range all {
			if row["agent_id"] == "agent1" {
				want = append(want, fmt.Sprint(row))
			}
		}
		var got []string
		for _, row := range allRows(t, mine, path, 3) {
			got = append(got, fmt.Sprint(row))
		}
		if len(want) == 0 || len(want) == len(all) || !slices.Equal(got, want) {
			t.Errorf("%s: %d rows, want %d of %d", path, len(got), len(want), len(all))
		}
	}
	wantColumn(t, allRows(t, mine, "/sessions?agent_id=agent2", 10), "agent_id")
	wantColumn(t, allRows(t, mine, "/quarantine", 10), "id")
	wantProblem(t, get(mine, "/sessions/session2?agent_id=agent2"), http.StatusNotFound)
	wantProblem(t, get(mine, "/sessions/session2/messages?agent_id=agent2"), http.StatusNotFound)
	wantProblem(t, get(mine, "/metrics"), http.StatusForbidden)
}

// TestAKeyOfAnAgentSeesNothingOfOthers asks every operation of the OpenAPI document
// with all its parameters, and with cursors that were made for somebody else.
func TestAKeyOfAnAgentSeesNothingOfOthers(t *testing.T) {
	t.Parallel()
	l := crowd(t)
	token, own := as(l, "s3cret"), as(l, l.key(t, "own", readScope, "agent0"))
	operations := describedIn(t, get(token, "/openapi.json").Body.Bytes())
	if len(operations) < 10 {
		t.Fatalf("%d operations", len(operations))
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	asker := &asker{rng: rand.New(rand.NewPCG(seed, 0)), cursors: []string{"x"}}
	for _, row := range allRows(t, token, "/sessions", 100) {
		asker.startedAt = append(asker.startedAt, row["started_at"].(string))
	}
	answered := map[string]int{}
	for range 60 {
		for _, op := range operations {
			target := asker.target(op)
			// What everybody sees has a cursor to go on with, perhaps.
			asker.remember(send(token, newRequest(http.MethodGet, target, nil)).Body.Bytes())
			w := send(own, newRequest(op.method, target, nil))
			asker.remember(w.Body.Bytes())
			if found := foreign(t, w.Body.Bytes(), "agent0"); found != "" {
				t.Fatalf("%s %s: %s in %s", op.method, target, found, w.Body)
			}
			if w.Code >= http.StatusInternalServerError {
				t.Fatalf("%s %s: %d %s", op.method, target, w.Code, w.Body)
			}
			if w.Code == http.StatusOK {
				answered[op.method+" "+op.path]++
			}
		}
	}
	for _, route := range []string{"GET /sessions", "GET /sessions/{session_id}", "GET /sessions/{session_id}/events", "GET /dead-letters"} {
		if answered[route] == 0 {
			t.Errorf("%s was never answered: the test shows nothing", route)
		}
	}
}

// described is an operation, and what of its parameters it takes to ask it.
type described struct {
	method, path string
	parameters   []describedParameter
}

type describedParameter struct {
	Name, In string
	Schema   struct {
		Type, Format string
		Enum         []any
	}
}

func describedIn(t *testing.T, document []byte) []described {
	t.Helper()
	var api struct {
		Paths map[string]map[string]struct{ Parameters []describedParameter }
	}
	if err := json.Unmarshal(document, &api); err != nil {
		t.Fatal(err)
	}
	var all []described
	for path, item := range api.Paths {
		for method, op := range item {
			if path != webhookPath {
				all = append(all, described{strings.ToUpper(method), path, op.Parameters})
			}
		}
	}
	slices.SortFunc(all, func(a, b described) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return all
}

// asker makes up requests.
type asker struct {
	rng       *rand.Rand
	cursors   []string
	startedAt []string
}

// remember keeps the cursor of an answer.
func (a *asker) remember(body []byte) {
	var page struct {
		NextCursor string `json:"next_cursor"`
	}
	if json.Unmarshal(body, &page) == nil && page.NextCursor != "" {
		a.cursors = append(a.cursors, page.NextCursor)
	}
}

// target is a request to an operation, with some of its parameters. Most often a
// cursor is sent with nothing else that its list depends on, so that it fits.
func (a *asker) target(op described) string {
	path, query := op.path, url.Values{}
	few := a.rng.IntN(2) == 0
	for _, p := range op.parameters {
		value := a.value(p)
		switch {
		case p.In == "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(value))
		case p.In == "query" && (p.Name == "limit" || p.Name == "cursor" && a.rng.IntN(2) == 0 || !few && a.rng.IntN(4) == 0):
			query.Set(p.Name, value)
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return path
}

func (a *asker) value(p describedParameter) string {
	switch p.Name {
	case "session_id":
		return fmt.Sprint("session", a.rng.IntN(6))
	case "agent_id":
		return fmt.Sprint("agent", a.rng.IntN(4))
	case "cursor":
		return a.cursors[a.rng.IntN(len(a.cursors))]
	case "started_at":
		return a.startedAt[a.rng.IntN(len(a.startedAt))]
	case "wait":
		return "0s"
	}
	switch {
	case len(p.Schema.Enum) > 0:
		return fmt.Sprint(p.Schema.Enum[a.rng.IntN(len(p.Schema.Enum))])
	case p.Schema.Type == "integer":
		return fmt.Sprint(1 + a.rng.IntN(8))
	case p.Schema.Type == "boolean":
		return fmt.Sprint(a.rng.IntN(2) == 0)
	case p.Schema.Format == "date-time":
		return noon.Add(time.Duration(a.rng.IntN(240)-60) * time.Minute).Format(time.RFC3339Nano)
	}
	return []string{"agent1", "session1", rapport.ChatPush, "x"}[a.rng.IntN(4)]
}
