package dashboard

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rapport/api/access"
)

// canned is an API with ready answers, by method and path.
type canned map[string]string

func (c canned) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, isThere := c[r.Method+" "+r.URL.Path]
	if !isThere {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if status, rest, isRefused := strings.Cut(body, "|"); isRefused && status == "503" {
		w.WriteHeader(http.StatusServiceUnavailable)
		body = rest
	}
	_, _ = w.Write([]byte(body))
}

var testNow = time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)

var admin = &access.Identity{Name: "admin", Scopes: []access.Scope{access.Admin}}

// asked is what a page is asked for by somebody.
func asked(api http.Handler, who *access.Identity, target string) *Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	return &Request{Request: r, State: readState(r.URL.Query(), testNow), Who: who, api: api, now: testNow}
}

// shown is a page as it is served.
func shown(t *testing.T, api http.Handler, who *access.Identity, target string) string {
	t.Helper()
	d, err := New(Options{API: api, Now: func() time.Time { return testNow }, IsSecure: func(*http.Request) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r = r.WithContext(access.With(r.Context(), who))
	for i := range pages {
		if pages[i].path == r.URL.Path {
			w := httptest.NewRecorder()
			d.show(&pages[i]).ServeHTTP(w, r)
			return w.Body.String()
		}
	}
	t.Fatalf("there is no page %s", r.URL.Path)
	return ""
}

// wantWords fails if a page lacks some of the words.
func wantWords(t *testing.T, page string, words ...string) {
	t.Helper()
	for _, want := range words {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestHealthSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		ready, name, badge, state string
	}{
		"the database is away": {
			`503|{"status":"unavailable","database":{"status":"unreachable"},"migrations":{"status":"unknown"},"lag":{"status":"unknown","alarm_s":60},"spool":{"status":"full","records":12}}`,
			"Database", "bad", "Unreachable",
		},
		"nothing can be kept": {`503|{"status":"unavailable","spool":{"status":"full"}}`, "Server", "bad", "Unavailable"},
		"it is about to end":  {`503|{"status":"draining","spool":{"status":"ok"}}`, "Server", "warn", "About to end"},
		"the schema is old":   {`{"status":"ok","migrations":{"status":"old"}}`, "Schema", "bad", "Old"},
		"the schema is new":   {`{"status":"ok","migrations":{"status":"new"}}`, "Schema", "bad", "New"},
		"sessions are late":   {`{"status":"ok","lag":{"status":"late","lag_events":5,"lag_seconds":61.5,"alarm_s":60}}`, "Sessions", "bad", "Late"},
		"the spool is full":   {`{"status":"ok","spool":{"status":"full","records":3,"bytes":1500}}`, "Spool", "bad", "Full"},
		"the spool is used":   {`{"status":"ok","spool":{"status":"in_use","open":true,"open_for_s":7}}`, "Spool", "bad", "In use"},
		"the spool drains":    {`{"status":"ok","spool":{"status":"ok","records":2,"bytes":10,"age_s":3}}`, "Spool", "warn", "Draining"},
		"the disk lies":       {`{"status":"ok","spool":{"status":"ok","damaged_segments":1}}`, "Spool", "bad", "Damaged"},
		"there is no spool":   {`{"status":"ok","spool":{"status":"off"}}`, "Spool", "warn", "Off"},
	} {
		api := canned{"GET /readyz": test.ready, "GET /openapi.json": `{"info":{"version":"v1"}}`, "GET /metrics": ""}
		data, err := health(asked(api, admin, healthPath))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		checks := data.(*healthData).Checks
		i := slices.IndexFunc(checks, func(c check) bool { return c.Name == test.name })
		if got := checks[i]; got.Badge != test.badge || got.State != test.state || got.Detail == "" {
			t.Errorf("%s: %+v, want %s, %s", what, got, test.badge, test.state)
		}
		if worst := data.(*healthData).Worst; worst == "good" {
			t.Errorf("%s: all is well", what)
		}
	}
}

const scrape = `
# TYPE rapport_follower_lag_events gauge
rapport_follower_lag_events{follower="sessions"} 0
rapport_follower_lag_events{follower="search"} 1200
# TYPE rapport_follower_lag_seconds gauge
rapport_follower_lag_seconds{follower="sessions"} 0
rapport_follower_lag_seconds{follower="search"} 75.5
# TYPE rapport_stream_lag_events gauge
rapport_stream_lag_events{stream="kinesis"} 3
# TYPE rapport_stream_lag_seconds gauge
rapport_stream_lag_seconds{stream="kinesis"} 0.25
# TYPE rapport_deliveries_waiting gauge
rapport_deliveries_waiting{destination="crm"} 7
# TYPE rapport_deliveries_dead gauge
rapport_deliveries_dead{destination="crm"} 0
rapport_deliveries_dead{destination="old \"one\""} 2
# TYPE rapport_delivery_breaker gauge
rapport_delivery_breaker{destination="crm",state="closed"} 0
rapport_delivery_breaker{destination="crm",state="open"} 1
# TYPE rapport_dead_letters gauge
rapport_dead_letters{follower="sessions"} 1
# TYPE rapport_quarantine_entries gauge
rapport_quarantine_entries 4
# TYPE rapport_rules_refused gauge
rapport_rules_refused 1
`

const wellReady = `{"status":"ok","database":{"status":"ok"},"migrations":{"status":"ok"},
	"lag":{"status":"ok","lag_events":0,"lag_seconds":0,"alarm_s":60},"spool":{"status":"ok"}}`

func TestHealthTellsTheLagOfEveryFollowerAndHowDeliveriesGo(t *testing.T) {
	t.Parallel()
	api := canned{"GET /readyz": wellReady, "GET /openapi.json": `{"info":{"version":"v1.2.3"}}`, "GET /metrics": scrape}
	data, err := health(asked(api, admin, healthPath))
	if err != nil {
		t.Fatal(err)
	}
	told := data.(*healthData)
	if want := []follower{
		{"search", "Makes messages searchable", 1200, 75.5, "bad", "Late"},
		{"sessions", "Folds events into sessions", 0, 0, "good", "Up to date"},
		{"kinesis", "Streams events out", 3, 0.25, "accent", "Catching up"},
	}; !slices.Equal(told.Followers, want) {
		t.Errorf("the followers are %+v, want %+v", told.Followers, want)
	}
	if want := []destination{{"crm", 7, 0, "open"}, {`old "one"`, 0, 2, ""}}; !slices.Equal(told.Destinations, want) {
		t.Errorf("the destinations are %+v, want %+v", told.Destinations, want)
	}
	var names []string
	for _, c := range told.Checks[5:] {
		names = append(names, c.Name+": "+c.State)
	}
	if want := []string{"Quarantine: 4\u00a0entries", "Dead letters: 3\u00a0dead letters", "Rules: Refused"}; !slices.Equal(names, want) {
		t.Errorf("what was set aside is %q, want %q", names, want)
	}
	wantWords(t, shown(t, api, admin, healthPath), "Something is wrong", "v1.2.3", "Does not answer", "Has refused some", "rapport rules check")

	t.Run("and that all is well where it is", func(t *testing.T) {
		t.Parallel()
		api := canned{"GET /readyz": wellReady, "GET /openapi.json": `{}`, "GET /metrics": "# TYPE rapport_quarantine_entries gauge\nrapport_quarantine_entries 0\n"}
		wantWords(t, shown(t, api, admin, healthPath), "All is well", "Nothing is delivered to anybody")
	})

	t.Run("and to a key of some agents only what is of nobody", func(t *testing.T) {
		t.Parallel()
		limited := &access.Identity{Name: "a", Scopes: []access.Scope{access.Read}, Agents: []string{"A"}}
		api := canned{"GET /readyz": wellReady, "GET /openapi.json": `{}`}
		wantWords(t, shown(t, api, limited, healthPath), "your key sees some alone")
	})

	t.Run("and why it can't be told", func(t *testing.T) {
		t.Parallel()
		api := canned{"GET /readyz": wellReady, "GET /openapi.json": `{}`, "GET /metrics": "503|too busy"}
		wantWords(t, shown(t, api, admin, healthPath), "can’t be told", "Service Unavailable")
	})
}

func TestAlertsAreShownInTheirUnits(t *testing.T) {
	t.Parallel()
	number := func(n float64) *float64 { return &n }
	for _, test := range []struct {
		metric string
		value  *float64
		want   string
	}{
		{"avg_quality", number(41.25), "41.25"}, {"sessions", number(1234567), "1,234,567"}, {"avg_sentiment", number(-0.5), "\u22120.5"},
		{"p95_response_s", number(2.5), "2.5\u00a0s"}, {"bounce_rate", number(0.125), "12.5\u00a0%"}, {"avg_rating", nil, "–"}, {"errors", number(0), "0"},
	} {
		if got := valueOf(test.metric, test.value); got != test.want {
			t.Errorf("%s %v is shown as %q, want %q", test.metric, test.value, got, test.want)
		}
	}
	both := alert{Metric: "p50_duration_s", Above: number(90), Below: number(5), WindowS: 3600}
	if got, want := both.Condition(), "above 1\u00a0m\u00a030\u00a0s or below 5.0\u00a0s over 1\u00a0h"; got != want {
		t.Errorf("the condition is %q, want %q", got, want)
	}
}

func TestThoseAlertsThatFireComeFirst(t *testing.T) {
	t.Parallel()
	api := canned{
		"GET /alerts": `{"data":[{"rule":"calm","metric":"sessions","state":"ok","evaluated_at":"2026-09-28T11:59:00Z"},
			{"rule":"new","metric":"sessions","state":"ok"},{"rule":"blind","metric":"sessions","state":"no_data","evaluated_at":"2026-09-28T11:54:00Z"},
			{"rule":"loud <b>","metric":"bounce_rate","filter":{"agent_id":"A","user_id":null},"state":"firing","value":0.75,"window_s":600,"above":0.5}]}`,
		"GET /alerts/history": `{"data":[{"id":2,"rule":"loud <b>","state":"firing","value":0.75,"at":"2026-09-28T11:00:00Z"},
			{"id":1,"rule":"gone","state":"resolved","value":3,"at":"2026-09-27T11:00:00Z"}],"next_cursor":"c1"}`,
	}
	data, err := alerts(asked(api, admin, alertsPath+"?rule=x&cursor=c0&tz=Asia/Tokyo"))
	if err != nil {
		t.Fatal(err)
	}
	told := data.(*alertsData)
	var order []string
	for i := range told.Alerts {
		order = append(order, told.Alerts[i].Rule+": "+told.Alerts[i].Words())
	}
	if want := []string{"loud <b>: Firing", "blind: No data", "calm: OK", "new: Not looked at yet"}; !slices.Equal(order, want) || told.Firing != 1 {
		t.Errorf("the alerts are %q, want %q", order, want)
	}
	if told.Past[0].Shown != "75.0\u00a0%" || told.Past[1].Shown != "3" {
		t.Errorf("the history has %q and %q", told.Past[0].Shown, told.Past[1].Shown)
	}
	if want := "/ui/alerts?cursor=c1&rule=x&tz=Asia%2FTokyo"; told.Pages.Older != want {
		t.Errorf("the older ones are at %s, want %s", told.Pages.Older, want)
	}
	page := shown(t, api, admin, alertsPath)
	wantWords(t, page, "1\u00a0alert fires", "Nobody has looked at 1\u00a0alert for", "loud &lt;b&gt;", "agent_id: A", "above 50.0\u00a0% over 10\u00a0m", "Began to fire")
	if strings.Contains(page, "user_id") {
		t.Error("a filter that is none is shown")
	}

	t.Run("and a page without any says how there are some", func(t *testing.T) {
		t.Parallel()
		none := canned{"GET /alerts": `{"data":[]}`, "GET /alerts/history": `{"data":[]}`}
		wantWords(t, shown(t, none, admin, alertsPath), "No rule watches a metric", "rapport serve --rules")
	})
}

func TestABodyInQuarantineIsShownAsFarAsItIsReadable(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	long := strings.Repeat("ä", maxShownBody)
	for what, test := range map[string]struct {
		entry quarantined
		want  string
		isCut bool
	}{
		"JSON is laid out":         {quarantined{Body: text(`{"a":[1]}`)}, "{\n  \"a\": [\n    1\n  ]\n}", false},
		"a text is as it is":       {quarantined{Body: text("no <b>JSON")}, "no <b>JSON", false},
		"a long one is cut":        {quarantined{Body: &long}, long[:maxShownBody], true},
		"and between characters":   {quarantined{Body: text("x" + long)}, ("x" + long)[:maxShownBody-1], true},
		"what is none, as numbers": {quarantined{BodyBase64: []byte{0xff, 'a'}}, "00000000  ff 61                                             |.a|\n", false},
	} {
		if got := test.entry.Shown(); got != test.want || test.entry.IsCut() != test.isCut {
			t.Errorf("%s: %.80q, cut %t", what, got, test.entry.IsCut())
		}
	}
	api := canned{"GET /quarantine": `{"data":[{"id":7,"reason":"<b>bad</b>","seen_count":3,"size":2,"body":"</pre><script>","headers":{"X-A":"<i>"}}],"next_cursor":"c"}`}
	page := shown(t, api, admin, quarantinePath)
	wantWords(t, page, "&lt;b&gt;bad", "&lt;/pre&gt;&lt;script&gt;", "&lt;i&gt;", "came 3 times", "rapport quarantine replay 7", "cursor=c")
}

func TestWhatADeadLettersButtonDidIsToldInOurWords(t *testing.T) {
	t.Parallel()
	api := canned{"GET /dead-letters": `{"data":[]}`, "POST /dead-letters/retry": `{"retrying":1200}`, "DELETE /dead-letters/d4": `{"deleted":1}`}
	back, err := retryDeadLetters(asked(api, admin, deadLettersPath+"/retry?tz=Asia/Tokyo"))
	if want := "/ui/dead-letters?done=retry&n=1200&tz=Asia%2FTokyo"; err != nil || back != want {
		t.Errorf("%s, %v, want %s", back, err, want)
	}
	wantWords(t, shown(t, api, admin, back), "1,200\u00a0dead letters are tried again", "all is well")
	gone := asked(api, admin, deadLettersPath+"/d5/retry")
	gone.SetPathValue("id", "d5")
	if back, err = retryDeadLetter(gone); err != nil || back != "/ui/dead-letters?done=gone" {
		t.Errorf("%s, %v of one that is there no more", back, err)
	}
	one := asked(api, admin, deadLettersPath+"/d4/delete")
	one.SetPathValue("id", "d4")
	if back, err = deleteDeadLetter(one); err != nil || back != "/ui/dead-letters?done=delete&n=1" {
		t.Errorf("%s, %v of one that is deleted", back, err)
	}
	if _, err = deleteDeadLetters(asked(canned{"DELETE /dead-letters": "503|{}"}, admin, deadLettersPath)); err == nil {
		t.Error("a failure is not told")
	}
	if page := shown(t, api, admin, deadLettersPath+"?done=retry&n=%3Cb%3E"); strings.Contains(page, "<b>") {
		t.Error("the address's own words are shown")
	}
}

func TestAPageDoesNotWaitForADatabaseThatIsFrozen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, err := New(Options{
			API:      http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
			Now:      func() time.Time { return testNow },
			IsSecure: func(*http.Request) bool { return false },
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range pages {
			began := time.Now()
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, strings.ReplaceAll(pages[i].path, "{session_id}", "s"), http.NoBody)
			d.show(&pages[i]).ServeHTTP(w, r.WithContext(access.With(r.Context(), admin)))
			if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "has not answered") {
				t.Errorf("%s: %d %s", pages[i].path, w.Code, w.Body)
			}
			if took := time.Since(began); took > 2*askFor {
				t.Errorf("%s took %v", pages[i].path, took)
			}
		}
	})
}
