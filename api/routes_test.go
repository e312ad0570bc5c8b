package api

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"rapport/api/access"
	"rapport/api/dashboard"
)

// routeTable is who gets which status. A row per route, asked in this order; of
// agents a session of A and nothing of B is asked for.
//
//	none     no key, on this machine       cookie   of a read key
//	wrong    a key that never was          page     cookie of an admin key, from a page of ours
//	expired  and revoked: keys once        script   the same, but from nowhere
//	read …   keys of one scope             foreign  the same, but from a page of another site
//	token    RAPPORT_API_TOKEN             ended    cookie of a revoked key
//	A, B     read keys of one agent
const routeTable = `
route                                none wrong expired revoked read sql live admin token   A   B  cookie page script foreign ended
GET /healthz                          200   200     200     200  200 200  200   200   200 200 200     200  200    200     200   200
GET /readyz                           200   200     200     200  200 200  200   200   200 200 200     200  200    200     200   200
POST /webhook                         200   200     200     200  200 200  200   200   200 200 200     200  200    200     200   200
POST /webhook/{source}                401   401     401     401  401 401  401   401   401 401 401     401  401    401     401   401
GET /signin                           200   200     200     200  200 200  200   200   200 200 200     200  200    200     200   200
POST /signin                          401   401     401     401  401 401  401   401   401 401 401     401  401    401     403   401
POST /signout                         204   204     204     204  204 204  204   204   204 204 204     204  204    204     403   204
GET /                                 303   303     303     303  200 403  403   200   200 200 200     200  200    200     200   303
GET /ui/sessions                      303   303     303     303  200 403  403   200   200 200 200     200  200    200     200   303
GET /ui/sessions/{session_id}         303   303     303     303  200 403  403   200   200 200 404     200  200    200     200   303
GET /ui/agents                        303   303     303     303  200 403  403   200   200 200 200     200  200    200     200   303
GET /ui/alerts                        303   303     303     303  200 403  403   200   200 200 200     200  200    200     200   303
GET /ui/dead-letters                  303   303     303     303  200 403  403   200   200 200 200     200  200    200     200   303
GET /ui/quarantine                    303   303     303     303  200 403  403   200   200 200 200     200  200    200     200   303
GET /ui/health                        303   303     303     303  200 403  403   200   200 200 200     200  200    200     200   303
POST /ui/dead-letters/retry           303   303     303     303  403 403  403   303   303 403 403     403  303    403     403   303
POST /ui/dead-letters/delete          303   303     303     303  403 403  403   303   303 403 403     403  303    403     403   303
POST /ui/dead-letters/{id}/retry      303   303     303     303  403 403  403   303   303 403 403     403  303    403     403   303
POST /ui/dead-letters/{id}/delete     303   303     303     303  403 403  403   303   303 403 403     403  303    403     403   303
GET /favicon.ico                      200   200     200     200  200 200  200   200   200 200 200     200  200    200     200   200
GET /ui/assets/{asset}                404   404     404     404  404 404  404   404   404 404 404     404  404    404     404   404
GET /openapi.json                     401   401     401     401  200 200  200   200   200 200 200     200  200    200     200   401
GET /docs                             401   401     401     401  200 200  200   200   200 200 200     200  200    200     200   401
GET /metrics                          401   401     401     401  200 403  403   200   200 403 403     200  200    200     200   401
GET /sessions                         401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
GET /sessions/{session_id}            401   401     401     401  200 403  403   200   200 200 404     200  200    200     200   401
GET /sessions/{session_id}/messages   401   401     401     401  200 403  403   200   200 200 404     200  200    200     200   401
GET /sessions/{session_id}/events     401   401     401     401  200 403  403   200   200 200 404     200  200    200     200   401
GET /sessions/{session_id}/history    401   401     401     401  200 403  403   200   200 200 404     200  200    200     200   401
GET /events                           401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
GET /live                             401   401     401     401  403 403  200   200   200 403 403     403  200    200     200   401
GET /messages                         401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
GET /stats                            401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
GET /stats/timeseries                 401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
GET /stats/breakdown                  401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
GET /stats/funnel                     401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
GET /agents                           401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
GET /agents/{agent_id}                401   401     401     401  200 403  403   200   200 200 404     200  200    200     200   401
GET /users/{user_id}/sessions         401   401     401     401  200 403  403   200   200 200 404     200  200    200     200   401
GET /quarantine                       401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
GET /dead-letters                     401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
GET /alerts                           401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
GET /alerts/history                   401   401     401     401  200 403  403   200   200 200 200     200  200    200     200   401
POST /dead-letters/retry              401   401     401     401  403 403  403   200   200 403 403     403  200    403     403   401
POST /dead-letters/{id}/retry         401   401     401     401  403 403  403   200   200 403 403     403  200    403     403   401
DELETE /dead-letters                  401   401     401     401  403 403  403   200   200 403 403     403  200    403     403   401
DELETE /dead-letters/{id}             401   401     401     401  403 403  403   404   404 403 403     403  404    403     403   401
POST /sql                             401   401     401     401  403 200  403   200   200 403 403     403  200    403     403   401
DELETE /sessions/{session_id}         401   401     401     401  403 403  403   200   200 403 403     403  200    403     403   401
GET /audit                            401   401     401     401  403 403  403   200   200 403 403     403  200    200     200   401
`

// parameters are what is asked for where a route has some.
var parameters = map[string]string{"session_id": "s1", "id": "1", "source": "nobody", "asset": "none.css", "agent_id": "A", "user_id": "u1"}

// bodies are what is sent where a path needs one.
var bodies = map[string]string{
	"/webhook": `{"event_type":"test"}`, "/webhook/{source}": `{"event_type":"test"}`, "/signin": `{"key":"no key"}`,
	"/sql": `{"query":"SELECT 1"}`,
}

// targetOf is what is asked for of a route.
func targetOf(pattern string) string {
	target := pattern
	for name, value := range parameters {
		target = strings.ReplaceAll(target, "{"+name+"}", value)
	}
	return target
}

type routeRow struct {
	route  string // method and pattern
	status map[string]int
}

func parseRoutes(t *testing.T) (credentials []string, rows []routeRow) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(routeTable)) {
		fields := strings.Fields(line)
		if fields[0] == "route" {
			credentials = fields[1:]
			continue
		}
		row := routeRow{route: fields[0] + " " + fields[1], status: map[string]int{}}
		for i, text := range fields[2:] {
			status, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			row.status[credentials[i]] = status
		}
		if len(row.status) != len(credentials) {
			t.Fatalf("%d statuses of %s, want %d", len(row.status), row.route, len(credentials))
		}
		rows = append(rows, row)
	}
	return credentials, rows
}

// credentials are the headers of each of the table's columns.
func (l *live) credentials(t *testing.T) map[string][]string {
	t.Helper()
	until := noon.Add(time.Hour)
	admin := l.key(t, "admin", []string{"admin"})
	made := map[string][]string{
		"none": nil, "wrong": bearerOf(access.NewKey()), "token": bearerOf("s3cret"), "admin": bearerOf(admin),
		"expired": bearerOf(l.keyUntil(t, "expired", &until, []string{"admin"})),
		"read":    bearerOf(l.key(t, "read", readScope)),
		"sql":     bearerOf(l.key(t, "sql", []string{"sql"})),
		"live":    bearerOf(l.key(t, "live", []string{"live"})),
		"A":       bearerOf(l.key(t, "a", readScope, "A")),
		"B":       bearerOf(l.key(t, "b", readScope, "B")),
	}
	revoked := l.key(t, "revoked", []string{"admin"})
	made["ended"] = append(cookieHeader(signIn(t, l, revoked)), "Origin", ownPage)
	l.revoke(t, "revoked")
	made["revoked"] = bearerOf(revoked)
	page := cookieHeader(signIn(t, l, admin))
	made["cookie"] = append(cookieHeader(signIn(t, l, l.key(t, "reader", readScope))), "Origin", ownPage)
	made["page"] = append(slices.Clone(page), "Origin", ownPage)
	made["script"] = page
	made["foreign"] = append(slices.Clone(page), "Origin", "https://evil.example")
	l.now.Store(&until)
	becomes(t, l, http.StatusUnauthorized, "/openapi.json", made["revoked"]...)
	return made
}

func TestWhoGetsWhat(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{APIToken: "s3cret"})
	l.deliver(t, said("A", "s1", "user", "Hi", 1), said("A", "s2", "user", "Hi", 2),
		`{"event_type":"room.join","agent_id":"A","data":{"session_id":"s3","user_id":"u1"},"timestamp":1790596800}`)
	l.db.Exec(t, "rapport_server", `INSERT INTO dead_letters VALUES ('sessions', 1, 'A', 's1', 'chat.push', 'no', 3, now())`)
	names, rows := parseRoutes(t)
	made := l.credentials(t)
	for _, row := range rows {
		method, pattern, _ := strings.Cut(row.route, " ")
		target := targetOf(pattern)
		for _, name := range names {
			r := newRequest(method, target, strings.NewReader(bodies[pattern]), append(slices.Clone(made[name]), "Content-Type", "application/json")...)
			w := send(l, r)
			if w.Code != row.status[name] {
				t.Errorf("%s, %s: %d, want %d: %.200s", row.route, name, w.Code, row.status[name], w.Body)
			}
			if (w.Code == http.StatusForbidden || w.Code == http.StatusUnauthorized) && !dashboard.IsPath(target) {
				wantProblem(t, w, w.Code)
			}
		}
	}
}

func TestEveryRouteHasARowAndAScope(t *testing.T) {
	t.Parallel()
	_, rows := parseRoutes(t)
	missing := map[string]bool{}
	s := wired(t)
	err := chi.Walk(s.router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		missing[method+" "+route] = true
		return nil
	})
	if err != nil || len(missing) == 0 {
		t.Fatal(len(missing), err)
	}
	for _, row := range rows {
		if !missing[row.route] {
			t.Errorf("there is no route %s", row.route)
		}
		delete(missing, row.route)
	}
	for _, route := range slices.Sorted(maps.Keys(missing)) {
		t.Errorf("%s has no row in routeTable", route)
	}

	t.Run("and nobody gets to one that demands no scope", func(t *testing.T) {
		t.Parallel()
		who := &access.Identity{Name: "root", Scopes: access.Scopes()}
		if demand(who, "") == nil {
			t.Error("an operation without a scope is open")
		}
	})
}

// wired is a server that is wired, and has no database.
func wired(t *testing.T) *server {
	t.Helper()
	db, watch := noDatabase(t)
	var s *server
	newServer(t, options{config: Config{DB: db, Watch: watch}, made: func(config Config) {
		config.Metrics = NewMetrics()
		var err error
		if s, err = assemble(config); err != nil {
			t.Fatal(err)
		}
	}})
	return s
}

func TestTheScopeThatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	live := bearerOf(l.key(t, "live only", []string{"live"}))
	for path, scope := range map[string]string{"/sessions": "read", "/audit": "admin", "/metrics": "read"} {
		p := wantProblem(t, get(l, path, live...), http.StatusForbidden)
		if !strings.Contains(p["detail"].(string), "the scope "+scope) {
			t.Errorf("%s: %v", path, p["detail"])
		}
	}
	// It is told before anything that was sent is looked at.
	wantProblem(t, get(l, "/sessions?limit=0&bogus=1", live...), http.StatusForbidden)
}
