package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"rapport"
	"rapport/store/storetest"
)

const hookSecret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// notice is what somebody outside was told, once for each id.
type notice struct {
	id, method, authorization, body string
}

// outside are the endpoints of others, one a path: signed ones, Slack, and a CRM.
type outside struct {
	*httptest.Server
	verifier *standardwebhooks.Webhook

	mu     sync.Mutex
	byPath map[string][]notice // guarded by mu
	calls  map[string]int      // by path, repeated and refused ones too; guarded by mu
	wrong  []string            // guarded by mu
	away   bool                // guarded by mu
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	o := &outside{verifier: verifier, byPath: make(map[string][]notice), calls: make(map[string]int)}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

// ServeHTTP takes what is told, and has /hanging wait for ever.
func (o *outside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !o.take(r, body) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path == "/hanging" {
		<-r.Context().Done()
		return
	}
	_, _ = io.WriteString(w, "ok") // as Slack says
}

func (o *outside) take(r *http.Request, body []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	path := r.URL.Path
	o.calls[path]++
	if !strings.HasPrefix(path, "/crm") && path != "/slack" {
		if err := o.verifier.Verify(body, r.Header); err != nil {
			o.wrong = append(o.wrong, fmt.Sprintf("%s: %v", path, err))
		}
	}
	if o.away {
		return false
	}
	this := notice{id: r.Header.Get("Webhook-Id"), method: r.Method, authorization: r.Header.Get("Authorization"), body: string(body)}
	if i := slices.IndexFunc(o.byPath[path], func(other notice) bool { return other.id == this.id }); i < 0 || path == "/slack" {
		o.byPath[path] = append(o.byPath[path], this)
	} else if o.byPath[path][i] != this {
		o.wrong = append(o.wrong, fmt.Sprintf("%s is told as %+v, and as %+v", path, o.byPath[path][i], this))
	}
	return true
}

func (o *outside) set(away bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = away
}

// of are what a path was told, whose body has all of the parts.
func (o *outside) of(path string, parts ...string) (found []notice) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, one := range o.byPath[path] {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(one.body, part) }) {
			found = append(found, one)
		}
	}
	return found
}

func (o *outside) called(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls[path]
}

// wantNothingWrong checks that all signatures were right, and no id told two things.
func (o *outside) wantNothingWrong(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, wrong := range o.wrong {
		t.Error(wrong)
	}
}

// environment is what the shipped rules want.
func (o *outside) environment() []string {
	return []string{
		"RAPPORT_OUTBOUND_ALLOW=127.0.0.0/8", "HOOK_SECRET=" + hookSecret, "SLACK_WEBHOOK_URL=" + o.URL + "/slack", "SUPPORT_URL=" + o.URL + "/support",
		"OPERATIONS_URL=" + o.URL + "/operations", "HELP_URL=" + o.URL + "/help", "WELCOME_URL=" + o.URL + "/welcome",
		"CRM_URL=" + o.URL + "/crm", "CRM_TOKEN=t0ken",
	}
}

const shippedRules = "../../deploy/rules/rules.yaml"

// sketch is something that happens, and what the shipped rules make of it.
type sketch struct {
	happens []string // bodies of deliveries
	path    string   // who is told
	parts   []string // what is in the body
	times   int      // how often exactly
}

// joins is a delivery of a session's begin.
func joins(agent, session string, participants int, now float64) string {
	return fmt.Sprintf(`{"agent_id":%q,"event_type":"room.join","data":{"room_name":"r","participant_count":%d,"session_id":%q},"timestamp":%f}`, agent, participants, session, now)
}

// sketches have a session or an agent each.
func sketches(now float64) map[string]sketch {
	join := func(agent, session string, participants int) string { return joins(agent, session, participants, now) }
	asks := func(user, session, text string) string {
		return fmt.Sprintf(`{"event":"chat_push","timestamp":%f,"agentId":"a","sessionId":%q,"user":{"id":%q},"message":{"role":"user","content":%q}}`, now, session, user, text)
	}
	fails := func(n int, agent, code, severity string) (bodies []string) {
		for i := range n {
			bodies = append(bodies, fmt.Sprintf(`{"event":"agent_error","timestamp":%f,"agentId":%q,"sessionId":"failing-%s","error":{"code":%q,"severity":%q,"message":"try %d"}}`,
				now, agent, agent, code, severity, i))
		}
		return bodies
	}
	crowd := func(sessions int) (bodies []string) {
		for i := range sessions {
			bodies = append(bodies, join("crowded", fmt.Sprint("crowd-", i), 1))
		}
		return bodies
	}
	return map[string]sketch{
		"frustration calls a human": {[]string{chat("frustrated", "This is awful!", now)},
			"/support", []string{`"rule":"frustrated-visitor"`, `"severity":"high"`, `"session_id":"frustrated"`, "This is awful!"}, 1},
		"and the team": {nil, "/slack", []string{"a visitor is frustrated", "This is awful!"}, 1},
		"the same question in a session gets help": {[]string{chat("asks", "Where is my order?", now), chat("asks", "where is my ORDER", now+5)},
			"/help", []string{`"session_id": "asks"`, `"question": "where is my ORDER"`, `"suggest": "help"`}, 1},
		"the same question of a user gets help": {[]string{asks("u1", "asks-1", "How do I pay?"), asks("u1", "asks-2", "How do I pay?"), asks("u2", "asks-3", "How do I pay?")},
			"/help", []string{"How do I pay?"}, 1},
		"it is that of the second session": {nil, "/help", []string{`"session_id": "asks-2"`}, 1},
		"six errors of a code alert operations": {fails(6, "e1", "E42", "low"),
			"/operations", []string{`"rule":"error-burst"`, `"severity":"high"`, `"count":6`, `"agent_id":"e1"`, `"error.code":"E42"`}, 1},
		"five do not":              {append(fails(5, "e2", "E42", "low"), fails(1, "e2", "E43", "low")...), "/operations", []string{`"agent_id":"e2"`}, 0},
		"a critical one does":      {fails(1, "e3", "E44", "critical"), "/operations", []string{`"rule":"critical-error"`, `"severity":"critical"`}, 1},
		"a visitor joins":          {[]string{join("lobby", "visitor", 1)}, "/slack", []string{"a visitor has joined", "lobby"}, 1},
		"a session is welcomed":    {nil, "/welcome", []string{`"rule":"welcome"`, `"session_id":"visitor"`}, 1},
		"a keyword calls a human":  {[]string{chat("hurries", "I need it right now", now)}, "/support", []string{`"rule":"urgent-words"`, `"session_id":"hurries"`}, 1},
		"who asks a price is told": {[]string{chat("buys", "How much is it?", now)}, "/crm/leads", []string{`"note": "How much is it?"`}, 1},
		"a crowd":                  {crowd(23), "/operations", []string{`"rule":"agent-at-capacity"`, `"agent_id":"crowded"`}, 1},
		"a full room":              {[]string{join("full", "full", 10)}, "/operations", []string{`"rule":"room-nearly-full"`, `"participants":10`}, 1},
	}
}

// awaitRules waits until rules are asked: what came before is not told.
func awaitRules(t *testing.T, db *storetest.Database) {
	t.Helper()
	eventually(t, "the rules are asked", func() bool {
		return db.TryExec(t.Context(), "rapport_owner", "SELECT 1 / (SELECT begun::integer FROM reaction_state)") == nil
	})
}

func TestEachSketchIsToldToThoseOutside(t *testing.T) {
	t.Parallel()
	db, others := storetest.New(t), newOutside(t)
	p := serve(t, []string{"--rules", shippedRules}, append(others.environment(), "RAPPORT_DATABASE_URL="+db.URL("rapport_server"))...)
	awaitRules(t, db)
	now := float64(time.Now().Unix())
	all := sketches(now)
	for name, s := range all {
		for _, body := range s.happens {
			if got := p.post(body); got.Code != http.StatusOK || got.Duplicate {
				t.Fatalf("%s: %+v", name, got)
			}
		}
	}
	says(t, db, 0, rapport.RoleUser, rapport.RoleAgent)
	came := 0
	eventually(t, "the crowd goes on coming until it is noticed", func() bool { // a number of open sessions may be a moment old
		came++
		p.post(joins("crowded", fmt.Sprint("late-", came), 1, now))
		return len(others.of(all["a crowd"].path, all["a crowd"].parts...)) > 0
	})
	for name, s := range all {
		if s.times > 0 {
			eventually(t, name, func() bool { return len(others.of(s.path, s.parts...)) >= s.times })
		}
	}
	for version, with := range []string{`"messages": 2`, `"messages": 3`} {
		eventually(t, "a closed session is told to the CRM", func() bool {
			db.Exec(t, "rapport_server", "UPDATE due_conversations SET at = now()") // a minute passes, and nothing of it comes
			return len(others.of("/crm", `"external_id": "over"`, with)) == 1
		})
		if version == 0 {
			says(t, db, 2, rapport.RoleUser) // late
		}
	}
	// Who waits for nothing has all that will come.
	var sessions sessionPage
	p.get("/sessions?limit=1000", &sessions)
	eventually(t, "all sessions are welcomed", func() bool { return len(others.of("/welcome")) == len(sessions.Data) })
	eventually(t, "no delivery waits", func() bool {
		tally, err := db.DeliveryTally(t.Context())
		return err == nil && len(tally) == 0
	})
	for name, s := range all {
		if got := others.of(s.path, s.parts...); len(got) != s.times {
			t.Errorf("%s: told %d times, want %d", name, len(got), s.times)
		}
	}
	wantTheCRM(t, others)
	others.wantNothingWrong(t)
	wantShippedAlerts(t, p)
	p.terminate()
}

// says appends messages of a conversation of hours ago, from so many seconds after its
// begin on, as another server that drains its spool does.
func says(t *testing.T, db *storetest.Database, second int, roles ...string) {
	t.Helper()
	begin := time.Now().UTC().Truncate(time.Hour).Add(-3 * time.Hour)
	var events []*rapport.Event
	for i, role := range roles {
		at := begin.Add(time.Duration(second+i) * time.Second)
		events = append(events, &rapport.Event{
			Fingerprint: sha256.Sum256(fmt.Append(nil, "over ", second+i)), OccurredAt: at, ReceivedAt: at, Type: rapport.ChatPush,
			AgentID: "a", SessionID: "over", UserID: "u9", Role: role, Text: fmt.Sprint("Good bye, for the time being: ", second+i), Payload: []byte("{}"),
		})
	}
	if _, err := db.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
}

// wantTheCRM checks that its API is called as it wants to be.
func wantTheCRM(t *testing.T, others *outside) {
	t.Helper()
	for _, one := range others.of("/crm") {
		var contact map[string]any
		if err := json.Unmarshal([]byte(one.body), &contact); err != nil || contact["external_id"] != "over" || contact["contact"] != "u9" {
			t.Errorf("the CRM is told %v, %v", contact, err)
		}
		if one.method != http.MethodPut || one.authorization != "Bearer t0ken" {
			t.Errorf("the CRM is told by %s, as %s", one.method, one.authorization)
		}
	}
	if n := len(others.of("/crm")); n != 2 {
		t.Errorf("the CRM is told %d times, want 2", n)
	}
}

func wantShippedAlerts(t *testing.T, p *process) {
	t.Helper()
	var alerts struct {
		Data []struct {
			Rule, Severity string
			WindowS        int64 `json:"window_s"`
			Below          *float64
		}
	}
	if code := p.get("/alerts", &alerts); code != http.StatusOK || len(alerts.Data) != 3 {
		t.Fatalf("%d, %+v", code, alerts)
	}
	if first := alerts.Data[1]; first.Rule != "quality-drops" || first.Severity != "high" || first.WindowS != 3600 || *first.Below != 50 {
		t.Errorf("%+v", first)
	}
	metrics := fetch(t, p.base+"/metrics", "")
	for _, want := range []string{
		`rapport_delivery_attempts_total{destination="crm",result="delivered"} 2`, `rapport_delivery_breaker{destination="team",state="closed"} 1`,
		`rapport_rules_refused 0`, `rapport_follower_lag_seconds{follower="reaction"} `,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// echoRules tell what is said to the paths of somebody outside.
func echoRules(url, rule string, paths ...string) string {
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "rules:\n  - {name: %s, on: chat.push, then: [%s]}\ndestinations:\n", rule, strings.Join(paths, ", "))
	for _, path := range paths {
		_, _ = fmt.Fprintf(&text, "  %s: {http: {url: %s/%s, secret: %s}}\n", path, url, path, hookSecret)
	}
	return text.String()
}

func TestDeliveriesOutliveTheirServerAndTheirDestination(t *testing.T) {
	t.Parallel()
	db, others := storetest.New(t), newOutside(t)
	env := append(others.environment(), "RAPPORT_DATABASE_URL="+db.URL("rapport_server"), "RAPPORT_RULES="+rulesFile(t, echoRules(others.URL, "echo", "tell")))
	const each = 20
	send := func(p *process, name string) {
		for i := range each {
			if got := p.post(chat("s", fmt.Sprint(name, i, "."), 1790607253+float64(i))); got.Code != http.StatusOK {
				t.Fatal(got)
			}
		}
	}
	others.set(true)
	first := serve(t, nil, env...)
	awaitRules(t, db)
	send(first, "the destination is away ")
	eventually(t, "it was tried in vain", func() bool { return others.called("/tell") >= 5 })
	first.kill()
	killed := time.Now()
	others.set(false)
	second := serve(t, nil, env...)
	send(second, "all are back ")
	eventually(t, "all have arrived", func() bool {
		// Hours pass: what waits for its next attempt has waited enough, and what was under way
		// at the kill is found, as the tests of deliver have it.
		db.Exec(t, "rapport_server", `UPDATE river_job SET state = 'available', scheduled_at = now()
			WHERE id IN (SELECT id FROM river_job
				WHERE state IN ('retryable', 'scheduled') OR state = 'running' AND attempted_at < $1 FOR UPDATE SKIP LOCKED)`, killed)
		return len(others.of("/tell")) >= 2*each
	})
	texts := make(map[string]bool)
	for _, one := range others.of("/tell") {
		var data struct{ Event struct{ Text string } }
		if err := json.Unmarshal([]byte(one.body), &data); err != nil {
			t.Fatal(err)
		}
		texts[data.Event.Text] = true
	}
	if n := len(others.of("/tell")); n != 2*each || len(texts) != n {
		t.Errorf("%d messages were told under %d ids, want %d", len(texts), n, 2*each)
	}
	others.wantNothingWrong(t)
	second.terminate()
}

// TestADestinationThatHangsKeepsNobodyWaiting: it is never answered, and all others have
// all that is told.
func TestADestinationThatHangsKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	db, others := storetest.New(t), newOutside(t)
	env := append(others.environment(), "RAPPORT_DATABASE_URL="+db.URL("rapport_server"))
	p := serve(t, []string{"--rules", rulesFile(t, echoRules(others.URL, "echo", "hanging", "quick"))}, env...)
	awaitRules(t, db)
	p.post(chat("s", "the first", 1790607253))
	eventually(t, "one hangs", func() bool { return others.called("/hanging") == 1 })
	const more = 40
	for i := range more {
		p.post(chat("s", fmt.Sprint("number ", i), 1790607254+float64(i)))
	}
	eventually(t, "the other has all", func() bool { return len(others.of("/quick")) == 1+more })
	if n := others.called("/hanging"); n > 4 {
		t.Errorf("%d are under way to the one that hangs, want 4 at most", n)
	}
}

func TestRulesAreReloadedWhileTheServerRuns(t *testing.T) {
	t.Parallel()
	others := newOutside(t)
	file := rulesFile(t, echoRules(others.URL, "first", "tell"))
	p := serve(t, []string{"--rules", file}, others.environment()...) // with a Postgres of its own
	eventually(t, "the rules are asked", func() bool {                // what came before is not told
		p.post(chat("before", fmt.Sprint("message 0.", time.Now()), 1790607253))
		return len(others.of("/tell")) > 0
	})
	n := 0
	tells := func(rule string) {
		t.Helper()
		n++
		text := fmt.Sprint("message ", n, ".")
		p.post(chat("s", text, 1790607253+float64(n)))
		eventually(t, rule+" tells", func() bool { return len(others.of("/tell", text)) > 0 })
		if got := others.of("/tell", text, fmt.Sprintf(`"rule":%q`, rule)); len(got) != 1 {
			t.Errorf("%s does not tell %+v", rule, others.of("/tell", text))
		}
	}
	reloads := func() int { return strings.Count(p.output(), "the rules are read again") }
	tells("first")

	writeFile(t, file, echoRules(others.URL, "second", "tell")+"no_such_field: 1\nnor_this: 2\n")
	eventually(t, "the mistakes are told", func() bool { return strings.Contains(p.output(), "nor_this") })
	for _, place := range []string{"rules.yaml:5:1: ", "rules.yaml:6:1: "} {
		if n := strings.Count(p.output(), place); n != 1 {
			t.Errorf("%s is told %d times:\n%s", place, n, p.output())
		}
	}
	tells("first")
	if metrics := fetch(t, p.base+"/metrics", ""); !strings.Contains(metrics, "rapport_rules_refused 1") {
		t.Error("no metric tells that the rules are refused")
	}

	writeFile(t, file+".new", echoRules(others.URL, "third", "tell"))
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new file is read", func() bool { return reloads() == 1 })
	tells("third")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "SIGHUP has it read again", func() bool { return reloads() == 2 })
	tells("third")
	p.terminate()
}

func TestAServerDoesNotStartWithWrongRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wrong := strings.Replace(someRules, "event.text", "event.txt", 1)
	_, stderr, code := runRapport(t, []string{"serve", "--listen", "127.0.0.1:0", "--data-dir", dir, "--rules", rulesFile(t, wrong)})
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if code != 1 || len(lines) != 3 || !strings.Contains(lines[0], "rules.yaml:3:46: when: undefined field 'txt'") ||
		!strings.Contains(lines[1], "rules.yaml:11:12: url: the environment variable OPS_URL is not set") || !strings.Contains(lines[2], "rapport: 2 mistakes in ") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("it has begun: %v, %v", left, err)
	}
	_, stderr, code = runRapport(t, []string{"serve", "--listen", "127.0.0.1:0", "--data-dir", dir, "--rules", filepath.Join(dir, "none.yaml")})
	oneLineError(t, stderr, code, "no such file")
}
